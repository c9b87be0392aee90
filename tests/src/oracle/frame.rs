//! Frames by the book: RFC 791, RFC 9293 and RFC 1071, over plain bytes.

use super::{Neighbour, World};

/// What a frame is, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP to the VIP's port, fit to be sent on.
    ToVip,
    /// TCP from the port of this node (1, 2, ...), fit to be sent on.
    FromNode(usize),
    /// TCP to the port of a node.
    ToNode,
    /// Anything else, or not fit to be sent on.
    Foreign,
}

/// Which end of a packet is given another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Where the IP header begins: after the Ethernet header and up to two VLAN tags (IEEE 802.1Q).
fn ip_at(frame: &[u8]) -> usize {
    let is_tag = |at: usize| frame.len() >= at + 2 && matches!(word(frame, at), 0x8100 | 0x88a8);
    12 + 2 + (0..2).take_while(|tag| is_tag(12 + tag * 4)).count() * 4
}

/// Where the TCP header begins: after the IPv4 header and its options.
fn tcp_at(frame: &[u8]) -> usize {
    let ip = ip_at(frame);
    ip + usize::from(frame[ip] % 16) * 4
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn address(frame: &[u8], at: usize) -> [u8; 4] {
    [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]
}

/// The source address of an IPv4 frame.
pub(super) fn source(frame: &[u8]) -> [u8; 4] {
    address(frame, ip_at(frame) + 12)
}

/// The destination address of an IPv4 frame.
pub(super) fn destination(frame: &[u8]) -> [u8; 4] {
    address(frame, ip_at(frame) + 16)
}

/// The source port of a TCP segment.
pub(super) fn source_port(frame: &[u8]) -> u16 {
    word(frame, tcp_at(frame))
}

/// Where the packet ends and the frame's padding begins.
fn end(frame: &[u8]) -> usize {
    let ip = ip_at(frame);
    ip + usize::from(word(frame, ip + 2))
}

/// Whether the frame carries the beginning of a TCP segment in an IPv4 packet that names no way.
fn is_tcp(frame: &[u8]) -> bool {
    let ip = ip_at(frame);
    if frame.len() < ip + 20 || word(frame, ip - 2) != 0x0800 || !(0x45..0x50).contains(&frame[ip])
    {
        return false;
    }
    let tcp = tcp_at(frame);
    if frame.len() < tcp + 20 {
        return false;
    }
    let header = usize::from(frame[tcp + 12] / 16) * 4;
    word(frame, ip + 6).is_multiple_of(0x2000)
        && frame[ip + 9] == 6
        && end(frame) <= frame.len()
        && header >= 20
        && tcp + header <= end(frame)
        && options_name_no_way(&frame[ip + 20..tcp])
}

/// Whether IPv4 options are well-formed, and none is a loose (131) or strict (137) source route.
fn options_name_no_way(mut options: &[u8]) -> bool {
    loop {
        match options {
            [] | [0, ..] => return true,
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] => return false,
            [_, length, ..] if *length >= 2 && usize::from(*length) <= options.len() => {
                options = &options[usize::from(*length)..];
            }
            _ => return false,
        }
    }
}

impl World {
    /// What a frame is. Its TTL must allow for one hop more to make it fit to be sent on.
    pub fn kind(&self, frame: &[u8]) -> Kind {
        if !is_tcp(frame) {
            return Kind::Foreign;
        }
        let (ip, tcp) = (ip_at(frame), tcp_at(frame));
        let from = (source(frame), word(frame, tcp));
        let to = (destination(frame), word(frame, tcp + 2));
        let sends_on = frame[ip + 8] >= 2;
        let node = |end| {
            self.nodes
                .iter()
                .position(|(address, port, _)| (*address, *port) == end)
        };
        if to == self.vip {
            if sends_on { Kind::ToVip } else { Kind::Foreign }
        } else if node(to).is_some() {
            Kind::ToNode
        } else if let (Some(index), true) = (node(from), sends_on) {
            Kind::FromNode(index + 1)
        } else {
            Kind::Foreign
        }
    }
}

