//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers of built packets.

use std::net::IpAddr;

use super::Sum;

/// An IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4.
    V4(Ipv4),
    /// IPv6.
    V6(Ipv6),
}

/// An IPv4 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification of a datagram's fragments.
    pub identification: u16,
    /// Flags (0x4000: don't fragment, 0x2000: more fragments) and offset (units of 8 bytes).
    pub fragment: u16,
    /// Options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// The protocol, if not the body's.
    pub protocol: Option<u8>,
    /// The total length, bytes, if it is to be wrong.
    pub total_length: Option<u16>,
    /// The header's checksum.
    pub checksum: Sum,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self {
            source: [198, 51, 100, 7],
            destination: [10, 0, 0, 1],
            ttl: 64,
            tos: 0,
            identification: 0x1234,
            fragment: 0x4000,
            options: Vec::new(),
            protocol: None,
            total_length: None,
            checksum: Sum::Right,
        }
    }
}

/// An IPv6 header and the extension headers behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class (8 bits) and flow label (20 bits).
    pub class_and_flow: u32,
    /// Extension headers in their order.
    pub extensions: Vec<Extension>,
    /// The payload length, bytes, if it is to be wrong.
    pub payload_length: Option<u16>,
}

impl Default for Ipv6 {
    fn default() -> Self {
        Self {
            source: [0x20, 1, 0x0d, 0xb8, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            destination: [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            hop_limit: 64,
            class_and_flow: 0x000b_eef0,
            extensions: Vec::new(),
            payload_length: None,
        }
    }
}

/// An IPv6 extension header (RFC 8200, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, so many octets of padding (RFC 8200, section 4.2); 6 make the shortest header.
    HopByHop(u8),
    /// Destination options, likewise.
    DestinationOptions(u8),
    /// A routing header of type 4 with these segments left and one address.
    Routing(u8),
    /// A fragment header: offset (units of 8 bytes), more fragments, identification.
    Fragment {
        /// Offset, units of 8 bytes.
        offset: u16,
        /// Whether others follow.
        more: bool,
        /// Identification.
        identification: u32,
    },
    /// Any header: its number, and its bytes from the length octet on.
    Other(u8, Vec<u8>),
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::DestinationOptions(_) => 60,
            Self::Routing(_) => 43,
            Self::Fragment { .. } => 44,
            Self::Other(number, _) => *number,
        }
    }

    fn build(&self, next: u8) -> Vec<u8> {
        let mut bytes = vec![next];
        match self {
            Self::HopByHop(padding) | Self::DestinationOptions(padding) => {
                assert!(padding % 8 == 6, "a header is a multiple of 8 bytes");
                // PadN with so many octets in all.
                bytes.extend([(padding - 6) / 8, 1, padding - 2]);
                bytes.extend(vec![0; usize::from(padding - 2)]);
            }
            Self::Routing(segments_left) => {
                bytes.extend([2, 4, *segments_left, 0, 0, 0, 0]);
                bytes.extend([0x3f; 16]);
            }
            Self::Fragment {
                offset,
                more,
                identification,
            } => {
                bytes.push(0);
                bytes.extend((offset * 8 + u16::from(*more)).to_be_bytes());
                bytes.extend(identification.to_be_bytes());
            }
            Self::Other(_, rest) => bytes.extend(rest),
        }
        bytes
    }
}

impl Default for Ip {
    fn default() -> Self {
        Self::V4(Ipv4::default())
    }
}

impl Ip {
    /// A header of the family of both addresses, all else as usual.
    ///
    /// # Panics
    ///
    /// They are of two families.
    pub fn between(source: IpAddr, destination: IpAddr) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4(Ipv4 {
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv4::default()
            }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Self::V6(Ipv6 {
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6::default()
            }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                panic!("{source} and {destination} are of two families")
            }
        }
    }

    /// The same header with so many hops to live.
    #[must_use]
    pub fn living(mut self, hops: u8) -> Self {
        match &mut self {
            Self::V4(ip) => ip.ttl = hops,
            Self::V6(ip) => ip.hop_limit = hops,
        }
        self
    }

    pub(super) fn ethertype(&self) -> [u8; 2] {
        match self {
            Self::V4(_) => [0x08, 0x00],
            Self::V6(_) => [0x86, 0xdd],
        }
    }

    /// The packet: header and payload.
    pub(super) fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(ip) => ip.build(protocol, payload),
            Self::V6(ip) => ip.build(protocol, payload),
        }
    }
}

impl Ipv4 {
    fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        assert!(
            header.is_multiple_of(4) && header <= 60,
            "a header of {header} bytes"
        );
        let total = u16::try_from(header + payload.len()).expect("the packet fits");
        let words = u8::try_from(header / 4).expect("at most 15");
        let mut ip = vec![0x40 + words, self.tos];
        ip.extend(self.total_length.unwrap_or(total).to_be_bytes());
        ip.extend(self.identification.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol.unwrap_or(protocol), 0, 0]);
        ip.extend(self.source);
        ip.extend(self.destination);
        ip.extend(&self.options);
        let sum = self.checksum.over(&ip, 0);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(payload);
        ip
    }
}

impl Ipv6 {
    fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut next = protocol;
        let mut chain: Vec<u8> = Vec::new();
        for extension in self.extensions.iter().rev() {
            chain.splice(0..0, extension.build(next));
            next = extension.number();
        }
        let length = u16::try_from(chain.len() + payload.len()).expect("the packet fits");
        let mut ip = Vec::from((0x6000_0000 + self.class_and_flow).to_be_bytes());
        ip.extend(self.payload_length.unwrap_or(length).to_be_bytes());
        ip.extend([next, self.hop_limit]);
        ip.extend(self.source);
        ip.extend(self.destination);
        ip.extend(chain);
        ip.extend(payload);
        ip
    }
}
