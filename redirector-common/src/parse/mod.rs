//! Frame → packet: which headers are these, and are they ones we may touch?
//!
//! Two readers: [`plain4`] and [`plain6`] know the headers of nearly every packet, at fixed places, by one bounds
//! check; all else goes to [`link`] and what follows it, which walk from header to header.

mod ip;
mod ipv4;
mod ipv6;
mod link;
mod plain;
mod transport;

pub use ip::{Fragment, IpPacket, OFFSETS};
pub use ipv4::ipv4;
pub use ipv6::ipv6;
pub use link::link;
pub use plain::{of_segment, plain4, plain6};
pub use transport::transport;

use crate::{
    Frame,
    address::Address,
    wire::{Ipv4, Ipv6, Ports, Tcp, TcpHeaders, TcpHeaders6, Udp, protocol, tcp_flag},
};

/// What the later steps need to know of a TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// TCP flags; 0 in UDP.
    pub flags: u8,
    /// TCP sequence number, host order.
    pub sequence: u32,
    /// TCP acknowledgement number, host order.
    pub acknowledgement: u32,
    /// The transport checksum as it stands in the packet.
    pub checksum: [u8; 2],
    /// Transport header and data, bytes; of this fragment only. Of a whole UDP datagram what its own length says.
    pub segment: u16,
    /// The transport header alone, bytes.
    pub header: u16,
    /// The IP packet, bytes.
    pub length: u32,
    /// Whether it is the first of several fragments, and their identification.
    pub fragment: Option<[u8; 4]>,
}

impl<A> Packet<A> {
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

    /// Whether a living receiver answers it, be it with an acknowledgement or a reset. Nobody has to answer a
    /// datagram.
    #[inline(always)]
    pub const fn asks(&self) -> bool {
        self.protocol == protocol::TCP
            && !self.has(tcp_flag::RST)
            && (self.has_data() || self.has(tcp_flag::SYN | tcp_flag::FIN))
    }

    /// Whether it carries data.
    #[inline(always)]
    pub const fn has_data(&self) -> bool {
        self.segment > self.header
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where the headers of a packet lie.
///
/// [`Plain`] knows it when the program is compiled, so that the checks of all accesses are one.
pub trait Layout<A: Address>: Copy {
    /// Whether it is [`Plain`].
    const PLAIN: bool;
    /// [`protocol::TCP`] or [`protocol::UDP`].
    fn protocol(self) -> u8;
    /// Offset of the IP header.
    fn ip(self) -> usize;
    /// Offset of the transport header.
    fn transport(self) -> usize;
    /// The IP header.
    fn ip_mut<F: Frame>(self, frame: &mut F) -> Option<&mut A::Header>;
    /// The ports.
    fn ports_mut<F: Frame>(self, frame: &mut F) -> Option<&mut Ports>;
    /// The transport checksum.
    fn checksum_mut<F: Frame>(self, frame: &mut F) -> Option<&mut [u8; 2]>;
}

/// TCP in IP without VLAN tags, options or extension headers.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Layout<[u8; 4]> for Plain {
    const PLAIN: bool = true;

    #[inline(always)]
    fn protocol(self) -> u8 {
        protocol::TCP
    }

    #[inline(always)]
    fn ip(self) -> usize {
        core::mem::offset_of!(TcpHeaders, ipv4)
    }

    #[inline(always)]
    fn transport(self) -> usize {
        core::mem::offset_of!(TcpHeaders, tcp)
    }

    #[inline(always)]
    fn ip_mut<F: Frame>(self, frame: &mut F) -> Option<&mut Ipv4> {
        Some(&mut frame.header_mut::<TcpHeaders>(0)?.ipv4)
    }

    #[inline(always)]
    fn ports_mut<F: Frame>(self, frame: &mut F) -> Option<&mut Ports> {
        Some(ports_of(&mut frame.header_mut::<TcpHeaders>(0)?.tcp))
    }

    #[inline(always)]
    fn checksum_mut<F: Frame>(self, frame: &mut F) -> Option<&mut [u8; 2]> {
        Some(&mut frame.header_mut::<TcpHeaders>(0)?.tcp.checksum)
    }
}

impl Layout<[u8; 16]> for Plain {
    const PLAIN: bool = true;

    #[inline(always)]
    fn protocol(self) -> u8 {
        protocol::TCP
    }

    #[inline(always)]
    fn ip(self) -> usize {
        core::mem::offset_of!(TcpHeaders6, ipv6)
    }

    #[inline(always)]
    fn transport(self) -> usize {
        core::mem::offset_of!(TcpHeaders6, tcp)
    }

    #[inline(always)]
    fn ip_mut<F: Frame>(self, frame: &mut F) -> Option<&mut Ipv6> {
        Some(&mut frame.header_mut::<TcpHeaders6>(0)?.ipv6)
    }

    #[inline(always)]
    fn ports_mut<F: Frame>(self, frame: &mut F) -> Option<&mut Ports> {
        Some(ports_of(&mut frame.header_mut::<TcpHeaders6>(0)?.tcp))
    }

    #[inline(always)]
    fn checksum_mut<F: Frame>(self, frame: &mut F) -> Option<&mut [u8; 2]> {
        Some(&mut frame.header_mut::<TcpHeaders6>(0)?.tcp.checksum)
    }
}

#[inline(always)]
fn ports_of(tcp: &mut Tcp) -> &mut Ports {
    let words: &mut [Ports; 5] = bytemuck::cast_mut(tcp);
    &mut words[0]
}

/// Headers at places that were found by walking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of the transport header.
    pub transport: usize,
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub protocol: u8,
}

impl<A: Address> Layout<A> for Offsets {
    const PLAIN: bool = false;

    #[inline(always)]
    fn protocol(self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn ip(self) -> usize {
        self.ip
    }

    #[inline(always)]
    fn transport(self) -> usize {
        self.transport
    }

    #[inline(always)]
    fn ip_mut<F: Frame>(self, frame: &mut F) -> Option<&mut A::Header> {
        frame.header_mut(self.ip)
    }

    #[inline(always)]
    fn ports_mut<F: Frame>(self, frame: &mut F) -> Option<&mut Ports> {
        frame.header_mut(self.transport)
    }

    #[inline(always)]
    fn checksum_mut<F: Frame>(self, frame: &mut F) -> Option<&mut [u8; 2]> {
        if self.protocol == protocol::TCP {
            Some(&mut frame.header_mut::<Tcp>(self.transport)?.checksum)
        } else {
            Some(&mut frame.header_mut::<Udp>(self.transport)?.checksum)
        }
    }
}
