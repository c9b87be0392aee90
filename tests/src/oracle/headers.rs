//! Frames by the book: IEEE 802.1Q, RFC 791, RFC 8200, RFC 9293 and RFC 768, over plain bytes.

use std::net::IpAddr;

use super::sums::Covered;

/// Why a frame is left alone whatever its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It ends before the packet that it announces does.
    Truncated,
    /// It carries neither IPv4 nor IPv6.
    NotIp,
    /// It has three VLAN tags or more.
    Vlan,
    /// Its headers contradict themselves.
    Malformed,
    /// It names the way.
    SourceRoute,
    /// It has more than six extension headers.
    ExtensionHeaders,
    /// It carries neither TCP nor UDP nor its family's ICMP.
    Protocol,
}

/// Which piece of a datagram a packet is, with the identification of the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Whole,
    First(u32),
    Later(u32),
}

/// Where the headers of a packet lie, and what they say. Offsets are bytes from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) ip: usize,
    pub(super) transport: usize,
    pub(super) end: usize,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Time to live or hop limit.
    pub(super) hops: u8,
    pub(super) protocol: u8,
    pub(super) piece: Piece,
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Extension headers that are looked through.
const MAX_EXTENSIONS: usize = 6;

pub(super) fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// The address of 4 or 16 bytes at this offset.
fn address<const N: usize>(frame: &[u8], at: usize) -> IpAddr
where
    IpAddr: From<[u8; N]>,
{
    let mut bytes = [0; N];
    bytes.copy_from_slice(&frame[at..at + N]);
    bytes.into()
}

/// What follows the Ethernet header and at most two VLAN tags: its type and offset.
fn link(frame: &[u8]) -> Result<(u16, usize), Unfit> {
    let mut kind_at = 12;
    for _ in 0..=2 {
        if frame.len() < kind_at + 2 {
            return Err(Unfit::Truncated);
        }
        match word(frame, kind_at) {
            0x8100 | 0x88a8 => kind_at += 4,
            kind => return Ok((kind, kind_at + 2)),
        }
    }
    Err(Unfit::Vlan)
}

/// How much of a packet must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Its beginning, as in an ICMP error.
    Beginning,
}

impl Headers {
    /// The headers of a frame's packet, its transport header included where it has one.
    pub(super) fn read(frame: &[u8]) -> Result<Self, Unfit> {
        let headers = match link(frame)? {
            (0x0800, ip) => Self::ipv4(frame, ip, Extent::Whole)?,
            (0x86dd, ip) => Self::ipv6(frame, ip, Extent::Whole)?,
            _ => return Err(Unfit::NotIp),
        };
        headers.check_transport(frame)?;
        Ok(headers)
    }

    /// The headers of an IPv4 packet (RFC 791).
    pub(super) fn ipv4(frame: &[u8], ip: usize, extent: Extent) -> Result<Self, Unfit> {
        if frame.len() < ip + 20 {
            return Err(Unfit::Truncated);
        }
        let header = usize::from(frame[ip] % 16) * 4;
        let total = usize::from(word(frame, ip + 2));
        if frame[ip] / 16 != 4 || header < 20 || total < header {
            return Err(Unfit::Malformed);
        }
        let end = ip + total;
        if ip + header > frame.len() || (end > frame.len() && extent == Extent::Whole) {
            return Err(Unfit::Truncated);
        }
        walk_options(&frame[ip + 20..ip + header])?;
        let identification = u32::from(word(frame, ip + 4));
        let fragment = word(frame, ip + 6);
        Ok(Self {
            ip,
            transport: ip + header,
            end: end.min(frame.len()),
            source: address::<4>(frame, ip + 12),
            destination: address::<4>(frame, ip + 16),
            hops: frame[ip + 8],
            protocol: frame[ip + 9],
            piece: match (fragment % 0x2000, fragment & 0x2000 != 0) {
                (0, false) => Piece::Whole,
                (0, true) => Piece::First(identification),
                _ => Piece::Later(identification),
            },
        })
    }

