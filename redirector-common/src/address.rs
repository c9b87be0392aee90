//! What differs between the two families, behind a trait of their addresses.
//!
//! The packet path is written once, for any [`Address`]; the compiler makes one copy for each family, in which
//! the keys of maps have that family's width.

use core::{fmt::Debug, hash::Hash, net::IpAddr};

use bytemuck::Pod;

use crate::{
    Frame,
    abi::{
        EndpointKey4, EndpointKey6, FlowKey4, FlowKey6, FragmentKey4, FragmentKey6, PinholeKey4,
        PinholeKey6,
    },
    checksum, hash,
    parse::{self, IpPacket},
    stage::Stage,
    too_big,
    verdict::Verdict,
    wire::{IPV4_NO_OPTIONS, Icmp, Ipv4, Ipv6, protocol},
};

/// An IP address as it is on the wire: `[u8; 4]` or `[u8; 16]`.
pub trait Address: Pod + Copy + Eq + Ord + Hash + Debug {
    /// The IP header, without options or extension headers.
    type Header: Pod;
    /// Key of an endpoint.
    type EndpointKey: Pod + Eq + Ord + Hash + Debug;
    /// Key of a flow.
    type FlowKey: Pod + Eq + Ord + Hash + Debug;
    /// Key of a fragmented datagram.
    type FragmentKey: Pod + Eq + Ord + Hash + Debug;

    /// Key of a pinhole.
    type PinholeKey: Pod + Eq + Ord + Hash + Debug;

    /// Whether it is IPv6.
    const IS_IPV6: bool;
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// The program for any packet of the family.
    const STAGE: Stage;
    /// The program for TCP in it.
    const TCP_STAGE: Stage;
    /// The program for UDP in it.
    const UDP_STAGE: Stage;
    /// The program for its ICMP.
    const ICMP_STAGE: Stage;
    /// The program that follows SOCKS negotiations.
    const NEGOTIATE_STAGE: Stage;
    /// The program that answers what is too big.
    const TOO_BIG_STAGE: Stage;

    /// Reads an IP header at this offset and what stands between it and the transport header. A `quoted` packet
    /// may be cut anywhere behind that.
    ///
    /// # Errors
    /// The verdict with which the frame is left alone.
    fn parse<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<Self>, Verdict>;

    /// The key of an endpoint.
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> Self::EndpointKey;
    /// The key of a client's flow with a listener; `listener` may carry [`crate::abi::FLOW_REVERSE`].
    fn flow_key(self, port: [u8; 2], listener: u16) -> Self::FlowKey;
    /// The key of a datagram in fragments from `self` to `destination`.
    fn fragment_key(
        self,
        destination: Self,
        identification: [u8; 4],
        protocol: u8,
    ) -> Self::FragmentKey;
    /// The key of the pinhole of a client, or with [`crate::abi::PINHOLE_IN_USE`] of the mark of a VIP.
    fn pinhole_key(self, port: [u8; 2], mark: u16) -> Self::PinholeKey;
    /// The value that the client hash is made of.
    fn hashed(self, key: [u64; 2]) -> u64;
    /// The address in a field that has room for either family.
    fn read(stored: &[u8; 16]) -> Self;
    /// The same, to be put into such a field.
    fn store(self) -> [u8; 16];
    /// Reads it from a field, by words.
    fn load(field: &Self) -> Self;
    /// Writes it to a field, by words.
    fn put(field: &mut Self, address: Self);
    /// Whether it is this address. By words, where `==` on 16 bytes would be a call.
    fn is(self, other: Self) -> bool;
    /// The checksum delta of the address coming in.
    fn added(&self) -> u32;
    /// The checksum delta of the address going away.
    fn removed(&self) -> u32;
    /// The sum of its 32-bit words in memory order, for a pseudo-header.
    fn wide_sum(self) -> u64;
    /// Its last 16 bits.
    fn low(self) -> u16;
    /// The delta of the IPv4 header's checksum when addresses change by `addresses` and the TTL is decremented; 0 in
    /// IPv6, whose header has none.
    fn l3_delta(addresses: u32) -> u32;
    /// How many bytes of a packet that is too big are quoted to its sender. In IPv4 the answer has 576 bytes then (RFC
    /// 1812, section 4.3.2.3), in IPv6 1,280 (RFC 4443, section 2.4).
    const QUOTED: usize;
    /// Whether the packet whose header is at `ip` may not be fragmented.
    fn forbids_fragments<F: Frame>(frame: &F, ip: usize) -> bool;
    /// Source and destination of the packet whose header is at `ip`.
    fn ends<F: Frame>(frame: &F, ip: usize) -> Option<(Self, Self)>;
    /// Writes the headers of a too-big message at `ip`, in front of the quoted packet, which went from the first to
    /// the second of `ends`; `mtu` is what would have fit, bytes.
    fn write_too_big<F: Frame>(
        frame: &mut F,
        ip: usize,
        ends: (Self, Self),
        mtu: u16,
    ) -> Option<()>;
    /// Writes the source.
    fn set_source(header: &mut Self::Header, address: Self);
    /// Writes the destination.
    fn set_destination(header: &mut Self::Header, address: Self);
    /// Applies the delta of an address to the header's own checksum, and gives the delta that this is to a checksum
    /// over the header.
    fn fix_header(header: &mut Self::Header, delta: u32) -> u32;
    /// Takes a hop off, and applies `delta`, which covers the TTL as well, to the header's checksum.
    fn decrement_ttl(header: &mut Self::Header, delta: u32);
}

