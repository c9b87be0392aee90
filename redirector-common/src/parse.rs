//! Frame → packet: which headers are these, and are they ones we may touch?

use crate::{
    Frame,
    verdict::Verdict,
    wire::{
        Ethernet, FRAGMENT_MASK, IPV4_NO_OPTIONS, Ipv4, TcpHeaders, ethertype, protocol, tcp_flag,
    },
};

/// What the later steps need to know of a TCP segment in an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// TCP flags.
    pub flags: u8,
    /// TCP sequence number, host order.
    pub sequence: u32,
    /// TCP acknowledgement number, host order.
    pub acknowledgement: u32,
    /// Whether it carries data.
    pub has_data: bool,
}

impl Packet {
    /// Whether it asks for a new connection.
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        self.flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == tcp_flag::SYN
    }

    /// Whether it accepts a new connection.
    #[inline(always)]
    pub const fn is_syn_ack(&self) -> bool {
        self.flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST)
            == tcp_flag::SYN | tcp_flag::ACK
    }

    /// Whether a living receiver answers it, be it with an acknowledgement or a reset.
    #[inline(always)]
    pub const fn asks(&self) -> bool {
        !self.has(tcp_flag::RST) && (self.has_data || self.has(tcp_flag::SYN | tcp_flag::FIN))
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Reads the headers of a frame.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F) -> Result<Packet, Verdict> {
    let Some(TcpHeaders {
        ethernet,
        ipv4,
        tcp,
    }) = frame.header::<TcpHeaders>(0)
    else {
        return Err(parse_short(frame));
    };
    check_ethertype(ethernet)?;
    check_ipv4(ipv4, frame.length())?;
    let segment = usize::from(u16::from_be_bytes(ipv4.total_length)) - size_of::<Ipv4>();
    let tcp_header = usize::from(tcp.data_offset >> 4) * 4;
    if tcp_header < 20 || tcp_header > segment {
        return Err(Verdict::PassMalformed);
    }
    Ok(Packet {
        source: ipv4.source,
        destination: ipv4.destination,
        source_port: tcp.source,
        destination_port: tcp.destination,
        ttl: ipv4.ttl,
        flags: tcp.flags,
        sequence: u32::from_be_bytes(tcp.sequence),
        acknowledgement: u32::from_be_bytes(tcp.acknowledgement),
        has_data: segment > tcp_header,
    })
}

/// A frame too short for the common headers: finds its name.
#[inline(never)]
fn parse_short<F: Frame>(frame: &F) -> Verdict {
    let Some(ethernet) = frame.header::<Ethernet>(0) else {
        return Verdict::PassTruncated;
    };
    if let Err(verdict) = check_ethertype(ethernet) {
        return verdict;
    }
    let Some(ipv4) = frame.header::<Ipv4>(size_of::<Ethernet>()) else {
        return Verdict::PassTruncated;
    };
    match check_ipv4(ipv4, frame.length()) {
        Err(verdict) => verdict,
        Ok(()) => Verdict::PassTruncated,
    }
}

#[inline(always)]
fn check_ethertype(ethernet: &Ethernet) -> Result<(), Verdict> {
    match ethernet.ethertype {
        ethertype::IPV4 => Ok(()),
        ethertype::VLAN | ethertype::SERVICE_VLAN => Err(Verdict::PassVlan),
        _ => Err(Verdict::PassNotIpv4),
    }
}

/// Checks the IPv4 header of a frame of `length` bytes. Padding after the packet is allowed (short
/// Ethernet frames have it), a packet that is longer than its frame is not.
#[inline(always)]
fn check_ipv4(ipv4: &Ipv4, length: usize) -> Result<(), Verdict> {
    if ipv4.version_ihl != IPV4_NO_OPTIONS {
        return Err(match (ipv4.version_ihl >> 4, ipv4.version_ihl & 0x0f) {
            (4, 6..) => Verdict::PassIpOptions,
            _ => Verdict::PassMalformed,
        });
    }
    let total_length = usize::from(u16::from_be_bytes(ipv4.total_length));
    if total_length < size_of::<Ipv4>() {
        return Err(Verdict::PassMalformed);
    }
    if total_length > length - size_of::<Ethernet>() {
        return Err(Verdict::PassTruncated);
    }
    if u16::from_be_bytes(ipv4.fragment) & FRAGMENT_MASK != 0 {
        return Err(Verdict::PassFragment);
    }
    if ipv4.protocol != protocol::TCP {
        return Err(Verdict::PassProtocol);
    }
    Ok(())
}