    /// The headers of an IPv6 packet (RFC 8200), the extension headers walked.
    pub(super) fn ipv6(frame: &[u8], ip: usize, extent: Extent) -> Result<Self, Unfit> {
        if frame.len() < ip + 40 {
            return Err(Unfit::Truncated);
        }
        if frame[ip] / 16 != 6 {
            return Err(Unfit::Malformed);
        }
        let end = ip + 40 + usize::from(word(frame, ip + 4));
        if end > frame.len() && extent == Extent::Whole {
            return Err(Unfit::Truncated);
        }
        let end = end.min(frame.len());
        let (mut protocol, mut at) = (frame[ip + 6], ip + 40);
        let mut piece = Piece::Whole;
        let mut extensions = 0;
        while matches!(protocol, 0 | 43 | 44 | 60) && !matches!(piece, Piece::Later(_)) {
            if extensions == MAX_EXTENSIONS {
                return Err(Unfit::ExtensionHeaders);
            }
            extensions += 1;
            if at + 8 > end {
                return Err(Unfit::Malformed);
            }
            let length = if protocol == 44 {
                8
            } else {
                8 + 8 * usize::from(frame[at + 1])
            };
            if protocol == 43 && frame[at + 3] != 0 {
                return Err(Unfit::SourceRoute);
            }
            if at + length > end {
                return Err(Unfit::Malformed);
            }
            if protocol == 44 {
                let identification =
                    u32::from(word(frame, at + 4)) * 65_536 + u32::from(word(frame, at + 6));
                match (word(frame, at + 2) / 8, frame[at + 3] % 2) {
                    (0, 0) => {}
                    (0, _) => piece = Piece::First(identification),
                    _ => piece = Piece::Later(identification),
                }
            }
            protocol = frame[at];
            at += length;
        }
        Ok(Self {
            ip,
            transport: at,
            end,
            source: address::<16>(frame, ip + 8),
            destination: address::<16>(frame, ip + 24),
            hops: frame[ip + 7],
            protocol,
            piece,
        })
    }

    /// Whether the transport header is one that may be touched.
    fn check_transport(&self, frame: &[u8]) -> Result<(), Unfit> {
        let segment = self.end - self.transport;
        match (self.piece, self.protocol) {
            (Piece::Later(_), _) => Ok(()),
            (Piece::Whole | Piece::First(_), TCP) => {
                let words = if segment < 20 {
                    0
                } else {
                    usize::from(frame[self.transport + 12] / 16)
                };
                if words < 5 || words * 4 > segment {
                    return Err(Unfit::Malformed);
                }
                Ok(())
            }
            (piece @ (Piece::Whole | Piece::First(_)), UDP) => {
                let length = if segment < 8 {
                    0
                } else {
                    usize::from(word(frame, self.transport + 4))
                };
                if length < 8 || (length > segment && piece == Piece::Whole) {
                    return Err(Unfit::Malformed);
                }
                Ok(())
            }
            (Piece::Whole, _) if self.is_icmp() && segment < 8 => Err(Unfit::Malformed),
            (Piece::Whole | Piece::First(_), _) if self.is_icmp() => Ok(()),
            (Piece::Whole | Piece::First(_), _) => Err(Unfit::Protocol),
        }
    }

    /// Whether it carries its family's ICMP.
    pub(super) fn is_icmp(&self) -> bool {
        self.protocol == if self.source.is_ipv4() { ICMP } else { ICMPV6 }
    }

    /// Source port of TCP or UDP.
    pub(super) fn source_port(&self, frame: &[u8]) -> u16 {
        word(frame, self.transport)
    }

    /// Destination port of TCP or UDP.
    pub(super) fn destination_port(&self, frame: &[u8]) -> u16 {
        word(frame, self.transport + 2)
    }