impl Address for [u8; 4] {
    type Header = Ipv4;
    type EndpointKey = EndpointKey4;
    type FlowKey = FlowKey4;
    type FragmentKey = FragmentKey4;
    type PinholeKey = PinholeKey4;

    const IS_IPV6: bool = false;
    const ICMP: u8 = protocol::ICMP;
    const STAGE: Stage = Stage::Ipv4;
    const TCP_STAGE: Stage = Stage::Tcp4;
    const UDP_STAGE: Stage = Stage::Udp4;
    const ICMP_STAGE: Stage = Stage::Icmp4;
    const NEGOTIATE_STAGE: Stage = Stage::Negotiate4;
    const TOO_BIG_STAGE: Stage = Stage::TooBig4;

    #[inline(always)]
    fn parse<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<Self>, Verdict> {
        parse::ipv4(frame, ip, quoted)
    }

    /// Made of two whole words: the kernel hashes a key by words, and reading a word that was just written in
    /// parts stalls the processor.
    #[inline(always)]
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> EndpointKey4 {
        let socket = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([u32::from_ne_bytes(self), socket])
    }

    #[inline(always)]
    fn flow_key(self, port: [u8; 2], listener: u16) -> FlowKey4 {
        let [low, high] = listener.to_ne_bytes();
        let socket = u32::from_ne_bytes([port[0], port[1], low, high]);
        bytemuck::cast([u32::from_ne_bytes(self), socket])
    }

    #[inline(always)]
    fn fragment_key(
        self,
        destination: Self,
        identification: [u8; 4],
        protocol: u8,
    ) -> FragmentKey4 {
        bytemuck::cast([
            u32::from_ne_bytes(self),
            u32::from_ne_bytes(destination),
            u32::from_ne_bytes(identification),
            u32::from_ne_bytes([protocol, 0, 0, 0]),
        ])
    }

    #[inline(always)]
    fn pinhole_key(self, port: [u8; 2], mark: u16) -> PinholeKey4 {
        let [low, high] = mark.to_ne_bytes();
        let socket = u32::from_ne_bytes([port[0], port[1], low, high]);
        bytemuck::cast([u32::from_ne_bytes(self), socket])
    }

    #[inline(always)]
    fn hashed(self, _key: [u64; 2]) -> u64 {
        u64::from(u32::from_be_bytes(self))
    }

    #[inline(always)]
    fn read(stored: &[u8; 16]) -> Self {
        let [first, ..]: &[[u8; 4]; 4] = bytemuck::cast_ref(stored);
        *first
    }

    #[inline(always)]
    fn store(self) -> [u8; 16] {
        let mut stored = [0; 16];
        stored[..4].copy_from_slice(&self);
        stored
    }

    #[inline(always)]
    fn load(field: &Self) -> Self {
        *field
    }

    #[inline(always)]
    fn put(field: &mut Self, address: Self) {
        *field = address;
    }

    #[inline(always)]
    fn is(self, other: Self) -> bool {
        u32::from_ne_bytes(self) == u32::from_ne_bytes(other)
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
        u64::from(u32::from_ne_bytes(self))
    }

    #[inline(always)]
    fn low(self) -> u16 {
        u16::from_be_bytes([self[2], self[3]])
    }

    #[inline(always)]
    fn l3_delta(addresses: u32) -> u32 {
        addresses + checksum::TTL_DECREMENT
    }

    const QUOTED: usize = 576 - size_of::<Ipv4>() - size_of::<Icmp>();

    #[inline(always)]
    fn forbids_fragments<F: Frame>(frame: &F, ip: usize) -> bool {
        frame.header(ip).is_some_and(too_big::has_dont_fragment)
    }

    #[inline(always)]
    fn ends<F: Frame>(frame: &F, ip: usize) -> Option<(Self, Self)> {
        let header = frame.header::<Ipv4>(ip)?;
        Some((header.source, header.destination))
    }

