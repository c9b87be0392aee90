//! Fits tries of return routes into the maps, so that a reader never follows a mixture of two.
//!
//! A reader goes from the root through nodes to a hop, and may be anywhere on the way at any time. So
//! whatever the trie in use refers to is never written: nodes and hops that are new go to indices that
//! it does not use, nodes and hops that are the same are referred to again, and then one update of
//! the outer map puts the new root in place. The kernel lets that update wait for running readers, so
//! when it returns the indices that only the old trie used are free. [`Limits`](super::trie::Limits)
//! keep a trie within half of the maps; hence the next one always has room. The families have maps of
//! their own except for the one of hops, of which each has a part.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    ops::Range,
};

use redirector_common::abi::{
    MAX_TRIE_NODES, NextHop, TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP, TRIE_LOCAL,
    TRIE_NEIGHBOUR, TrieEntry, TrieNode, TrieRoot,
};
use thiserror::Error;

use super::trie::{ReturnTrie, empty_root, hop_indices};
use crate::family::Family;

/// What is in the maps and reachable from the root in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieStore {
    family: Family,
    root: Box<TrieRoot>,
    nodes: BTreeMap<u16, TrieNode>,
    hops: BTreeMap<u16, NextHop>,
}

/// Writes that put a new trie in place; make them in the order of the fields.
#[derive(Clone, Debug)]
pub struct Update {
    /// Nodes to write, by index. The trie in use refers to none of them.
    pub node_writes: Vec<(u16, TrieNode)>,
    /// Hops to write, by index. The trie in use refers to none of them.
    pub hop_writes: Vec<(u16, NextHop)>,
    /// The new root, to be put in place by a single update of the outer map; none if the one in use
    /// stays as it is.
    pub root: Option<Box<TrieRoot>>,
    /// Whether there was too little room, so that a part says "ask the kernel" that need not. Planning
    /// the same trie once more after [`TrieStore::commit`] may do better.
    pub degraded: bool,
    after: TrieStore,
}

/// Why the content of the maps can't be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BrokenTrie {
    /// A node could not be read or does not exist.
    #[error(
        "the trie in the maps refers to node {0}, which cannot be read; put an empty root in place and start with `TrieStore::new`"
    )]
    Node(u16),
    /// A hop could not be read or does not exist.
    #[error(
        "the trie in the maps refers to next hop {0}, which cannot be read; put an empty root in place and start with `TrieStore::new`"
    )]
    Hop(u16),
    /// A node of the last level has a child.
    #[error(
        "the trie in the maps has more levels than an address below node {0}; put an empty root in place and start with `TrieStore::new`"
    )]
    Depth(u16),
}

impl TrieStore {
    /// The store for a root that is all [`TRIE_ASK_KERNEL`], such as one just created. Where an unknown
    /// root may be in use, put an empty one in place first.
    pub fn new(family: Family) -> Self {
        Self {
            family,
            root: empty_root(),
            nodes: BTreeMap::new(),
            hops: BTreeMap::new(),
        }
    }

    /// The store for maps that are in use already, from their content.
    ///
    /// # Errors
    /// If the content is not a trie; then put an empty root in place and use [`Self::new`].
    pub fn adopt(
        family: Family,
        root: &TrieRoot,
        mut read_node: impl FnMut(u16) -> Option<TrieNode>,
        mut read_hop: impl FnMut(u16) -> Option<NextHop>,
    ) -> Result<Self, BrokenTrie> {
        let mut store = Self {
            root: Box::new(*root),
            ..Self::new(family)
        };
        let mut level: Vec<u16> = store.read_hops(&root.entries, &mut read_hop)?;
        // The first level takes 16 bits of an address, each of the others 8.
        let deepest = family.width() / 8 - 1;
        for depth in 2..=deepest {
            let mut below = Vec::new();
            for index in level {
                let node = match store.nodes.get(&index) {
                    Some(node) => *node,
                    None => read_node(index)
                        .filter(|_| index > 0 && u32::from(index) < MAX_TRIE_NODES)
                        .ok_or(BrokenTrie::Node(index))?,
                };
                store.nodes.insert(index, node);
                let children = store.read_hops(&node.entries, &mut read_hop)?;
                if depth == deepest && !children.is_empty() {
                    return Err(BrokenTrie::Depth(index));
                }
                below.extend(children);
            }
            level = below;
            level.sort_unstable();
            level.dedup();
        }
        Ok(store)
    }

    /// Reads the hops that entries refer to, and returns the children that they refer to.
    fn read_hops(
        &mut self,
        entries: &[TrieEntry],
        read_hop: &mut impl FnMut(u16) -> Option<NextHop>,
    ) -> Result<Vec<u16>, BrokenTrie> {
        let mut children = Vec::new();
        for entry in entries {
            match classify(*entry) {
                Refers::Nothing => {}
                Refers::Child(index) => children.push(index),
                Refers::Hop(index) => {
                    if let Entry::Vacant(vacant) = self.hops.entry(index) {
                        let hop = read_hop(index)
                            .filter(|_| hop_indices(self.family).contains(&index.into()));
                        vacant.insert(hop.ok_or(BrokenTrie::Hop(index))?);
                    }
                }
            }
        }
        children.sort_unstable();
        children.dedup();
        Ok(children)
    }