/// The frame with another address and port on one side, sent on to a neighbour: one hop less to live, all
/// else as it was.
pub(super) fn readdressed(
    input: &[u8],
    side: Side,
    new_address: [u8; 4],
    new_port: u16,
    way: &Neighbour,
) -> Vec<u8> {
    let (ip, tcp) = (ip_at(input), tcp_at(input));
    let mut output = input.to_vec();
    output[0..6].copy_from_slice(&way.to);
    output[6..12].copy_from_slice(&way.from);
    output[ip + 8] = input[ip + 8] - 1;
    let (address_at, port_at) = match side {
        Side::Source => (ip + 12, tcp),
        Side::Destination => (ip + 16, tcp + 2),
    };
    output[address_at..address_at + 4].copy_from_slice(&new_address);
    output[port_at..port_at + 2].copy_from_slice(&new_port.to_be_bytes());

    let (ip_defect, tcp_defect) = defect(input);
    output[ip + 10..ip + 12].copy_from_slice(&[0, 0]);
    output[tcp + 16..tcp + 18].copy_from_slice(&[0, 0]);
    let (ip_sum, tcp_sum) = defect(&output);
    let ip_checksum = minus(ip_defect, ip_sum).to_be_bytes();
    let tcp_checksum = minus(tcp_defect, tcp_sum).to_be_bytes();
    output[ip + 10..ip + 12].copy_from_slice(&ip_checksum);
    output[tcp + 16..tcp + 18].copy_from_slice(&tcp_checksum);
    output
}

/// By how much the checksums of the IPv4 header and of the TCP segment are wrong, modulo 65,535; both are 0
/// in a good packet.
///
/// # Panics
///
/// The frame does not hold the whole packet that it announces.
pub fn defect(frame: &[u8]) -> (u16, u16) {
    let (ip, tcp) = (ip_at(frame), tcp_at(frame));
    let header = &frame[ip..tcp];
    let segment = &frame[tcp..end(frame)];
    let length = u16::try_from(segment.len()).expect("an IPv4 packet is at most 65,535 bytes");
    let pseudo_header = [&frame[ip + 12..ip + 20], &[0, 6], &length.to_be_bytes()].concat();
    (remainder(&[header]), remainder(&[&pseudo_header, segment]))
}

/// The sum of all 16-bit words, modulo 65,535, which is what ones' complement addition computes. All parts
/// but the last have an even length.
fn remainder(parts: &[&[u8]]) -> u16 {
    let sum: u64 = parts
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u64::from(pair[0]) * 256 + pair.get(1).map_or(0, |low| u64::from(*low)))
        .sum();
    u16::try_from(sum % 65_535).expect("a remainder of 16 bits")
}

/// `a - b` modulo 65,535.
fn minus(a: u16, b: u16) -> u16 {
    let difference = (u32::from(a) + 65_535 - u32::from(b)) % 65_535;
    u16::try_from(difference).expect("a remainder of 16 bits")
}

/// What the byte at this offset belongs to.
pub(super) fn field(at: usize) -> &'static str {
    match at {
        0..6 => "receiver's link-layer address",
        6..12 => "sender's link-layer address",
        12..14 => "Ethernet type",
        22 => "TTL",
        24..26 => "IPv4 checksum",
        26..30 => "source address",
        30..34 => "destination address",
        14..22 | 23 => "another field of the IPv4 header",
        34..36 => "source port",
        36..38 => "destination port",
        50..52 => "TCP checksum",
        38..50 | 52..54 => "another field of the TCP header",
        54.. => "options, data or padding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::TcpPacket;

    #[test]
    fn a_good_packet_has_no_defect() {
        assert_eq!(defect(&TcpPacket::default().build()), (0, 0));
    }

    #[test]
    fn a_damaged_packet_has_one() {
        let mut frame = TcpPacket::default().build();
        frame[15] ^= 4;
        frame[38] ^= 1;
        let (ip, tcp) = defect(&frame);
        assert!(ip != 0 && tcp != 0, "{ip} {tcp}");
    }

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        // Section 3: the sum of these words is 2ddf0, or ddf2 after the carries went back in.
        let sum = remainder(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]);
        assert_eq!(sum, 0xddf2);
    }
}
