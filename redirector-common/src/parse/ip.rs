//! What IP says of a packet, in either family.

use crate::address::Address;

/// Whether a packet is a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    Whole,
    /// The first of several, with their identification.
    First([u8; 4]),
    /// Another than the first.
    Later([u8; 4]),
}

/// An IP packet, its transport header not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<A: Address> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Protocol of what is at `transport`.
    pub protocol: u8,
    /// Offset of the IP header; see [`IpPacket::ip`].
    pub(super) ip: usize,
    /// Offset of what follows the IP header and its options or extension headers; see [`IpPacket::transport`].
    pub(super) transport: usize,
    /// Offset of the packet's end; what follows is padding.
    pub end: usize,
    /// Whether it is a fragment.
    pub fragment: Fragment,
}

/// Offsets of headers are below this, a power of two: behind 22 bytes of link layer a packet has at most 12,328 bytes
/// of IPv6 headers, and one that it quotes, behind 8 more, as many again.
pub const OFFSETS: usize = 1 << 15;

impl<A: Address> IpPacket<A> {
    /// Offset of the IP header. Where the packet was put aside the verifier has forgotten its bound, so it is told again.
    #[inline(always)]
    pub const fn ip(&self) -> usize {
        self.ip % OFFSETS
    }

    /// Offset of what follows the IP header and its options or extension headers.
    #[inline(always)]
    pub const fn transport(&self) -> usize {
        self.transport % OFFSETS
    }
}
