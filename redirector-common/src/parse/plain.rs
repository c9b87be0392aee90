//! The common case: TCP right after an IP header without anything special, right after Ethernet.

use super::Packet;
use crate::{
    Frame, address,
    wire::{
        Ethernet, FRAGMENT_MASK, IPV4_NO_OPTIONS, Ipv4, Ipv6, Tcp, TcpHeaders, TcpHeaders6,
        ethertype, protocol,
    },
};

/// Bytes of an IPv4 header without options.
const IPV4_HEADER: u16 = 20;

/// Reads a plain TCP segment in IPv4; `None` when it is anything else, or is not as it should be.
#[inline(always)]
pub fn plain4<F: Frame>(frame: &F) -> Option<Packet<[u8; 4]>> {
    let TcpHeaders {
        ethernet,
        ipv4,
        tcp,
    } = frame.header::<TcpHeaders>(0)?;
    let total_length = u16::from_be_bytes(ipv4.total_length);
    if ethernet.ethertype != ethertype::IPV4
        || ipv4.version_ihl != IPV4_NO_OPTIONS
        || u16::from_be_bytes(ipv4.fragment) & FRAGMENT_MASK != 0
        || ipv4.protocol != protocol::TCP
        || usize::from(total_length) < size_of::<Ipv4>()
        || usize::from(total_length) > frame.length() - size_of::<Ethernet>()
    {
        return None;
    }
    let segment = total_length - IPV4_HEADER;
    Some(Packet {
        source: ipv4.source,
        destination: ipv4.destination,
        ttl: ipv4.ttl,
        segment,
        length: u32::from(total_length),
        ..of_segment(tcp, segment)?
    })
}

/// Reads a plain TCP segment in IPv6; `None` when it is anything else, or is not as it should be.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "40 more than 16 bits at the most"
)]
pub fn plain6<F: Frame>(frame: &F) -> Option<Packet<[u8; 16]>> {
    let TcpHeaders6 {
        ethernet,
        ipv6,
        tcp,
    } = frame.header::<TcpHeaders6>(0)?;
    let segment = u16::from_be_bytes(ipv6.payload_length);
    let length = size_of::<Ipv6>() + usize::from(segment);
    if ethernet.ethertype != ethertype::IPV6
        || ipv6.version_class_flow[0] >> 4 != 6
        || ipv6.next_header != protocol::TCP
        || length > frame.length() - size_of::<Ethernet>()
    {
        return None;
    }
    Some(Packet {
        source: address::load(&ipv6.source),
        destination: address::load(&ipv6.destination),
        ttl: ipv6.hop_limit,
        segment,
        length: length as u32,
        ..of_segment(tcp, segment)?
    })
}

/// What a TCP header says about a segment of this many bytes; the rest is zero.
#[inline(always)]
pub fn of_segment<A: bytemuck::Zeroable>(tcp: &Tcp, segment: u16) -> Option<Packet<A>> {
    let header = u16::from(tcp.data_offset >> 4) * 4;
    if header < 20 || header > segment {
        return None;
    }
    Some(Packet {
        source: A::zeroed(),
        destination: A::zeroed(),
        source_port: tcp.source,
        destination_port: tcp.destination,
        protocol: protocol::TCP,
        ttl: 0,
        flags: tcp.flags,
        sequence: u32::from_be_bytes(tcp.sequence),
        acknowledgement: u32::from_be_bytes(tcp.acknowledgement),
        checksum: tcp.checksum,
        segment,
        header,
        length: 0,
        fragment: None,
    })
}
