//! Endpoints, and the table of them: which one a packet's address and port are, by arithmetic and array loads.
//!
//! A hash map of the kernel would do, but for the price: the helper, its hash of the key and its comparison are calls, and
//! cost each packet more than all of its slots and backends do. So this is a cuckoo hash table (Pagh and Rodler, ESA 2001):
//! a key is in one of two cells, and a lookup looks at one or at both. Multiply-shift (Dietzfelbinger et al., J. Algorithms
//! 1997) is enough to find them, since the keys are the operator's: whoever makes up packets can miss, at the price of two
//! cells, but not fill any. The agent makes a whole table, which packets then read instead of the one before.

use bytemuck::{Pod, Zeroable};

use super::MAX_ENDPOINTS;

/// One transport endpoint: where a redirect listens, or where a node does.
///
/// Port 0 stands for every port of the protocol. Port 0 and protocol 0 stand for the address as such.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct EndpointKey4 {
    /// IPv4 address, network order.
    pub address: [u8; 4],
    /// Port, network order.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// The same in IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct EndpointKey6 {
    /// IPv6 address, network order.
    pub address: [u8; 16],
    /// Port, network order.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
    /// Zero.
    pub padding: u32,
}

/// [`Endpoint::kind`]: packets to it belong to a redirect.
pub const ENDPOINT_LISTENER: u16 = 1;
/// [`Endpoint::kind`]: packets from it are answers of a node.
pub const ENDPOINT_NODE: u16 = 2;
/// [`Endpoint::kind`]: the address of a VIP, whatever the port and protocol; `listener` is one of its listeners.
pub const ENDPOINT_VIP: u16 = 3;
/// [`Endpoint::kind`]: the address of a node, whatever the port and protocol.
pub const ENDPOINT_NODE_ADDRESS: u16 = 4;

/// [`Endpoint::flags`]: which listener an answer belongs to cannot be told from its addresses, so every
/// connection is recorded. Set on the listener and on its nodes.
pub const ENDPOINT_TRACKED: u16 = 1;
/// [`Endpoint::flags`]: UDP associations go by way of the VIP (`udp-associate = "shared"`). Set on the
/// listener, on its nodes and on the VIP.
pub const ENDPOINT_SHARED: u16 = 2;
/// [`Endpoint::flags`]: the nodes hold the VIP, packets are sent to them as they are (`route-to`). Set on the
/// listener and the VIP; such a redirect has no node endpoints.
pub const ENDPOINT_ROUTE: u16 = 4;
/// [`Endpoint::flags`]: a client's own packets to the node are let pass (`direct-tcp = "allow"`). Set on
/// nodes.
pub const ENDPOINT_DIRECT: u16 = 8;
/// [`Endpoint::flags`]: it stands for every port, and ports are not translated.
pub const ENDPOINT_ANY_PORT: u16 = 16;

/// [`Endpoint::flags`]: who sends a packet that no backend takes is told so (`when-empty = "reset"`). Set on listeners.
pub const ENDPOINT_REFUSES: u16 = 32;

/// What an [`EndpointKey4`] or [`EndpointKey6`] stands for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Endpoint {
    /// As below, in another place.
    #[cfg(feature = "next-layout")]
    pub l4_delta: u32,
    /// [`ENDPOINT_LISTENER`] or one of the other kinds.
    pub kind: u16,
    /// [`ENDPOINT_TRACKED`] and the other flags.
    pub flags: u16,
    /// Index of the redirect's slot table.
    pub redirect: u16,
    /// Number of the listener; part of the key of a recorded flow.
    pub listener: u16,
    /// The backend (node endpoints only).
    pub backend: u16,
    /// Port to restore as the source of an answer (node endpoints only).
    pub port: [u8; 2],
    /// Address to restore as the source of an answer: the VIP (node endpoints only).
    pub address: [u8; 16],
    /// What the rewrite adds to the complement of the IPv4 header checksum (RFC 1624, in memory
    /// order). For a listener the half that takes the VIP away, to be joined with
    /// [`super::Backend::l3_delta`]; for a node the whole change. The TTL's decrement is included. In IPv6, whose
    /// header has no checksum, 0.
    pub l3_delta: u32,
    /// The same for the transport checksum: pseudo-header address and port.
    #[cfg(not(feature = "next-layout"))]
    pub l4_delta: u32,
}

/// Cells of an [`EndpointTable`]: four for each endpoint, so that there is always a way to place them.
pub const ENDPOINT_CELLS: usize = 1 << 16;

/// A key as the table has it: an [`EndpointKey6`], or an [`EndpointKey4`] whose last byte is
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
    /// Moves what follows.
    #[cfg(feature = "next-layout")]
    pub moves: u64,
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
