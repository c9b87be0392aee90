//! Ethernet frames with VLAN tags and padding.

use super::{Body, Ip};

/// Link-layer addresses of built frames: receiver, then sender.
pub const MACS: [u8; 12] = [2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 9, 2];

/// A customer VLAN tag (IEEE 802.1Q): priority 3, VLAN 100.
pub const TAG: [u8; 4] = [0x81, 0x00, 0x60, 0x64];

/// A service VLAN tag (IEEE 802.1ad): VLAN 200.
pub const SERVICE_TAG: [u8; 4] = [0x88, 0xa8, 0x00, 0xc8];

/// An IP packet in an Ethernet frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// VLAN tags, the outer one first: type and control bytes of each.
    pub tags: Vec<[u8; 4]>,
    /// The IP header.
    pub ip: Ip,
    /// What it carries.
    pub body: Body,
    /// Bytes after the packet's end.
    pub padding: usize,
}

impl Frame {
    /// The frame.
    ///
    /// # Panics
    ///
    /// A part does not fit its length field.
    pub fn build(&self) -> Vec<u8> {
        self.around(&self.packet())
    }

    /// The IP packet alone.
    ///
    /// # Panics
    ///
    /// A part does not fit its length field.
    pub fn packet(&self) -> Vec<u8> {
        let payload = self.body.build(&self.ip);
        self.ip.build(self.body.protocol(&self.ip), &payload)
    }

    /// A frame like this one around another packet.
    fn around(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = MACS.to_vec();
        frame.extend(self.tags.as_flattened());
        frame.extend(self.ip.ethertype());
        frame.extend(packet);
        frame.resize(frame.len() + self.padding, 0xa5);
        frame
    }
}

impl From<Frame> for Vec<u8> {
    fn from(frame: Frame) -> Self {
        frame.build()
    }
}

/// A frame cut at every length, from nothing to the whole.
pub fn truncations(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..=frame.len()).map(|length| &frame[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{Extension, Icmp, Ipv4, Ipv6, Tcp, TcpPacket, Udp};

    #[test]
    fn the_default_frame_is_the_default_tcp_packet() {
        assert_eq!(Frame::default().build(), TcpPacket::default().build());
    }

    #[test]
    fn another_library_reads_what_was_built_and_finds_its_checksums_right() {
        let v4 = Ip::V4(Ipv4 {
            options: vec![1, 1, 1, 0],
            ..Ipv4::default()
        });
        let v6 = Ip::V6(Ipv6 {
            extensions: vec![
                Extension::HopByHop(6),
                Extension::Routing(0),
                Extension::DestinationOptions(14),
            ],
            ..Ipv6::default()
        });
        let bodies = [
            Body::Tcp(Tcp {
                payload: vec![7; 33],
                ..Tcp::default()
            }),
            Body::Udp(Udp {
                payload: vec![7; 33],
                ..Udp::default()
            }),
        ];
        for (ip, body) in [&v4, &v6]
            .into_iter()
            .flat_map(|ip| bodies.iter().map(move |body| (ip, body)))
        {
            let frame = Frame {
                tags: vec![SERVICE_TAG, TAG],
                ip: ip.clone(),
                body: body.clone(),
                ..Frame::default()
            };
            let bytes = frame.build();
            let read = etherparse::PacketHeaders::from_ethernet_slice(&bytes).expect("readable");
            let payload = read.payload.slice();
            let (found, right) = match (read.transport.expect("one"), read.net.expect("one")) {
                (etherparse::TransportHeader::Tcp(tcp), etherparse::NetHeaders::Ipv4(ip, _)) => {
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    (tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload))
                }
                (etherparse::TransportHeader::Tcp(tcp), etherparse::NetHeaders::Ipv6(ip, _)) => {
                    (tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload))
                }
                (etherparse::TransportHeader::Udp(udp), etherparse::NetHeaders::Ipv4(ip, _)) => {
                    (udp.checksum, udp.calc_checksum_ipv4(&ip, payload))
                }
                (etherparse::TransportHeader::Udp(udp), etherparse::NetHeaders::Ipv6(ip, _)) => {
                    (udp.checksum, udp.calc_checksum_ipv6(&ip, payload))
                }
                other => panic!("read as {other:?}"),
            };
            assert_eq!(found, right.expect("it fits"), "{frame:?}");
        }
    }

    #[test]
    fn another_library_finds_the_checksum_of_an_icmpv6_message_right() {
        let frame = Frame {
            ip: Ip::V6(Ipv6::default()),
            body: Body::Icmp(Icmp::port_unreachable(&Frame::default().packet())),
            ..Frame::default()
        };
        let packet = frame.packet();
        let slice = etherparse::Icmpv6Slice::from_slice(&packet[40..]).expect("readable");
        let ip = Ipv6::default();
        assert!(slice.is_checksum_valid(ip.source, ip.destination));
    }

    #[test]
    fn a_frame_is_cut_at_every_length() {
        let lengths: Vec<usize> = truncations(&[1, 2, 3]).map(<[u8]>::len).collect();
        assert_eq!(lengths, [0, 1, 2, 3]);
    }
}
