//! What the measuring program and the benchmark tell each other; no part of the product's maps.

use bytemuck::{Pod, Zeroable};

use crate::wire::TcpHeaders;

/// The headers that the measuring program writes before each run of the program under test.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Template {
    /// The headers.
    pub headers: TcpHeaders,
    /// [`CLIENT_IS_SOURCE`], [`CLIENT_IS_DESTINATION`] or 0.
    pub client_is: u16,
    /// Bits of the client's address that change from packet to packet.
    pub client_mask: u32,
    /// Packets so far.
    pub counter: u32,
}

/// [`Template::client_is`]: the source address is a client's.
pub const CLIENT_IS_SOURCE: u16 = 1;
/// [`Template::client_is`]: the destination address is a client's.
pub const CLIENT_IS_DESTINATION: u16 = 2;
