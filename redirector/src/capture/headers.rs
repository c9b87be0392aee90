//! Who speaks with whom in a packet's front, which may be cut anywhere.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use redirector_common::wire::{ethertype, protocol, tcp_flag};

/// Letters of TCP's flags, as tcpdump has them.
const FLAGS: [(u8, char); 5] = [
    (tcp_flag::SYN, 'S'),
    (tcp_flag::FIN, 'F'),
    (tcp_flag::RST, 'R'),
    (8, 'P'),
    (tcp_flag::ACK, '.'),
];

/// What a packet says about itself, as far as its front tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// A segment or datagram.
    Transport {
        /// Who sends it.
        source: SocketAddr,
        /// Whom to.
        destination: SocketAddr,
        /// Flags of TCP; none in UDP.
        flags: Option<u8>,
    },
    /// Something else in IP.
    Ip {
        /// Who sends it.
        source: IpAddr,
        /// Whom to.
        destination: IpAddr,
        /// What it is, by its number.
        protocol: u8,
    },
    /// Something else, by its type.
    Link([u8; 2]),
    /// Too little of it.
    Unknown,
}

fn bytes<const N: usize>(front: &[u8], at: usize) -> Option<[u8; N]> {
    front.get(at..at.checked_add(N)?)?.try_into().ok()
}

impl Headers {
    /// Reads them.
    pub fn read(front: &[u8]) -> Self {
        Self::link(front).unwrap_or(Self::Unknown)
    }

