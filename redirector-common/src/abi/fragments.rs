//! Which way a datagram's later fragments go.

use bytemuck::{Pod, Zeroable};

/// Names a fragmented datagram (RFC 791, section 3.2).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FragmentKey4 {
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Identification; IPv4 uses the first two bytes.
    pub identification: [u8; 4],
    /// IP protocol number; 0 in IPv6, where the identification is enough (RFC 8200, section 4.5).
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// The same in IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FragmentKey6 {
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Identification.
    pub identification: [u8; 4],
    /// Zero.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// What became of a datagram's first fragment.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FragmentOwner {
    /// [`FRAGMENT_FORWARD`] or [`FRAGMENT_REPLY`].
    pub direction: u16,
    /// The backend that it was sent to, or came from.
    pub backend: u16,
    /// The listener that it came to, or was restored to.
    pub listener: u16,
    /// Zero.
    pub reserved: u16,
}

/// [`FragmentOwner::direction`]: from a client to a node.
pub const FRAGMENT_FORWARD: u16 = 1;
/// [`FragmentOwner::direction`]: from a node to a client.
pub const FRAGMENT_REPLY: u16 = 2;
/// [`FragmentOwner::direction`]: the kernel's.
pub const FRAGMENT_PASS: u16 = 3;
