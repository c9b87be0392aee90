//! The bytes that change: Ethernet addresses, TTL, one address, one port, two checksums. Nothing else.

use crate::{
    Frame,
    abi::{Backend, ENDPOINT_ANY_PORT, Endpoint, NextHop},
    address::Address,
    checksum,
    parse::{Layout, Packet},
    wire::{Ethernet, EthernetWords, protocol},
};

/// Turns a client's packet to a listener into one to `backend` (DNAT).
#[inline(always)]
pub fn to_backend<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
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
    fix_transport(frame, layout, packet, delta)
}

/// Turns a node's answer into one of the VIP, which is `address` and `port`.
#[inline(always)]
pub fn to_client<A: Address, L: Layout<A>, F: Frame>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    node: &Endpoint,
    hop: &NextHop,
) -> Option<()> {
    let vip = A::read(&node.address);
    source(frame, layout, vip, node.l3_delta, hop)?;
    if node.flags & ENDPOINT_ANY_PORT == 0 {
        layout.ports_mut(frame)?.source = node.port;
    }
    fix_transport(frame, layout, packet, node.l4_delta)
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
    packet: &Packet<A>,
    delta: u32,
) -> Option<()> {
    let is_udp = packet.protocol == protocol::UDP;
    let check = layout.checksum_mut(frame, packet.protocol)?;
    if is_udp && *check == [0; 2] {
        return Some(());
    }
    let updated = checksum::update(*check, delta);
    *check = if is_udp && updated == [0; 2] {
        [0xff; 2]
    } else {
        updated
    };
    Some(())
}
