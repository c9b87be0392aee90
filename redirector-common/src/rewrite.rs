//! The bytes that change: Ethernet header, TTL, one address, one port, two checksums. Nothing else.

use crate::{
    Frame,
    abi::{BACKEND_NEXT_HOP, Backend, ENDPOINT_LISTENER, ENDPOINT_NODE, Endpoint, NextHop},
    checksum,
    wire::{Ethernet, EthernetWords, TcpHeaders},
};

/// Turns a client's packet to a listener into one to `backend` (DNAT).
#[inline(always)]
pub fn to_backend<F: Frame>(frame: &mut F, listener: &Endpoint, backend: &Backend) -> Option<()> {
    let headers = frame.header_mut::<TcpHeaders>(0)?;
    address_to(&mut headers.ethernet, &backend.hop);
    decrement_ttl(headers, listener.l3_delta + backend.l3_delta);
    headers.ipv4.destination = backend.address;
    headers.tcp.destination = backend.port;
    let delta = listener.l4_delta + backend.l4_delta;
    headers.tcp.checksum = checksum::update(headers.tcp.checksum, delta);
    Some(())
}

/// Turns a node's answer into one of the VIP.
#[inline(always)]
pub fn to_client<F: Frame>(frame: &mut F, node: &Endpoint, hop: &NextHop) -> Option<()> {
    let headers = frame.header_mut::<TcpHeaders>(0)?;
    address_to(&mut headers.ethernet, hop);
    decrement_ttl(headers, node.l3_delta);
    headers.ipv4.source = node.address;
    headers.tcp.source = node.port;
    headers.tcp.checksum = checksum::update(headers.tcp.checksum, node.l4_delta);
    Some(())
}

/// Writes both link-layer addresses, which a next hop has side by side in the order of the header, as three
/// words. Assigned as arrays of six bytes they would be copied byte by byte, twice.
#[inline(always)]
fn address_to(ethernet: &mut Ethernet, hop: &NextHop) {
    let [first, second, third, _] = bytemuck::cast_ref::<NextHop, [u32; 4]>(hop);
    let words: &mut EthernetWords = bytemuck::cast_mut(ethernet);
    words.first = first.to_ne_bytes();
    words.second = second.to_ne_bytes();
    words.third = third.to_ne_bytes();
}

/// `delta` covers the TTL and the address.
#[inline(always)]
fn decrement_ttl(headers: &mut TcpHeaders, delta: u32) {
    headers.ipv4.ttl -= 1;
    headers.ipv4.checksum = checksum::update(headers.ipv4.checksum, delta);
}

impl Endpoint {
    /// The entry for packets to `address:port` of a redirect's listener.
    pub fn listener(address: [u8; 4], port: u16, redirect: u16, listener: u16) -> Self {
        Self {
            kind: ENDPOINT_LISTENER,
            redirect,
            listener,
            l3_delta: checksum::removed(&address) + checksum::TTL_DECREMENT,
            l4_delta: checksum::removed(&address) + checksum::removed(&port.to_be_bytes()),
            ..Self::default()
        }
    }

    /// The entry for packets from `backend`, to be restored to the VIP `address:port` of a listener.
    pub fn node(
        backend: &Backend,
        id: u16,
        address: [u8; 4],
        port: u16,
        redirect: u16,
        listener: u16,
    ) -> Self {
        let port = port.to_be_bytes();
        Self {
            kind: ENDPOINT_NODE,
            redirect,
            listener,
            backend: id,
            address,
            port,
            reserved: [0; 2],
            l3_delta: checksum::removed(&backend.address)
                + checksum::added(&address)
                + checksum::TTL_DECREMENT,
            l4_delta: checksum::removed(&backend.address)
                + checksum::removed(&backend.port)
                + checksum::added(&address)
                + checksum::added(&port),
        }
    }
}

impl Backend {
    /// The entry for a node at `address:port`, without a next hop.
    pub fn new(address: [u8; 4], port: u16) -> Self {
        let port = port.to_be_bytes();
        Self {
            address,
            port,
            l3_delta: checksum::added(&address),
            l4_delta: checksum::added(&address) + checksum::added(&port),
            ..Self::default()
        }
    }

    /// Whether there is a node in this entry. A kernel map has an entry at every index, zeroed where
    /// none was written.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.address != [0; 4]
    }

    /// The same entry, reached by way of `hop`.
    #[must_use]
    pub fn via(self, hop: NextHop) -> Self {
        Self {
            hop,
            flags: self.flags | BACKEND_NEXT_HOP,
            ..self
        }
    }
}
