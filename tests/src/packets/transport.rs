//! What IP packets carry: TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and `ICMPv6` (RFC 4443).

use super::{Ip, Sum, sums::pseudo_header};

/// What follows the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An ICMP or `ICMPv6` message, by the family of the IP header.
    Icmp(Icmp),
    /// Bytes of any protocol.
    Bytes(u8, Vec<u8>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Tcp(Tcp::default())
    }
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
    /// The checksum.
    pub checksum: Sum,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            source: 40_000,
            destination: 1080,
            flags: 0x10,
            sequence: 1,
            acknowledgement: 1,
            options: Vec::new(),
            payload: Vec::new(),
            checksum: Sum::Right,
        }
    }
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// The length field, bytes, if it is to be wrong.
    pub length: Option<u16>,
    /// Data.
    pub payload: Vec<u8>,
    /// The checksum.
    pub checksum: Sum,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            source: 40_000,
            destination: 5300,
            length: None,
            payload: vec![0xda; 24],
            checksum: Sum::Right,
        }
    }
}

/// An ICMP or `ICMPv6` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes after the checksum.
    pub rest: [u8; 4],
    /// Data; in an error the beginning of the packet that it is about.
    pub data: Vec<u8>,
    /// The checksum.
    pub checksum: Sum,
}

impl Default for Icmp {
    /// An echo request in IPv4.
    fn default() -> Self {
        Self {
            kind: 8,
            code: 0,
            rest: [0x12, 0x34, 0, 1],
            data: vec![0x61; 32],
            checksum: Sum::Right,
        }
    }
}

impl Icmp {
    /// "Port unreachable" about the first bytes of `packet`, an IP packet of the family that the version in its
    /// first byte says.
    pub fn port_unreachable(packet: &[u8]) -> Self {
        let (kind, code) = if packet[0] / 16 == 6 { (1, 4) } else { (3, 3) };
        Self {
            kind,
            code,
            rest: [0; 4],
            data: packet.to_vec(),
            ..Self::default()
        }
    }
}

impl Body {
    /// The protocol's number in this family.
    pub(super) fn protocol(&self, ip: &Ip) -> u8 {
        match (self, ip) {
            (Self::Tcp(_), _) => 6,
            (Self::Udp(_), _) => 17,
            (Self::Icmp(_), Ip::V4(_)) => 1,
            (Self::Icmp(_), Ip::V6(_)) => 58,
            (Self::Bytes(protocol, _), _) => *protocol,
        }
    }

    pub(super) fn build(&self, ip: &Ip) -> Vec<u8> {
        match self {
            Self::Tcp(tcp) => tcp.build(ip),
            Self::Udp(udp) => udp.build(ip),
            Self::Icmp(icmp) => icmp.build(ip),
            Self::Bytes(_, bytes) => bytes.clone(),
        }
    }
}

impl Tcp {
    fn build(&self, ip: &Ip) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.to_be_bytes());
        tcp.extend(self.destination.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        let words = u8::try_from(5 + self.options.len() / 4).expect("TCP options fit");
        tcp.push(words << 4);
        tcp.push(self.flags);
        tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let pseudo = pseudo_header(ip, 6, tcp.len());
        let sum = self
            .checksum
            .over(&[&pseudo[..], &tcp].concat(), pseudo.len());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        tcp
    }
}

impl Udp {
    fn build(&self, ip: &Ip) -> Vec<u8> {
        let mut udp = Vec::new();
        udp.extend(self.source.to_be_bytes());
        udp.extend(self.destination.to_be_bytes());
        let length = u16::try_from(8 + self.payload.len()).expect("the datagram fits");
        udp.extend(self.length.unwrap_or(length).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let pseudo = pseudo_header(ip, 17, udp.len());
        let sum = self
            .checksum
            .over(&[&pseudo[..], &udp].concat(), pseudo.len());
        // RFC 768: a checksum that comes out as 0 is sent as all ones.
        let sum = if self.checksum == Sum::Right && sum == 0 {
            0xffff
        } else {
            sum
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        udp
    }
}

impl Icmp {
    fn build(&self, ip: &Ip) -> Vec<u8> {
        let mut icmp = vec![self.kind, self.code, 0, 0];
        icmp.extend(self.rest);
        icmp.extend(&self.data);
        // Only `ICMPv6` has a pseudo-header (RFC 4443, section 2.3).
        let pseudo = match ip {
            Ip::V4(_) => Vec::new(),
            Ip::V6(_) => pseudo_header(ip, 58, icmp.len()),
        };
        let sum = self
            .checksum
            .over(&[&pseudo[..], &icmp].concat(), pseudo.len());
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        icmp
    }
}
