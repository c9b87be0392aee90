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

/// The packets that the generating program makes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Stream {
    /// The frame's first bytes: TCP in IPv4 without options.
    pub headers: [u8; SHORT],
    /// Sum of the IP header's words without checksum and client's address (RFC 1071), in host order.
    pub ip_sum: u32,
    /// The same of the pseudo-header and the segment.
    pub segment_sum: u32,
    /// Offset of the client's address.
    pub client_at: u32,
    /// Bits of the client's address that change from packet to packet.
    pub client_mask: u32,
    /// Packets so far.
    pub counter: u32,
    /// Where they go: index in the generator's map of devices.
    pub device: u32,
}

/// What the program at the end of the way has seen.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Arrived {
    /// Packets whose address was the expected one.
    pub right: u64,
    /// Packets of the stream with any other.
    pub wrong: u64,
    /// Offset of the address that is looked at.
    pub address_at: u32,
    /// What it must be, in host order, as far as the mask goes.
    pub address: u32,
    /// Bits of it that matter.
    pub mask: u32,
    /// Zero.
    pub reserved: u32,
}

/// The network of a stream's clients, by which its packets are known: 100.64.0.0/10 (RFC 6598).
pub const CLIENTS: u32 = 0x6440_0000;
/// Bits of [`CLIENTS`] that are the network's.
pub const CLIENTS_MASK: u32 = 0xffc0_0000;