    /// Plans the writes that replace the trie in use by another of its family.
    pub fn plan(&self, trie: &ReturnTrie) -> Update {
        let mut planner = Planner {
            trie,
            known_nodes: self
                .nodes
                .iter()
                .map(|(index, node)| (node.entries, *index))
                .collect(),
            known_hops: self
                .hops
                .iter()
                .map(|(index, hop)| (*hop, *index))
                .collect(),
            free_nodes: free(1..MAX_TRIE_NODES, &self.nodes),
            free_hops: free(hop_indices(self.family), &self.hops),
            node_of: HashMap::new(),
            hop_of: HashMap::new(),
            node_writes: Vec::new(),
            hop_writes: Vec::new(),
            degraded: false,
            after: Self::new(self.family),
        };
        for (high, entry) in trie.root.entries.iter().enumerate() {
            planner.after.root.entries[high] = planner.translate(*entry);
        }
        let Planner {
            node_writes,
            hop_writes,
            degraded,
            after,
            ..
        } = planner;
        let root = (after.root != self.root).then(|| after.root.clone());
        Update {
            node_writes,
            hop_writes,
            root,
            degraded,
            after,
        }
    }

    /// Records that all writes of an update were made and that the change of root has waited for
    /// readers. An update that failed half way is not committed: what it wrote is still free.
    pub fn commit(&mut self, update: Update) {
        *self = update.after;
    }

    /// The family whose tries it keeps.
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many nodes and hops are in use.
    pub fn used(&self) -> (usize, usize) {
        (self.nodes.len(), self.hops.len())
    }
}

enum Refers {
    Nothing,
    Child(u16),
    Hop(u16),
}

fn classify(entry: TrieEntry) -> Refers {
    if entry & TRIE_CHILD != 0 {
        Refers::Child(entry & !TRIE_CHILD)
    } else if [TRIE_ASK_KERNEL, TRIE_LOCAL, TRIE_NEIGHBOUR].contains(&entry) {
        Refers::Nothing
    } else {
        Refers::Hop(entry - TRIE_FIRST_HOP)
    }
}

/// The indices that are not used, the lowest last.
fn free<T>(all: Range<u32>, used: &BTreeMap<u16, T>) -> Vec<u16> {
    all.rev()
        .filter_map(|index| u16::try_from(index).ok())
        .filter(|index| !used.contains_key(index))
        .collect()
}

struct Planner<'a> {
    trie: &'a ReturnTrie,
    /// Content of nodes in the maps, and of those that this update writes.
    known_nodes: HashMap<[TrieEntry; 256], u16>,
    known_hops: HashMap<NextHop, u16>,
    free_nodes: Vec<u16>,
    free_hops: Vec<u16>,
    /// Entry in the maps for each index of the new trie.
    node_of: HashMap<u16, TrieEntry>,
    hop_of: HashMap<u16, TrieEntry>,
    node_writes: Vec<(u16, TrieNode)>,
    hop_writes: Vec<(u16, NextHop)>,
    degraded: bool,
    after: TrieStore,
}

impl Planner<'_> {
    /// The entry in the maps for an entry of the new trie.
    fn translate(&mut self, entry: TrieEntry) -> TrieEntry {
        let (known, found) = match classify(entry) {
            Refers::Nothing => return entry,
            Refers::Child(index) => (self.node_of.get(&index).copied(), index),
            Refers::Hop(index) => (self.hop_of.get(&index).copied(), index),
        };
        if let Some(known) = known {
            return known;
        }
        let placed = if entry & TRIE_CHILD != 0 {
            self.place_node(found)
        } else {
            self.place_hop(found)
        };
        self.degraded |= placed.is_none();
        let placed = placed.unwrap_or(TRIE_ASK_KERNEL);
        let memory = if entry & TRIE_CHILD != 0 {
            &mut self.node_of
        } else {
            &mut self.hop_of
        };
        memory.insert(found, placed);
        placed
    }

    fn place_node(&mut self, index: u16) -> Option<TrieEntry> {
        let mut node = self.trie.nodes[usize::from(index)];
        for entry in &mut node.entries {
            *entry = self.translate(*entry);
        }
        let at = if let Some(at) = self.known_nodes.get(&node.entries) {
            *at
        } else {
            let at = self.free_nodes.pop()?;
            self.known_nodes.insert(node.entries, at);
            self.node_writes.push((at, node));
            at
        };
        self.after.nodes.insert(at, node);
        Some(TRIE_CHILD | at)
    }

    fn place_hop(&mut self, index: u16) -> Option<TrieEntry> {
        let hop = self.trie.hops[usize::from(index)];
        let at = if let Some(at) = self.known_hops.get(&hop) {
            *at
        } else {
            let at = self.free_hops.pop()?;
            self.known_hops.insert(hop, at);
            self.hop_writes.push((at, hop));
            at
        };
        self.after.hops.insert(at, hop);
        Some(TRIE_FIRST_HOP + at)
    }
}

#[cfg(test)]
mod tests;
