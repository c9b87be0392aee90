//! IPv6 addresses.

use bytemuck::Pod;

use super::{ANSWER_TTL, Address};
use crate::{
    Frame,
    abi::{EndpointKey6, EndpointWords, FlowKey6, FragmentKey6, PinholeKey6},
    checksum, hash,
    parse::{self, IpPacket},
    stage::Stage,
    verdict::Verdict,
    wire::{Icmp, Ipv6, protocol},
};

impl Address for [u8; 16] {
    type Header = Ipv6;
    type EndpointKey = EndpointKey6;
    type FlowKey = FlowKey6;
    type FragmentKey = FragmentKey6;
    type PinholeKey = PinholeKey6;

    const IS_IPV6: bool = true;
    const ICMP: u8 = protocol::ICMPV6;
    const STAGE: Stage = Stage::Ipv6;
    const TCP_STAGE: Stage = Stage::Tcp6;
    const UDP_STAGE: Stage = Stage::Udp6;
    const ICMP_STAGE: Stage = Stage::Icmp6;
    const NEGOTIATE_STAGE: Stage = Stage::Negotiate6;
    const TOO_BIG_STAGE: Stage = Stage::TooBig6;
    const REFUSE_STAGE: Stage = Stage::Refuse6;
    /// RFC 4443, section 3.2.
    const TOO_BIG: (u8, u8) = (2, 0);
    /// RFC 4443, section 3.1.
    const PORT_UNREACHABLE: (u8, u8) = (1, 4);

    #[inline(always)]
    fn parse<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<Self>, Verdict> {
        parse::ipv6(frame, ip, quoted)
    }

    #[inline(always)]
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> EndpointKey6 {
        let socket = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        key6(self, socket)
    }

    #[inline(always)]
    fn endpoint_words(key: &EndpointKey6) -> EndpointWords {
        bytemuck::cast(*key)
    }

    #[inline(always)]
    fn flow_key(self, port: [u8; 2], listener: u16) -> FlowKey6 {
        let [low, high] = listener.to_ne_bytes();
        key6(self, u32::from_ne_bytes([port[0], port[1], low, high]))
    }

    #[inline(always)]
    fn fragment_key(
        self,
        destination: Self,
        identification: [u8; 4],
        _protocol: u8,
    ) -> FragmentKey6 {
        let ([a, b], [c, d]): ([u64; 2], [u64; 2]) =
            (bytemuck::cast(self), bytemuck::cast(destination));
        bytemuck::cast([a, b, c, d, behind(u32::from_ne_bytes(identification))])
    }

    #[inline(always)]
    fn pinhole_key(self, port: [u8; 2], mark: u16) -> PinholeKey6 {
        let [low, high] = mark.to_ne_bytes();
        key6(self, u32::from_ne_bytes([port[0], port[1], low, high]))
    }

    #[inline(always)]
    fn hashed(self, key: [u64; 2], ignored: [u64; 2]) -> u64 {
        let [high, low]: [[u8; 8]; 2] = bytemuck::cast(self);
        let high = u64::from_be_bytes(high) & !ignored[0];
        hash::two_rounds(key, high) ^ (u64::from_be_bytes(low) & !ignored[1])
    }

    #[inline(always)]
    fn read(stored: &[u8; 16]) -> Self {
        load(stored)
    }

    #[inline(always)]
    fn store(self) -> [u8; 16] {
        self
    }

    #[inline(always)]
    fn load(field: &Self) -> Self {
        load(field)
    }

    #[inline(always)]
    fn put(field: &mut Self, address: Self) {
        put(field, address);
    }

    #[inline(always)]
    fn is(self, other: Self) -> bool {
        let (own, other): ([u64; 2], [u64; 2]) = (bytemuck::cast(self), bytemuck::cast(other));
        (own[0] ^ other[0]) | (own[1] ^ other[1]) == 0
    }

    #[inline(always)]
    fn added(&self) -> u32 {
        checksum::added(self)
    }

    #[inline(always)]
    fn removed(&self) -> u32 {
        checksum::removed(self)
    }

    #[inline(always)]
    fn wide_sum(self) -> u64 {
        let [a, b, c, d]: [u32; 4] = bytemuck::cast(self);
        u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
    }

    #[inline(always)]
    fn low(self) -> u16 {
        u16::from_ne_bytes([self[14], self[15]])
    }

    #[inline(always)]
    fn l3_delta(_addresses: u32) -> u32 {
        0
    }

    const QUOTED: usize = 1280 - size_of::<Ipv6>() - size_of::<Icmp>();

    #[inline(always)]
    fn forbids_fragments<F: Frame>(_frame: &F, _ip: usize) -> bool {
        true
    }

    #[inline(always)]
    fn ends<F: Frame>(frame: &F, ip: usize) -> Option<(Self, Self)> {
        let header = frame.header::<Ipv6>(ip)?;
        Some((load(&header.source), load(&header.destination)))
    }

    #[inline(always)]
    fn write_answer<F: Frame>(
        frame: &mut F,
        ip: usize,
        (source, destination): (Self, Self),
        protocol: u8,
        length: u16,
    ) -> Option<()> {
        *frame.header_mut(ip)? = Ipv6 {
            version_class_flow: [0x60, 0, 0, 0],
            payload_length: length.to_be_bytes(),
            next_header: protocol,
            hop_limit: ANSWER_TTL,
            source: destination,
            destination: source,
        };
        Some(())
    }

    #[inline(always)]
    fn set_source(header: &mut Ipv6, address: Self) {
        put(&mut header.source, address);
    }

    #[inline(always)]
    fn set_destination(header: &mut Ipv6, address: Self) {
        put(&mut header.destination, address);
    }

    #[inline(always)]
    fn fix_header(_header: &mut Ipv6, _delta: u32) -> u32 {
        0
    }

    #[inline(always)]
    fn decrement_ttl(header: &mut Ipv6, _delta: u32) {
        header.hop_limit -= 1;
    }
}

/// A key of an address and four bytes more.
#[inline(always)]
fn key6<K: Pod>(address: [u8; 16], rest: u32) -> K {
    let [high, low]: [u64; 2] = bytemuck::cast(address);
    bytemuck::cast([high, low, behind(rest)])
}

/// Four bytes, and four zeros behind them.
#[inline(always)]
fn behind(bytes: u32) -> u64 {
    let [a, b, c, d] = bytes.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

/// Reads an IPv6 address by words. Assigned as an array of bytes it would be copied byte by byte, by way of as many
/// places on the stack.
#[inline(always)]
pub fn load(field: &[u8; 16]) -> [u8; 16] {
    let words: &[[u8; 4]; 4] = bytemuck::cast_ref(field);
    bytemuck::cast(words.map(u32::from_ne_bytes))
}

/// The same the other way, by words that the compiler keeps in fewer places on the stack.
#[inline(always)]
pub fn put(field: &mut [u8; 16], address: [u8; 16]) {
    let words: &mut [[u8; 8]; 2] = bytemuck::cast_mut(field);
    let [high, low]: [u64; 2] = bytemuck::cast(address);
    words[0] = high.to_ne_bytes();
    words[1] = low.to_ne_bytes();
}
