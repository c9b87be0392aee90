//! VLAN tags, IPv4 with options and fragments.

use crate::{
    Frame,
    address::Address,
    verdict::Verdict,
    wire::{Ethernet, FRAGMENT_MASK, IPV4_NO_OPTIONS, Ipv4, VlanTag, ethertype},
};

/// VLAN tags that are looked through.
const MAX_TAGS: usize = 2;

/// Whether a packet is a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    Whole,
    /// The first of several, with their identification.
    First([u8; 4]),
    /// Another than the first.
    Later([u8; 4]),
}

/// An IP packet, its transport header not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<A: Address> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Protocol of what is at `transport`.
    pub protocol: u8,
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of what follows the IP header and its options or extension headers.
    pub transport: usize,
    /// Offset of the packet's end; what follows is padding.
    pub end: usize,
    /// Whether it is a fragment.
    pub fragment: Fragment,
}

/// Looks through VLAN tags: the type of what follows them, and its offset.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
pub fn link<F: Frame>(frame: &F) -> Result<([u8; 2], usize), Verdict> {
    let ethernet = frame.header::<Ethernet>(0).ok_or(Verdict::PassTruncated)?;
    let mut kind = ethernet.ethertype;
    let mut offset = size_of::<Ethernet>();
    let mut tags = 0;
    while kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN {
        if tags == MAX_TAGS {
            return Err(Verdict::PassVlan);
        }
        let tag = frame
            .header::<VlanTag>(offset)
            .ok_or(Verdict::PassTruncated)?;
        kind = tag.ethertype;
        offset += size_of::<VlanTag>();
        tags += 1;
    }
    Ok((kind, offset))
}

/// Reads an IPv4 header and its options.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &F, ip: usize) -> Result<IpPacket<[u8; 4]>, Verdict> {
    let header = *frame.header::<Ipv4>(ip).ok_or(Verdict::PassTruncated)?;
    let header_length = usize::from(header.version_ihl & 0x0f) * 4;
    let total_length = usize::from(u16::from_be_bytes(header.total_length));
    if header.version_ihl >> 4 != 4
        || header_length < size_of::<Ipv4>()
        || total_length < header_length
    {
        return Err(Verdict::PassMalformed);
    }
    if total_length > frame.full_length() - ip {
        return Err(Verdict::PassTruncated);
    }
    if header.version_ihl != IPV4_NO_OPTIONS {
        options(frame, ip + size_of::<Ipv4>(), ip + header_length)?;
    }
    let bits = u16::from_be_bytes(header.fragment) & FRAGMENT_MASK;
    let [high, low] = header.identification;
    let identification = [high, low, 0, 0];
    Ok(IpPacket {
        source: header.source,
        destination: header.destination,
        ttl: header.ttl,
        protocol: header.protocol,
        ip,
        transport: ip + header_length,
        end: ip + total_length,
        fragment: match (bits, bits & 0x1fff) {
            (0, _) => Fragment::Whole,
            (_, 0) => Fragment::First(identification),
            _ => Fragment::Later(identification),
        },
    })
}

/// Looks for options that name the way (RFC 791, section 3.1): the destination is then only the next stop.
#[inline(always)]
fn options<F: Frame>(frame: &F, start: usize, end: usize) -> Result<(), Verdict> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    let mut offset = start;
    for _ in 0..40 {
        if offset >= end {
            break;
        }
        let [kind] = *frame
            .header::<[u8; 1]>(offset)
            .ok_or(Verdict::PassTruncated)?;
        match kind {
            END => break,
            NO_OPERATION => offset += 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Verdict::PassSourceRoute),
            _ => {
                let [length] = *frame
                    .header::<[u8; 1]>(offset + 1)
                    .ok_or(Verdict::PassTruncated)?;
                if length < 2 || offset + usize::from(length) > end {
                    return Err(Verdict::PassMalformed);
                }
                offset += usize::from(length);
            }
        }
    }
    Ok(())
}
