//! Looking up the trie of return routes: 16 bits of the address, then 8, then 8.

use crate::abi::{TRIE_ASK_KERNEL, TRIE_CHILD, TrieEntry, TrieNode, TrieRoot};

/// The entry for `address`: a code or a next hop, never a child.
///
/// `node` gives a child by its index. A child that is not there reads as "ask the kernel".
#[inline(always)]
pub fn lookup<'a>(
    root: &TrieRoot,
    node: impl Fn(u16) -> Option<&'a TrieNode>,
    address: [u8; 4],
) -> TrieEntry {
    let first = root.entries[usize::from(u16::from_be_bytes([address[0], address[1]]))];
    if first & TRIE_CHILD == 0 {
        return first;
    }
    let Some(child) = node(first & !TRIE_CHILD) else {
        return TRIE_ASK_KERNEL;
    };
    let second = child.entries[usize::from(address[2])];
    if second & TRIE_CHILD == 0 {
        return second;
    }
    let Some(child) = node(second & !TRIE_CHILD) else {
        return TRIE_ASK_KERNEL;
    };
    let third = child.entries[usize::from(address[3])];
    if third & TRIE_CHILD == 0 {
        third
    } else {
        TRIE_ASK_KERNEL
    }
}
