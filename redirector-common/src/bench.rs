//! What the measuring program and the benchmark tell each other; no part of the product's maps.

use bytemuck::{Pod, Zeroable};

/// The headers that the measuring program writes before each run of the program under test.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Template {
    /// The frame's first bytes.
    pub headers: [u8; HEADERS],
    /// Offset of the last four bytes of the client's address.
    pub client_at: u16,
    /// [`SHORT`] or [`HEADERS`]: how many bytes are written anew.
    pub length: u16,
    /// Bits of the client's address that change from packet to packet.
    pub client_mask: u32,
    /// Packets so far.
    pub counter: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bytes of headers: as many as TCP in IPv6 has, in whole words.
pub const HEADERS: usize = 80;
/// As many as TCP in IPv4 has, in whole words.
pub const SHORT: usize = 56;