    #[inline(always)]
    fn write_too_big<F: Frame>(
        frame: &mut F,
        ip: usize,
        (source, destination): (Self, Self),
        mtu: u16,
    ) -> Option<()> {
        const UNREACHABLE: u8 = 3;
        const FRAGMENTATION_NEEDED: u8 = 4;
        let message = size_of::<Icmp>() + Self::QUOTED;
        let mut header = Ipv4 {
            version_ihl: IPV4_NO_OPTIONS,
            total_length: 576_u16.to_be_bytes(),
            fragment: [0x40, 0],
            ttl: ANSWER_TTL,
            protocol: protocol::ICMP,
            source: destination,
            destination: source,
            ..Ipv4::default()
        };
        let words: &[[u8; 4]; 5] = bytemuck::cast_ref(&header);
        let sum = words.iter().map(checksum::added).sum();
        header.checksum = (!checksum::fold(sum)).to_ne_bytes();
        *frame.header_mut(ip)? = header;
        let [high, low] = mtu.to_be_bytes();
        let icmp = Icmp {
            kind: UNREACHABLE,
            code: FRAGMENTATION_NEEDED,
            checksum: [0; 2],
            rest: [0, 0, high, low],
        };
        icmp.write(frame, ip + size_of::<Ipv4>(), message, 0)
    }

    #[inline(always)]
    fn set_source(header: &mut Ipv4, address: Self) {
        header.source = address;
    }

    #[inline(always)]
    fn set_destination(header: &mut Ipv4, address: Self) {
        header.destination = address;
    }

    #[inline(always)]
    fn fix_header(header: &mut Ipv4, delta: u32) -> u32 {
        let before = header.checksum;
        header.checksum = checksum::update(before, delta);
        checksum::removed(&before) + checksum::added(&header.checksum)
    }

    #[inline(always)]
    fn decrement_ttl(header: &mut Ipv4, delta: u32) {
        header.ttl -= 1;
        header.checksum = checksum::update(header.checksum, delta);
    }
}

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
    fn hashed(self, key: [u64; 2]) -> u64 {
        let [high, low]: [[u8; 8]; 2] = bytemuck::cast(self);
        hash::two_rounds(key, u64::from_be_bytes(high)) ^ u64::from_be_bytes(low)
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
        u16::from_be_bytes([self[14], self[15]])
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
    fn write_too_big<F: Frame>(
        frame: &mut F,
        ip: usize,
        (source, destination): (Self, Self),
        mtu: u16,
    ) -> Option<()> {
        const TOO_BIG: u8 = 2;
        const MESSAGE: u16 = 1280 - 40;
        *frame.header_mut(ip)? = Ipv6 {
            version_class_flow: [0x60, 0, 0, 0],
            payload_length: MESSAGE.to_be_bytes(),
            next_header: protocol::ICMPV6,
            hop_limit: ANSWER_TTL,
            source: destination,
            destination: source,
        };
        let [high, low] = mtu.to_be_bytes();
        let icmp = Icmp {
            kind: TOO_BIG,
            code: 0,
            checksum: [0; 2],
            rest: [0, 0, high, low],
        };
        let pseudo = source.added()
            + destination.added()
            + checksum::added(&MESSAGE.to_be_bytes())
            + checksum::added(&[0, protocol::ICMPV6]);
        icmp.write(frame, ip + size_of::<Ipv6>(), usize::from(MESSAGE), pseudo)
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

/// The same the other way.
#[inline(always)]
pub fn put(field: &mut [u8; 16], address: [u8; 16]) {
    let words: &mut [[u8; 4]; 4] = bytemuck::cast_mut(field);
    let [a, b, c, d]: [u32; 4] = bytemuck::cast(address);
    words[0] = a.to_ne_bytes();
    words[1] = b.to_ne_bytes();
    words[2] = c.to_ne_bytes();
    words[3] = d.to_ne_bytes();
}

/// Time to live of what the relay itself sends.
const ANSWER_TTL: u8 = 64;

impl Icmp {
    /// Writes it in front of the rest of its message of `length` bytes, with the checksum; `pseudo` is the sum of the
    /// pseudo-header.
    #[inline(always)]
    fn write<F: Frame>(
        self,
        frame: &mut F,
        offset: usize,
        length: usize,
        pseudo: u32,
    ) -> Option<()> {
        *frame.header_mut(offset)? = self;
        let sum = frame.sum(offset, length)?;
        frame.header_mut::<Self>(offset)?.checksum =
            (!checksum::fold_wide(u64::from(sum) + u64::from(pseudo))).to_ne_bytes();
        Some(())
    }
}

/// The address in a field that has room for either family.
pub fn stored(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.octets().store(),
        IpAddr::V6(address) => address.octets(),
    }
}
