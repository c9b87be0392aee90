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
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of what follows the IP header and its options or extension headers.
    pub transport: usize,
    /// Offset of the packet's end; what follows is padding.
    pub end: usize,
    /// Whether it is a fragment.
    pub fragment: Fragment,
}