    /// Flags of a TCP segment; none in anything else.
    pub(super) fn flags(&self, frame: &[u8]) -> u8 {
        match (self.protocol, self.piece) {
            (TCP, Piece::Whole | Piece::First(_)) => frame[self.transport + 13],
            _ => 0,
        }
    }

    /// Whether it asks for a connection.
    pub(super) fn is_syn(&self, frame: &[u8]) -> bool {
        const SYN: u8 = 2;
        const RST: u8 = 4;
        const ACK: u8 = 16;
        self.flags(frame) & (SYN | RST | ACK) == SYN
    }

    /// Whether it breaks a connection off.
    pub(super) fn is_rst(&self, frame: &[u8]) -> bool {
        const RST: u8 = 4;
        self.flags(frame) & RST != 0
    }

    /// Where its addresses are, for a pseudo-header.
    fn addresses(&self) -> std::ops::Range<usize> {
        if self.source.is_ipv4() {
            self.ip + 12..self.ip + 20
        } else {
            self.ip + 8..self.ip + 40
        }
    }

    /// The checksum of the IPv4 header.
    pub(super) fn header_sum(&self) -> Option<Covered> {
        self.source.is_ipv4().then(|| Covered {
            field: self.ip + 10,
            addresses: 0..0,
            rest: Vec::new(),
            bytes: self.ip..self.transport,
            optional: false,
            whole: true,
        })
    }

    /// The checksum of the transport header, if it is in the frame.
    pub(super) fn transport_sum(&self, frame: &[u8]) -> Option<Covered> {
        let udp_end = || match usize::from(word(frame, self.transport + 4)) {
            0..8 => self.end,
            length => self.end.min(self.transport + length),
        };
        let (at, optional, end) = match self.protocol {
            _ if matches!(self.piece, Piece::Later(_)) => return None,
            TCP => (16, false, self.end),
            UDP => (6, true, udp_end()),
            _ if self.is_icmp() => (2, false, self.end),
            _ => return None,
        };
        let field = self.transport + at;
        let pseudo_header = self.protocol != ICMP;
        let length = u32::try_from(end - self.transport).expect("a packet is short");
        (field + 2 <= self.end).then(|| Covered {
            field,
            addresses: if pseudo_header {
                self.addresses()
            } else {
                0..0
            },
            rest: if pseudo_header {
                [&length.to_be_bytes()[..], &[0, 0, 0, self.protocol]].concat()
            } else {
                Vec::new()
            },
            bytes: self.transport..end,
            optional,
            whole: self.piece == Piece::Whole,
        })
    }
}

