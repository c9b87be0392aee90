//! IPv6, with extension headers and in fragments.

use super::{Fragment, IpPacket};
use crate::{
    Frame, address,
    verdict::Verdict,
    wire::{Extension, FragmentHeader, Ipv6, protocol},
};

/// Extension headers that are looked through. More than four were never useful; attackers like them.
const MOST_EXTENSIONS: usize = 6;

/// Bits of [`FragmentHeader::offset`] that are set in any fragment but a whole packet's only one.
const FRAGMENT_BITS: u16 = 0xfff9;
/// The offset among them.
const OFFSET_BITS: u16 = 0xfff8;

/// Reads an IPv6 header and its extension headers (RFC 8200). A `quoted` packet may be cut behind them.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
pub fn ipv6<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<[u8; 16]>, Verdict> {
    let header = frame.header::<Ipv6>(ip).ok_or(Verdict::PassTruncated)?;
    if header.version_class_flow[0] >> 4 != 6 {
        return Err(Verdict::PassMalformed);
    }
    let length = size_of::<Ipv6>() + usize::from(u16::from_be_bytes(header.payload_length));
    let present = frame.full_length() - ip;
    if length > present && !quoted {
        return Err(Verdict::PassTruncated);
    }
    let length = length.min(present);
    let mut packet = IpPacket {
        source: address::load(&header.source),
        destination: address::load(&header.destination),
        ttl: header.hop_limit,
        protocol: header.next_header,
        ip,
        transport: ip + size_of::<Ipv6>(),
        end: ip + length,
        fragment: Fragment::Whole,
    };
    let mut offset = size_of::<Ipv6>();
    for _ in 0..MOST_EXTENSIONS {
        if !is_extension(packet.protocol) {
            break;
        }
        if offset + size_of::<Extension>() > length {
            return Err(Verdict::PassMalformed);
        }
        let extension = *frame
            .header::<Extension>(ip + offset)
            .ok_or(Verdict::PassTruncated)?;
        if packet.protocol == protocol::FRAGMENT {
            let fragment: FragmentHeader = bytemuck::cast(extension);
            packet.fragment = kind(&fragment);
            offset += size_of::<FragmentHeader>();
        } else {
            if packet.protocol == protocol::ROUTING && extension.segments_left != 0 {
                return Err(Verdict::PassSourceRoute);
            }
            offset += (usize::from(extension.length) + 1) * 8;
        }
        packet.protocol = extension.next_header;
        if offset > length {
            return Err(Verdict::PassMalformed);
        }
        if matches!(packet.fragment, Fragment::Later(_)) {
            break;
        }
    }
    packet.transport = ip + offset;
    if is_extension(packet.protocol) && !matches!(packet.fragment, Fragment::Later(_)) {
        return Err(Verdict::PassExtensionHeaders);
    }
    Ok(packet)
}

#[inline(always)]
const fn is_extension(header: u8) -> bool {
    matches!(
        header,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::DESTINATION_OPTIONS
    )
}

#[inline(always)]
const fn kind(header: &FragmentHeader) -> Fragment {
    let bits = u16::from_be_bytes(header.offset);
    if bits & FRAGMENT_BITS == 0 {
        Fragment::Whole
    } else if bits & OFFSET_BITS == 0 {
        Fragment::First(header.identification)
    } else {
        Fragment::Later(header.identification)
    }
}
