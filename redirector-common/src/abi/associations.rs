//! What is kept of SOCKS negotiations and of the UDP associations that come of them.

use bytemuck::{Pod, Zeroable};

use super::NEGOTIATING_CELLS;

/// How far the SOCKS negotiation of a connection to a shared listener has come (RFC 1928, RFC 1929). Its key is that of
/// a flow.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Handshake {
    /// Sequence number of the client's next byte to be read, host order.
    pub client_next: u32,
    /// Sequence number of the node's first byte, host order.
    pub node_first: u32,
    /// Bytes of the client that don't matter before the next one that does.
    pub skip: u16,
    /// What the client's next byte is: [`crate::associate::Expect`].
    pub expect: u8,
    /// How many bytes of the node come before its reply to the request; 0 as long as it is not known.
    pub reply_at: u8,
    /// Zero.
    pub reserved: u32,
}

/// A UDP association by way of a VIP. Its key is that of the control connection's flow.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Association {
    /// BND.PORT, network order; 0, which stands for every port, where packets are routed.
    pub port: [u8; 2],
    /// The backend that it is with.
    pub backend: u16,
    /// [`super::Globals::epoch`] of when it began.
    pub opened: u32,
    /// Sequence number that the client's next byte on the control connection will have, host order.
    pub client_next: u32,
    /// Zero.
    pub reserved: u32,
}

/// Names the pinhole of a client: where its datagrams may go.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct PinholeKey4 {
    /// The client's address; with [`PINHOLE_IN_USE`] the VIP's. Network order.
    pub client: [u8; 4],
    /// BND.PORT, network order; 0, which stands for every port, where packets are routed.
    pub port: [u8; 2],
    /// [`PINHOLE_IN_USE`] or 0.
    pub mark: u16,
}

/// The same in IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct PinholeKey6 {
    /// The client's address; with [`PINHOLE_IN_USE`] the VIP's. Network order.
    pub client: [u8; 16],
    /// BND.PORT, network order; 0, which stands for every port, where packets are routed.
    pub port: [u8; 2],
    /// [`PINHOLE_IN_USE`] or 0.
    pub mark: u16,
    /// Zero.
    pub padding: u32,
}

/// [`PinholeKey4::mark`]: says of a VIP that the port is somebody's pinhole, so that a stranger's datagrams can be told
/// from the relay's own.
pub const PINHOLE_IN_USE: u16 = 1;

/// A pinhole: datagrams between a client and the node of its association.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pinhole {
    /// The backend.
    pub backend: u16,
    /// Number of the listener that the control connection goes to.
    pub listener: u16,
    /// The client's port of the control connection, network order.
    pub control: [u8; 2],
    /// Zero.
    pub reserved: [u16; 3],
    /// [`super::Globals::epoch`] when a datagram was last seen.
    pub seen: u32,
}

/// Tells the first program which connections may still be negotiating, so that it need not look up every one.
///
/// A cell is chosen by client and port, and holds when a handshake was last seen there (the low 16 bits of the
/// epoch, plus one, in the high half) and a tag of the connection; 0 in its place when there are several.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Negotiating {
    /// The cells.
    pub cells: [u32; NEGOTIATING_CELLS],
}