/// Walks IPv4 options (RFC 791, section 3.1): loose (131) and strict (137) source routes name the way.
fn walk_options(mut options: &[u8]) -> Result<(), Unfit> {
    loop {
        match options {
            [] | [0, ..] => return Ok(()),
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] => return Err(Unfit::SourceRoute),
            [_, length, ..] if *length >= 2 && usize::from(*length) <= options.len() => {
                options = &options[usize::from(*length)..];
            }
            _ => return Err(Unfit::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{Body, Extension, Frame, Ip, Ipv4, Ipv6, SERVICE_TAG, TAG, Udp};

    #[track_caller]
    fn assert_read(frame: &Frame, expected: Result<(), Unfit>) {
        assert_eq!(Headers::read(&frame.build()).map(|_| ()), expected);
    }

    fn with_options(options: &[u8]) -> Frame {
        Frame {
            ip: Ip::V4(Ipv4 {
                options: options.to_vec(),
                ..Ipv4::default()
            }),
            ..Frame::default()
        }
    }

    fn with_extensions(extensions: Vec<Extension>) -> Frame {
        Frame {
            ip: Ip::V6(Ipv6 {
                extensions,
                ..Ipv6::default()
            }),
            ..Frame::default()
        }
    }

    #[test]
    fn two_tags_are_looked_through_and_three_are_not() {
        for (tags, expected) in [
            (vec![SERVICE_TAG, TAG], Ok(())),
            (vec![TAG, SERVICE_TAG], Ok(())),
            (vec![TAG, TAG, TAG], Err(Unfit::Vlan)),
        ] {
            let frame = Frame {
                tags,
                ..Frame::default()
            };
            assert_read(&frame, expected);
        }
    }

    #[test]
    fn options_are_walked_to_the_end_of_the_list_or_of_the_header() {
        assert_read(&with_options(&[148, 4, 0, 0]), Ok(()));
        assert_read(&with_options(&[1, 1, 1, 131]), Err(Unfit::SourceRoute));
        assert_read(&with_options(&[137, 3, 4, 0]), Err(Unfit::SourceRoute));
        assert_read(&with_options(&[0, 131, 3, 4]), Ok(()));
        assert_read(&with_options(&[148, 1, 0, 0]), Err(Unfit::Malformed));
        assert_read(&with_options(&[148, 5, 0, 0]), Err(Unfit::Malformed));
        // The octet that would say its length is none of the header's.
        assert_read(&with_options(&[1, 1, 1, 148]), Err(Unfit::Malformed));
    }

    #[test]
    fn six_extension_headers_are_looked_through_and_seven_are_not() {
        let headers = |count| vec![Extension::DestinationOptions(6); count];
        assert_read(&with_extensions(headers(6)), Ok(()));
        assert_read(&with_extensions(headers(7)), Err(Unfit::ExtensionHeaders));
    }

    #[test]
    fn an_extension_header_beyond_the_packet_is_malformed() {
        for (length, expected) in [(0, Ok(())), (40, Err(Unfit::Malformed))] {
            let header = Extension::Other(60, vec![length, 1, 4, 0, 0, 0, 0]);
            assert_read(&with_extensions(vec![header]), expected);
        }
    }

    #[test]
    fn a_routing_header_that_has_been_followed_names_no_way() {
        for (left, expected) in [(0, Ok(())), (1, Err(Unfit::SourceRoute))] {
            assert_read(&with_extensions(vec![Extension::Routing(left)]), expected);
        }
    }

    #[test]
    fn an_atomic_fragment_is_whole() {
        let piece = |offset, more| {
            let fragment = Extension::Fragment {
                offset,
                more,
                identification: 0x0102_0304,
            };
            let frame = with_extensions(vec![fragment]).build();
            Headers::read(&frame).expect("it is fit").piece
        };
        assert_eq!(piece(0, false), Piece::Whole);
        assert_eq!(piece(0, true), Piece::First(0x0102_0304));
        assert_eq!(piece(9, true), Piece::Later(0x0102_0304));
        assert_eq!(piece(9, false), Piece::Later(0x0102_0304));
    }

    #[test]
    fn the_length_of_udp_may_exceed_a_first_fragment_but_no_whole_packet() {
        let datagram = |length, fragment| Frame {
            ip: Ip::V4(Ipv4 {
                fragment,
                ..Ipv4::default()
            }),
            body: Body::Udp(Udp {
                length: Some(length),
                payload: vec![0; 24],
                ..Udp::default()
            }),
            ..Frame::default()
        };
        assert_read(&datagram(32, 0), Ok(()));
        assert_read(&datagram(8, 0), Ok(()));
        assert_read(&datagram(7, 0), Err(Unfit::Malformed));
        assert_read(&datagram(33, 0), Err(Unfit::Malformed));
        assert_read(&datagram(33, 0x2000), Ok(()));
    }

    #[test]
    fn the_other_familys_icmp_is_no_protocol_of_ours() {
        for (ip, protocol) in [(Ip::default(), 58), (Ip::V6(Ipv6::default()), 1)] {
            let frame = Frame {
                ip,
                body: Body::Bytes(protocol, vec![8; 16]),
                ..Frame::default()
            };
            assert_read(&frame, Err(Unfit::Protocol));
        }
    }
}
