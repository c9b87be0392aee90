//! Packet → class: does it go to a redirect, come from a node, or is it none of ours?
//!
//! A port filter comes first: of the two ports of a packet usually one is a redirect's or a node's, and it
//! tells in which direction the packet goes, so that one lookup finds the endpoint and other traffic
//! needs none.

use crate::{
    abi::{ENDPOINT_LISTENER, ENDPOINT_NODE, Endpoint},
    address::Address,
    parse::Packet,
    tables::{FamilyTables, Tables},
};

/// What a packet is to us.
#[derive(Clone, Copy, Debug)]
pub enum Class<'a> {
    /// To the VIP and port of a redirect.
    ToListener(&'a Endpoint),
    /// From a node's socket.
    FromNode(&'a Endpoint),
    /// To a node's socket, not by way of the VIP.
    ToNode(&'a Endpoint),
    /// Nothing that we know.
    NotOurs,
}

/// Finds the class of a packet of `protocol`.
#[inline(always)]
pub fn classify<'a, A: Address, T: FamilyTables<A>>(
    packet: &Packet<A>,
    protocol: u8,
    tables: &'a T,
) -> Class<'a> {
    if is_ours(packet.destination_port, tables)
        && let Some(endpoint) = lookup(
            packet.destination,
            packet.destination_port,
            protocol,
            tables,
        )
    {
        return if endpoint.kind == ENDPOINT_LISTENER {
            Class::ToListener(endpoint)
        } else {
            Class::ToNode(endpoint)
        };
    }
    if is_ours(packet.source_port, tables)
        && let Some(endpoint) = lookup(packet.source, packet.source_port, protocol, tables)
        && endpoint.kind == ENDPOINT_NODE
    {
        return Class::FromNode(endpoint);
    }
    Class::NotOurs
}

/// Whether something of ours may be at this port. Port 0 stands for every port.
#[inline(always)]
fn is_ours<T: Tables>(port: [u8; 2], tables: &T) -> bool {
    tables.is_our_port(u16::from_be_bytes(port)) || tables.is_our_port(0)
}

/// The endpoint of a socket, or of every port of its address.
#[inline(always)]
pub fn lookup<A: Address, T: FamilyTables<A>>(
    address: A,
    port: [u8; 2],
    protocol: u8,
    tables: &T,
) -> Option<&Endpoint> {
    match tables.endpoint(&address.endpoint_key(port, protocol)) {
        None if tables.is_our_port(0) => tables.endpoint(&address.endpoint_key([0; 2], protocol)),
        found => found,
    }
}
