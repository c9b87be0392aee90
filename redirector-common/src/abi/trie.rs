//! The trie of return routes.

use bytemuck::{Pod, Zeroable};

/// An entry of the trie of return routes: one of the codes below, an index of a next hop, or that of a
/// child node.
///
/// The trie maps a client's address to its next hop by array loads: 16 bits, then 8 a level, which makes
/// three for an IPv4 address and up to fifteen for an IPv6 one, most of which end after a few. The agent mirrors the
/// kernel's routes and neighbours into it; where it has no answer the data path asks the kernel (`bpf_fib_lookup`), so
/// the trie is an accelerator and never the truth.
pub type TrieEntry = u16;

/// [`TrieEntry`]: not mirrored; ask the kernel.
pub const TRIE_ASK_KERNEL: TrieEntry = 0;
/// [`TrieEntry`]: an address of the relay itself (or broadcast, or multicast); the kernel's to handle.
pub const TRIE_LOCAL: TrieEntry = 1;
/// [`TrieEntry`]: on-link; look among the mirrored neighbours, and ask the kernel if it is not there (IPv6
/// only, whose trie holds routes but no neighbours).
pub const TRIE_NEIGHBOUR: TrieEntry = 2;
/// [`TrieEntry`]: smallest value that means next hop `value - TRIE_FIRST_HOP`.
pub const TRIE_FIRST_HOP: TrieEntry = 3;
/// [`TrieEntry`]: flag; the other bits are the index of a child node.
pub const TRIE_CHILD: TrieEntry = 1 << 15;

/// First level of the trie, indexed by the top 16 bits of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TrieRoot {
    /// The entries.
    pub entries: [TrieEntry; 1 << 16],
}

/// Second or third level of the trie, indexed by the next 8 bits of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TrieNode {
    /// The entries.
    pub entries: [TrieEntry; 256],
}
