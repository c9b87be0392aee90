//! Packet → class: does it go to a redirect, come from a node, or is it none of ours?
//!
//! A port filter comes first: of the two ports of a packet usually one is a redirect's or a node's, and it
//! tells in which direction the packet goes, so that one hash lookup finds the endpoint and other traffic
//! needs none.

use crate::{
    Tables,
    abi::{ENDPOINT_LISTENER, ENDPOINT_NODE, Endpoint, EndpointKey4},
    parse::Packet,
    wire::protocol,
};

/// What a packet is to us.
#[derive(Clone, Copy, Debug)]
pub enum Class<'a> {
    /// To the VIP and port of a redirect.
    ToListener(&'a Endpoint),
    /// From a node's socket.
    FromNode(&'a Endpoint),
    /// To a node's socket, not by way of the VIP.
    ToNode,
    /// Nothing that we know.
    NotOurs,
}

/// Finds the class of a packet.
#[inline(always)]
pub fn classify<'a, T: Tables>(packet: &Packet, tables: &'a T) -> Class<'a> {
    if tables.is_our_port(u16::from_be_bytes(packet.destination_port)) {
        match tables.endpoint(&key(packet.destination, packet.destination_port)) {
            Some(endpoint) if endpoint.kind == ENDPOINT_LISTENER => {
                return Class::ToListener(endpoint);
            }
            Some(_) => return Class::ToNode,
            None => {}
        }
    }
    if tables.is_our_port(u16::from_be_bytes(packet.source_port))
        && let Some(endpoint) = tables.endpoint(&key(packet.source, packet.source_port))
        && endpoint.kind == ENDPOINT_NODE
    {
        return Class::FromNode(endpoint);
    }
    Class::NotOurs
}

/// Made of two whole words: the kernel hashes a key by words, and reading a word that was just written in
/// parts stalls the processor.
#[inline(always)]
fn key(address: [u8; 4], port: [u8; 2]) -> EndpointKey4 {
    let socket = u32::from_ne_bytes([port[0], port[1], protocol::TCP, 0]);
    bytemuck::cast([u32::from_ne_bytes(address), socket])
}
