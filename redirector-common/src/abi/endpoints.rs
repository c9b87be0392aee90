//! The table of endpoints: which of them a packet's address and port are, by arithmetic and array loads.
//!
//! A hash map of the kernel would do, but for the price: the helper, its hash of the key and its comparison are calls, and
//! cost each packet more than all of its slots and backends do. So this is a cuckoo hash table (Pagh and Rodler, ESA 2001):
//! a key is in one of two cells, and a lookup looks at one or at both. Multiply-shift (Dietzfelbinger et al., J. Algorithms
//! 1997) is enough to find them, since the keys are the operator's: whoever makes up packets can miss, at the price of two
//! cells, but not fill any. The agent makes a whole table, which packets then read instead of the one before.

use bytemuck::{Pod, Zeroable};

use super::{Endpoint, MAX_ENDPOINTS};

/// Cells of an [`EndpointTable`]: four for each endpoint, so that there is always a way to place them.
pub const ENDPOINT_CELLS: usize = 1 << 16;

/// A key as the table has it: an [`super::EndpointKey6`], or an [`super::EndpointKey4`] whose last byte is
/// [`ENDPOINT_IPV4`]. See [`crate::address::Address::endpoint_words`].
pub type EndpointWords = [u64; 3];

/// The last byte of a key of IPv4, which in IPv6 is zero.
pub const ENDPOINT_IPV4: u8 = 4;

/// The bytes of the last word that say something of an endpoint. The others do not need to be hashed.
const HASHED: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/// What stands in [`EndpointTable::entries`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct EndpointEntry {
    /// The key.
    pub key: EndpointWords,
    /// What it stands for.
    pub endpoint: Endpoint,
    /// Zero.
    pub reserved: u32,
}

/// All endpoints of both families.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct EndpointTable {
    /// For each of a key's two cells an odd number for each of its words.
    pub multipliers: [EndpointWords; 2],
    /// Where in `entries` the key of a cell is; 0 where the cell is empty.
    pub cells: [u16; ENDPOINT_CELLS],
    /// The endpoints. The first is none: its key is that of nothing.
    pub entries: [EndpointEntry; MAX_ENDPOINTS as usize],
}

/// The key of nothing.
pub const NO_ENDPOINT: EndpointWords = [u64::MAX; 3];

impl EndpointTable {
    /// The endpoint with this key.
    #[inline(always)]
    pub fn find(&self, key: EndpointWords) -> Option<&Endpoint> {
        let [first, second] = &self.multipliers;
        let entry = self.entry(cell_of(first, key));
        if entry.has(key) {
            return Some(&entry.endpoint);
        }
        let entry = self.entry(cell_of(second, key));
        entry.has(key).then_some(&entry.endpoint)
    }

    #[inline(always)]
    fn entry(&self, cell: usize) -> &EndpointEntry {
        &self.entries[usize::from(self.cells[cell]) % MAX_ENDPOINTS as usize]
    }
}

impl EndpointEntry {
    /// Whether it has this key; word by word, since arrays are compared by a call.
    #[inline(always)]
    fn has(&self, key: EndpointWords) -> bool {
        (self.key[0] ^ key[0]) | (self.key[1] ^ key[1]) | (self.key[2] ^ key[2]) == 0
    }
}

/// One of the two cells of a key: the top bits of a sum of products, which depend on all bits below them.
#[inline(always)]
pub fn cell_of(multipliers: &EndpointWords, key: EndpointWords) -> usize {
    const { assert!(ENDPOINT_CELLS == 1 << 16) };
    let sum = multipliers[0]
        .wrapping_mul(key[0])
        .wrapping_add(multipliers[1].wrapping_mul(key[1]))
        .wrapping_add(multipliers[2].wrapping_mul(key[2] & HASHED));
    usize::from((sum >> 48) as u16)
}
