//! The bytes that change: Ethernet addresses, TTL, one address, one port, two checksums. Nothing else; but in
//! the answer to a UDP ASSOCIATE see [`crate::associate`].

use crate::{
    Frame,
    abi::{Backend, ENDPOINT_ANY_PORT, Endpoint, NextHop},
    address::Address,
    checksum,
    parse::{Layout, Packet},
    vip::Vip,
    wire::{Ethernet, EthernetWords, protocol},
};

/// Turns a client's packet to a listener into one to `backend` (DNAT).
#[inline(always)]
pub fn to_backend<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    listener: &Endpoint,
    backend: &Backend,
) -> Option<()> {
    let node = A::read(&backend.address);
    let l3 = listener.l3_delta + backend.l3_delta;
    destination(frame, layout, node, l3, &backend.hop)?;
    if listener.flags & ENDPOINT_ANY_PORT == 0 {
        layout.ports_mut(frame)?.destination = backend.port;
    }
    let delta = listener.l4_delta + backend.l4_delta;
    fix_transport(frame, layout, delta)
}

/// Turns a node's answer into one of the VIP.
#[inline(always)]
pub fn to_client<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    vip: &Vip<A>,
    hop: &NextHop,
) -> Option<()> {
    source(frame, layout, vip.address, vip.l3_delta, hop)?;
    if let Some(port) = vip.port {
        layout.ports_mut(frame)?.source = port;
    }
    fix_transport(frame, layout, vip.l4_delta)
}

/// Turns a packet to a VIP into one to the same port of `node`.
#[inline(always)]
pub fn readdress_destination<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    node: A,
    hop: &NextHop,
) -> Option<()> {
    let delta = packet.destination.removed() + node.added();
    destination(frame, layout, node, A::l3_delta(delta), hop)?;
    fix_transport(frame, layout, delta)
}

/// Writes Ethernet addresses, TTL and destination; `delta` is the change of the IPv4 header's checksum.
#[inline(always)]
pub fn destination<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    address: A,
    delta: u32,
    hop: &NextHop,
) -> Option<()> {
    let header = layout.ip_mut(frame)?;
    A::decrement_ttl(header, delta);
    A::set_destination(header, address);
    link(frame, hop)
}

/// Writes Ethernet addresses, TTL and source; `delta` is the change of the IPv4 header's checksum.
#[inline(always)]
pub fn source<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    address: A,
    delta: u32,
    hop: &NextHop,
) -> Option<()> {
    let header = layout.ip_mut(frame)?;
    A::decrement_ttl(header, delta);
    A::set_source(header, address);
    link(frame, hop)
}

/// Writes both link-layer addresses, which a next hop has side by side in the order of the header, as three
/// words. Assigned as arrays of six bytes they would be copied byte by byte, twice.
#[inline(always)]
pub fn link<F: Frame>(frame: &mut F, hop: &NextHop) -> Option<()> {
    let [first, second, third, ..] = bytemuck::cast_ref::<NextHop, [u32; 6]>(hop);
    let words: &mut EthernetWords = bytemuck::cast_mut(frame.header_mut::<Ethernet>(0)?);
    words.first = first.to_ne_bytes();
    words.second = second.to_ne_bytes();
    words.third = third.to_ne_bytes();
    Some(())
}

/// Brings the transport checksum up to date with other addresses and ports.
#[inline(always)]
fn fix_transport<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    delta: u32,
) -> Option<()> {
    let check = layout.checksum_mut(frame)?;
    *check = transport_checksum(layout.protocol(), *check, delta);
    Some(())
}

/// A transport checksum with `delta` applied. In UDP 0 means that there is none, and stays so.
#[inline(always)]
pub fn transport_checksum(protocol: u8, check: [u8; 2], delta: u32) -> [u8; 2] {
    if protocol != protocol::UDP {
        return checksum::update(check, delta);
    }
    match checksum::update(check, delta) {
        _ if check == [0; 2] => check,
        [0, 0] => [0xff; 2],
        updated => updated,
    }
}
