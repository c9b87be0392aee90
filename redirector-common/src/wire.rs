//! Headers as they are on the wire: byte arrays in network order, alignment 1.

use bytemuck::{Pod, Zeroable};

/// Ethernet II header (IEEE 802.3, clause 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Ethernet {
    /// Receiver's link-layer address.
    pub destination: [u8; 6],
    /// Sender's link-layer address.
    pub source: [u8; 6],
    /// Type of the payload: [`ethertype`].
    pub ethertype: [u8; 2],
}

/// The same header, its two addresses seen as three words of four bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EthernetWords {
    /// Bytes 0 to 3.
    pub first: [u8; 4],
    /// Bytes 4 to 7.
    pub second: [u8; 4],
    /// Bytes 8 to 11.
    pub third: [u8; 4],
    /// Type of the payload: [`ethertype`].
    pub ethertype: [u8; 2],
}

/// Values of [`Ethernet::ethertype`].
pub mod ethertype {
    /// IPv4 (RFC 894).
    pub const IPV4: [u8; 2] = [0x08, 0x00];
    /// IPv6 (RFC 2464).
    pub const IPV6: [u8; 2] = [0x86, 0xdd];
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: [u8; 2] = [0x81, 0x00];
    /// A service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];
}

/// IPv4 header without options (RFC 791, section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Ipv4 {
    /// Version (high 4 bits) and header length in 32-bit words (low 4 bits).
    pub version_ihl: u8,
    /// Differentiated services and ECN; never changed.
    pub tos: u8,
    /// Length of header and payload, bytes.
    pub total_length: [u8; 2],
    /// Identification of a datagram's fragments.
    pub identification: [u8; 2],
    /// Flags (high 3 bits) and offset (low 13 bits, units of 8 bytes).
    pub fragment: [u8; 2],
    /// Time to live, hops.
    pub ttl: u8,
    /// Protocol of the payload: [`protocol`].
    pub protocol: u8,
    /// Checksum of the header (RFC 1071).
    pub checksum: [u8; 2],
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub destination: [u8; 4],
}

/// A VLAN tag, from its type on (IEEE 802.1Q, clause 9.6).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct VlanTag {
    /// Priority, drop eligibility and VLAN identifier.
    pub control: [u8; 2],
    /// Type of what follows: [`ethertype`].
    pub ethertype: [u8; 2],
}

/// IPv6 header (RFC 8200, section 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Ipv6 {
    /// Version (high 4 bits), traffic class and flow label.
    pub version_class_flow: [u8; 4],
    /// Length of what follows this header, bytes.
    pub payload_length: [u8; 2],
    /// Type of the header that follows: [`protocol`].
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Sender.
    pub source: [u8; 16],
    /// Receiver.
    pub destination: [u8; 16],
}

/// [`Ipv4::version_ihl`] of a header without options.
pub const IPV4_NO_OPTIONS: u8 = 0x45;
/// Length of such a header.
pub const IPV4_LENGTH: u16 = 20;
/// Length of a TCP header without options.
pub const TCP_LENGTH: u16 = 20;
const _: () = {
    assert!(size_of::<Ipv4>() == IPV4_LENGTH as usize);
    assert!(size_of::<Tcp>() == TCP_LENGTH as usize);
};

/// Bits of [`Ipv4::fragment`] that are set in any fragment: "more fragments" and the offset.
pub const FRAGMENT_MASK: u16 = 0x3fff;

/// Values of [`Ipv4::protocol`].
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// `ICMPv6`.
    pub const ICMPV6: u8 = 58;
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// TCP header without options (RFC 9293, section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tcp {
    /// Sender's port.
    pub source: [u8; 2],
    /// Receiver's port.
    pub destination: [u8; 2],
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// Header length in 32-bit words (high 4 bits).
    pub data_offset: u8,
    /// Control bits: [`tcp_flag`].
    pub flags: u8,
    /// Receive window.
    pub window: [u8; 2],
    /// Checksum of pseudo-header, header and data.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// Bits of [`Tcp::flags`].
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// UDP header (RFC 768).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Udp {
    /// Sender's port.
    pub source: [u8; 2],
    /// Receiver's port.
    pub destination: [u8; 2],
    /// Length of header and data, bytes.
    pub length: [u8; 2],
    /// Checksum of pseudo-header, header and data; 0 when there is none.
    pub checksum: [u8; 2],
}

/// ICMP header (RFC 792, RFC 4443).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Icmp {
    /// Type of the message.
    pub kind: u8,
    /// Its subtype.
    pub code: u8,
    /// Checksum of the message; in `ICMPv6` of a pseudo-header as well.
    pub checksum: [u8; 2],
    /// What the type makes of it; the last two bytes of a too-big message of ICMP are the MTU, all four in `ICMPv6`.
    pub rest: [u8; 4],
}

/// What most IPv6 extension headers begin with (RFC 8200, section 4). A routing header has two bytes more that
/// matter: its type and how many segments are left.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Extension {
    /// Type of the header that follows: [`protocol`].
    pub next_header: u8,
    /// Length in units of 8 bytes, the first 8 not counted.
    pub length: u8,
    /// In a routing header its type.
    pub routing_type: u8,
    /// In a routing header how many nodes are still to be visited.
    pub segments_left: u8,
    /// What the type makes of them.
    pub rest: [u8; 4],
}

/// IPv6 fragment header (RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FragmentHeader {
    /// Type of the header that follows: [`protocol`].
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset (high 13 bits, units of 8 bytes), and whether more fragments follow (lowest bit).
    pub offset: [u8; 2],
    /// Identification of a packet's fragments.
    pub identification: [u8; 4],
}

/// The ports, which TCP and UDP have at the same place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Ports {
    /// Sender's port.
    pub source: [u8; 2],
    /// Receiver's port.
    pub destination: [u8; 2],
}

/// The three headers of the common case, one after the other: one bounds check reads them all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TcpHeaders {
    /// At offset 0.
    pub ethernet: Ethernet,
    /// At offset 14.
    pub ipv4: Ipv4,
    /// At offset 34.
    pub tcp: Tcp,
}

/// The same in IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TcpHeaders6 {
    /// At offset 0.
    pub ethernet: Ethernet,
    /// At offset 14.
    pub ipv6: Ipv6,
    /// At offset 54.
    pub tcp: Tcp,
}

const _: () = {
    assert!(size_of::<Ethernet>() == 14);
    assert!(size_of::<Ipv4>() == 20);
    assert!(size_of::<Tcp>() == 20);
    assert!(size_of::<TcpHeaders>() == 54);
    assert!(size_of::<Ipv6>() == 40);
    assert!(size_of::<Udp>() == 8);
    assert!(size_of::<Icmp>() == 8);
    assert!(size_of::<Extension>() == 8);
    assert!(size_of::<FragmentHeader>() == 8);
    assert!(size_of::<TcpHeaders6>() == 74);
};
