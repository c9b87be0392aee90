//! Disjoint ranges of addresses become the levels of a trie.

use redirector_common::abi::{
    MAX_TRIE_NODES, TRIE_ASK_KERNEL, TRIE_CHILD, TrieEntry, TrieNode, TrieRoot,
};

use super::empty_root;

/// Bits of an address that the first level leaves to the others.
const BELOW_ROOT: u32 = 112;

/// Bits that each of the other levels takes.
const LEVEL: u32 = 8;

const EMPTY_NODE: TrieNode = TrieNode {
    entries: [TRIE_ASK_KERNEL; 256],
};

/// Fills the levels of a trie with ranges that do not overlap.
pub(super) struct Painter {
    pub(super) root: Box<TrieRoot>,
    /// The levels below; index 0 is not used.
    pub(super) nodes: Vec<TrieNode>,
    limit: usize,
}

impl Painter {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            root: empty_root(),
            nodes: vec![EMPTY_NODE],
            limit: limit.min(MAX_TRIE_NODES as usize - 1),
        }
    }

    pub(super) fn paint(&mut self, first: u128, last: u128, code: TrieEntry) {
        self.paint_at(None, BELOW_ROOT, first, last, code);
    }

    /// Paints a range that lies within one node, or the root. `below` bits of an address are left to the
    /// levels below it.
    fn paint_at(
        &mut self,
        node: Option<usize>,
        below: u32,
        first: u128,
        last: u128,
        code: TrieEntry,
    ) {
        let rest = (1_u128 << below) - 1;
        for piece in first >> below..=last >> below {
            let low = piece << below;
            let (from, to) = (first.max(low), last.min(low | rest));
            let fresh = TrieEntry::try_from(self.nodes.len())
                .ok()
                .filter(|fresh| usize::from(*fresh) <= self.limit);
            let entry = match node {
                None => &mut self.root.entries[(piece & 0xffff) as usize],
                Some(node) => &mut self.nodes[node].entries[(piece & 0xff) as usize],
            };
            if to - from == rest {
                *entry = code;
                continue;
            }
            let child = if *entry & TRIE_CHILD != 0 {
                *entry & !TRIE_CHILD
            } else if let Some(child) = fresh {
                *entry = TRIE_CHILD | child;
                self.nodes.push(EMPTY_NODE);
                child
            } else {
                // Without room the entry goes on saying "ask the kernel".
                continue;
            };
            self.paint_at(Some(child.into()), below - LEVEL, from, to, code);
        }
    }
}
