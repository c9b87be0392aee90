//! The common case: TCP right after an IP header without anything special, right after Ethernet.

use super::Packet;
use crate::{
    Frame,
    wire::{Ethernet, FRAGMENT_MASK, IPV4_NO_OPTIONS, Ipv4, TcpHeaders, ethertype, protocol},
};

/// Reads a plain TCP segment in IPv4; `None` when it is anything else, or is not as it should be.
#[inline(always)]
pub fn plain4<F: Frame>(frame: &F) -> Option<Packet<[u8; 4]>> {
    let TcpHeaders {
        ethernet,
        ipv4,
        tcp,
    } = frame.header::<TcpHeaders>(0)?;
    let total_length = u16::from_be_bytes(ipv4.total_length);
    let header = u16::from(tcp.data_offset >> 4) * 4;
    if ethernet.ethertype != ethertype::IPV4
        || ipv4.version_ihl != IPV4_NO_OPTIONS
        || u16::from_be_bytes(ipv4.fragment) & FRAGMENT_MASK != 0
        || ipv4.protocol != protocol::TCP
        || usize::from(total_length) < size_of::<Ipv4>()
        || usize::from(total_length) > frame.length() - size_of::<Ethernet>()
    {
        return None;
    }
    let segment = total_length - size_of::<Ipv4>() as u16;
    if header < 20 || header > segment {
        return None;
    }
    Some(Packet {
        source: ipv4.source,
        destination: ipv4.destination,
        source_port: tcp.source,
        destination_port: tcp.destination,
        protocol: protocol::TCP,
        ttl: ipv4.ttl,
        flags: tcp.flags,
        sequence: u32::from_be_bytes(tcp.sequence),
        acknowledgement: u32::from_be_bytes(tcp.acknowledgement),
        segment,
        header,
        length: u32::from(total_length),
        fragment: None,
    })
}