    fn link(front: &[u8]) -> Option<Self> {
        let mut at = 12;
        let mut kind = bytes::<2>(front, at)?;
        while matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            at += 4;
            kind = bytes(front, at)?;
        }
        match kind {
            ethertype::IPV4 => Self::ipv4(front, at + 2),
            ethertype::IPV6 => Self::ipv6(front, at + 2),
            _ => Some(Self::Link(kind)),
        }
    }

    fn ipv4(front: &[u8], at: usize) -> Option<Self> {
        let [first] = bytes(front, at)?;
        let [high, low] = bytes(front, at + 6)?;
        let [protocol] = bytes(front, at + 9)?;
        let source = Ipv4Addr::from(bytes::<4>(front, at + 12)?).into();
        let destination = Ipv4Addr::from(bytes::<4>(front, at + 16)?).into();
        let later = u16::from_be_bytes([high & 0x1f, low]) != 0;
        let transport = (!later).then_some(at + usize::from(first & 15) * 4);
        Some(Self::transport(
            front,
            transport,
            source,
            destination,
            protocol,
        ))
    }

    fn ipv6(front: &[u8], at: usize) -> Option<Self> {
        let [mut protocol] = bytes(front, at + 6)?;
        let source = Ipv6Addr::from(bytes::<16>(front, at + 8)?).into();
        let destination = Ipv6Addr::from(bytes::<16>(front, at + 24)?).into();
        let mut transport = Some(at + 40);
        // Hop-by-hop options, routing header, destination options, and the fragment header.
        while let (0 | 43 | 44 | 60, Some(header)) = (protocol, transport) {
            let Some([next, length, high, low]) = bytes(front, header) else {
                transport = None;
                break;
            };
            let fragment = protocol == 44;
            let later = fragment && u16::from_be_bytes([high, low]) >> 3 != 0;
            let length = if fragment {
                8
            } else {
                8 + 8 * usize::from(length)
            };
            transport = (!later).then_some(header + length);
            protocol = next;
        }
        Some(Self::transport(
            front,
            transport,
            source,
            destination,
            protocol,
        ))
    }

    fn transport(
        front: &[u8],
        at: Option<usize>,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
    ) -> Self {
        let ports = at.filter(|_| matches!(protocol, protocol::TCP | protocol::UDP));
        let ports = ports.and_then(|at| Some((at, bytes::<4>(front, at)?)));
        let Some((at, [a, b, c, d])) = ports else {
            return Self::Ip {
                source,
                destination,
                protocol,
            };
        };
        let flags = bytes(front, at + 13).map(|[flags]| flags);
        Self::Transport {
            source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
            destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
            flags: flags.filter(|_| protocol == protocol::TCP),
        }
    }

    /// Who sends to whom.
    pub fn ends(&self) -> Option<(String, String)> {
        match self {
            Self::Transport {
                source,
                destination,
                ..
            } => Some((source.to_string(), destination.to_string())),
            Self::Ip {
                source,
                destination,
                ..
            } => Some((source.to_string(), destination.to_string())),
            Self::Link(_) | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport {
                flags: Some(flags), ..
            } => {
                let set = FLAGS.iter().filter(|(flag, _)| flags & flag != 0);
                let letters: String = set.map(|(_, letter)| *letter).collect();
                write!(f, "tcp [{letters}]")
            }
            Self::Transport { flags: None, .. } => f.write_str("udp"),
            Self::Ip { protocol, .. } => match *protocol {
                protocol::ICMP => f.write_str("icmp"),
                protocol::ICMPV6 => f.write_str("icmpv6"),
                protocol::TCP => f.write_str("tcp"),
                protocol::UDP => f.write_str("udp"),
                other => write!(f, "ip protocol {other}"),
            },
            Self::Link([0x08, 0x06]) => f.write_str("arp"),
            Self::Link([high, low]) => write!(f, "ethertype 0x{high:02x}{low:02x}"),
            Self::Unknown => f.write_str("cut"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A SYN in IPv4, behind so many tags.
    pub(in super::super) fn syn(source: [u8; 4], destination: [u8; 4], tags: usize) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 7]);
        }
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend([0x9c, 0x41, 4, 56]);
        frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
        frame
    }

    fn shown(front: &[u8]) -> String {
        let headers = Headers::read(front);
        let ends = headers.ends();
        let ends = ends.map_or_else(String::new, |(from, to)| format!("{from} > {to} "));
        format!("{ends}{headers}")
    }

    #[test]
    fn a_segment_is_read_behind_any_number_of_tags_and_wherever_it_is_cut() {
        for tags in 0..4 {
            let frame = syn([10, 0, 0, 5], [10, 0, 0, 1], tags);
            assert_eq!(shown(&frame), "10.0.0.5:40001 > 10.0.0.1:1080 tcp [S]");
            let start = 14 + 4 * tags;
            assert_eq!(shown(&frame[..start + 22]), "10.0.0.5 > 10.0.0.1 tcp");
            assert_eq!(shown(&frame[..start + 19]), "cut");
            for length in 0..frame.len() {
                shown(&frame[..length]);
            }
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut frame = syn([10, 0, 0, 5], [10, 0, 0, 1], 0);
        frame[14 + 7] = 3;
        assert_eq!(shown(&frame), "10.0.0.5 > 10.0.0.1 tcp");
    }

    #[test]
    fn a_datagram_is_found_behind_extension_headers() {
        let mut frame = vec![2; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 0, 64]);
        frame.extend(Ipv6Addr::LOCALHOST.octets());
        frame.extend(Ipv6Addr::UNSPECIFIED.octets());
        frame.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([44, 1, 0, 0, 0, 0, 0, 0]);
        frame.extend([0; 8]);
        let fragment = frame.len();
        frame.extend([17, 0, 0, 1, 0, 0, 0, 9]);
        frame.extend([0, 53, 0, 54, 0, 8, 0, 0]);
        assert_eq!(shown(&frame), "[::1]:53 > [::]:54 udp");
        frame[fragment + 3] = 8;
        assert_eq!(shown(&frame), "::1 > :: udp");
        assert_eq!(shown(&frame[..fragment + 2]), "::1 > :: ip protocol 44");
    }

    #[test]
    fn what_is_not_ip_is_named_by_its_type() {
        let mut frame = vec![0; 12];
        frame.extend([8, 6, 0, 1]);
        assert_eq!(shown(&frame), "arp");
        frame[13] = 7;
        assert_eq!(shown(&frame), "ethertype 0x0807");
        assert_eq!(shown(&[]), "cut");
    }
}
