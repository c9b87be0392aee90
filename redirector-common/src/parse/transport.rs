//! TCP and UDP headers at any offset.

use super::{Fragment, IpPacket, Packet};
use crate::{
    Frame,
    address::Address,
    verdict::Verdict,
    wire::{Tcp, Udp, protocol},
};

/// Reads the transport header, which is one of `protocol`, of a whole packet or of a first fragment.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the length of an IPv4 packet, or of an IPv6 payload, has 16 bits, the rest of a packet 40 more bytes"
)]
pub fn transport<A: Address, F: Frame>(
    frame: &F,
    ip: &IpPacket<A>,
    protocol: u8,
) -> Result<Packet<A>, Verdict> {
    let segment = ip.end - ip.transport();
    let mut packet = Packet {
        source: ip.source,
        destination: ip.destination,
        source_port: [0; 2],
        destination_port: [0; 2],
        protocol,
        ttl: ip.ttl,
        flags: 0,
        sequence: 0,
        acknowledgement: 0,
        checksum: [0; 2],
        segment: segment as u16,
        header: 0,
        length: (ip.end - ip.ip()) as u32,
        fragment: match ip.fragment {
            Fragment::First(identification) => Some(identification),
            Fragment::Whole | Fragment::Later(_) => None,
        },
    };
    match protocol {
        protocol::TCP => {
            if segment < size_of::<Tcp>() {
                return Err(Verdict::PassMalformed);
            }
            let tcp = frame
                .header::<Tcp>(ip.transport())
                .ok_or(Verdict::PassTruncated)?;
            packet.header = u16::from(tcp.data_offset >> 4) * 4;
            if packet.header < 20 || packet.header > packet.segment {
                return Err(Verdict::PassMalformed);
            }
            packet.source_port = tcp.source;
            packet.destination_port = tcp.destination;
            packet.checksum = tcp.checksum;
            packet.flags = tcp.flags;
            packet.sequence = u32::from_be_bytes(tcp.sequence);
            packet.acknowledgement = u32::from_be_bytes(tcp.acknowledgement);
        }
        protocol::UDP => {
            if segment < size_of::<Udp>() {
                return Err(Verdict::PassMalformed);
            }
            let udp = frame
                .header::<Udp>(ip.transport())
                .ok_or(Verdict::PassTruncated)?;
            let length = u16::from_be_bytes(udp.length);
            let whole = packet.fragment.is_none();
            if usize::from(length) < size_of::<Udp>() || whole && length > packet.segment {
                return Err(Verdict::PassMalformed);
            }
            if whole {
                // The checksum covers no bytes that may follow the datagram (RFC 768).
                packet.segment = length;
            }
            packet.checksum = udp.checksum;
            packet.header = size_of::<Udp>() as u16;
            packet.source_port = udp.source;
            packet.destination_port = udp.destination;
        }
        _ => return Err(Verdict::PassProtocol),
    }
    Ok(packet)
}
