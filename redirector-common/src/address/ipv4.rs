//! IPv4 addresses.

use super::{ANSWER_TTL, Address};
use crate::{
    Frame,
    abi::{ENDPOINT_IPV4, EndpointKey4, EndpointWords, FlowKey4, FragmentKey4, PinholeKey4},
    checksum,
    parse::{self, IpPacket},
    stage::Stage,
    too_big,
    verdict::Verdict,
    wire::{IPV4_LENGTH, IPV4_NO_OPTIONS, Icmp, Ipv4, protocol},
};

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
    const REFUSE_STAGE: Stage = Stage::Refuse4;
    /// RFC 792, RFC 1191: fragmentation needed.
    const TOO_BIG: (u8, u8) = (3, 4);
    /// RFC 792.
    const PORT_UNREACHABLE: (u8, u8) = (3, 3);

    #[inline(always)]
    fn parse<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<Self>, Verdict> {
        parse::ipv4(frame, ip, quoted)
    }

    /// Made of two whole words: a key is hashed by words, and reading a word that was just written in parts stalls the
    /// processor.
    #[inline(always)]
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> EndpointKey4 {
        let socket = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([u32::from_ne_bytes(self), socket])
    }

    #[inline(always)]
    fn endpoint_words(key: &EndpointKey4) -> EndpointWords {
        const FAMILY: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, ENDPOINT_IPV4]);
        [bytemuck::cast(*key), 0, FAMILY]
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
    fn hashed(self, _key: [u64; 2], ignored: [u64; 2]) -> u64 {
        u64::from(u32::from_be_bytes(self)) & !ignored[0]
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
        u16::from_ne_bytes([self[2], self[3]])
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
    fn write_answer<F: Frame>(
        frame: &mut F,
        ip: usize,
        (source, destination): (Self, Self),
        protocol: u8,
        length: u16,
    ) -> Option<()> {
        let mut header = Ipv4 {
            version_ihl: IPV4_NO_OPTIONS,
            total_length: (IPV4_LENGTH + length).to_be_bytes(),
            fragment: [0x40, 0],
            ttl: ANSWER_TTL,
            protocol,
            source: destination,
            destination: source,
            ..Ipv4::default()
        };
        let words: &[[u8; 4]; 5] = bytemuck::cast_ref(&header);
        let sum = words.iter().map(checksum::added).sum();
        header.checksum = (!checksum::fold(sum)).to_ne_bytes();
        *frame.header_mut(ip)? = header;
        Some(())
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
