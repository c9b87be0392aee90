//! Looking up the trie of return routes: 16 bits of the address, then 8 a level.

use crate::abi::{TRIE_ASK_KERNEL, TRIE_CHILD, TrieEntry, TrieNode, TrieRoot};
use crate::address::Address;

/// The entry for `address`: a code or a next hop, never a child.
///
/// `node` gives a child by its index. A child that is not there reads as "ask the kernel".
#[inline(always)]
pub fn lookup<'a, A: Address>(
    root: &TrieRoot,
    node: impl Fn(u16) -> Option<&'a TrieNode>,
    address: A,
) -> TrieEntry {
    let bytes: &[u8] = bytemuck::bytes_of(&address);
    let mut entry = root.entries[place_of(u16::from_be_bytes([bytes[0], bytes[1]]))];
    for byte in &bytes[2..] {
        if entry & TRIE_CHILD == 0 {
            return entry;
        }
        let Some(child) = node(entry & !TRIE_CHILD) else {
            return TRIE_ASK_KERNEL;
        };
        entry = child.entries[usize::from(*byte)];
    }
    if entry & TRIE_CHILD == 0 {
        entry
    } else {
        TRIE_ASK_KERNEL
    }
}

/// What the verifier of kernels before 6.18 knows of a number it forgets where bytes are swapped, so it is told again.
/// The optimiser would leave that out, were it told what the number is.
#[inline(always)]
fn place_of(number: u16) -> usize {
    core::hint::black_box(usize::from(number)) & 0xffff
}
