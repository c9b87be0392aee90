//! What differs between the two families, behind a trait of their addresses.
//!
//! The packet path is written once, for any [`Address`]; the compiler makes one copy for each family, in which
//! the keys of maps have that family's width.

mod ipv4;
mod ipv6;

use core::{fmt::Debug, hash::Hash, net::IpAddr};

use bytemuck::Pod;

use crate::{
    Frame, abi::EndpointWords, checksum, parse::IpPacket, stage::Stage, verdict::Verdict,
    wire::Icmp,
};

pub use self::ipv6::{load, put};

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
    /// The program that answers what no backend takes.
    const REFUSE_STAGE: Stage;
    /// Type and code of the message of its ICMP that a packet is too big.
    const TOO_BIG: (u8, u8);
    /// Type and code of the one that nobody listens at a port.
    const PORT_UNREACHABLE: (u8, u8);

    /// Reads an IP header at this offset and what stands between it and the transport header. A `quoted` packet
    /// may be cut anywhere behind that.
    ///
    /// # Errors
    /// The verdict with which the frame is left alone.
    fn parse<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<Self>, Verdict>;

    /// The key of an endpoint.
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> Self::EndpointKey;
    /// The same key as the table of endpoints has it.
    fn endpoint_words(key: &Self::EndpointKey) -> EndpointWords;
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
    /// The value that the client hash is made of, without the bits that are [ignored](crate::abi::SlotTable::ignored).
    fn hashed(self, key: [u64; 2], ignored: [u64; 2]) -> u64;
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
    /// Its last 16 bits, as they are in memory.
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
    /// Writes at `ip` the header of an answer with so many bytes of `protocol` to a packet that went from the first to the
    /// second of `ends`.
    fn write_answer<F: Frame>(
        frame: &mut F,
        ip: usize,
        ends: (Self, Self),
        protocol: u8,
        length: u16,
    ) -> Option<()>;

    /// Writes the headers of a message of ICMP at `ip`, in front of so many bytes of the packet that it is about, which
    /// went from the first to the second of `ends`.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 1,240 bytes, see QUOTED"
    )]
    fn write_error<F: Frame>(
        frame: &mut F,
        ip: usize,
        ends: (Self, Self),
        error: Icmp,
        quoted: usize,
    ) -> Option<()> {
        let length = size_of::<Icmp>() + quoted;
        Self::write_answer(frame, ip, ends, Self::ICMP, length as u16)?;
        let pseudo = if Self::IS_IPV6 {
            ends.0.added()
                + ends.1.added()
                + checksum::added(&(length as u16).to_be_bytes())
                + checksum::added(&[0, Self::ICMP])
        } else {
            0
        };
        error.write(frame, ip + size_of::<Self::Header>(), length, pseudo)
    }
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

/// Time to live of what the relay itself sends.
pub(crate) const ANSWER_TTL: u8 = 64;

impl Icmp {
    /// Writes it in front of the rest of its message of `length` bytes, with the checksum; `pseudo` is the sum of the
    /// pseudo-header.
    #[inline(always)]
    pub(crate) fn write<F: Frame>(
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
