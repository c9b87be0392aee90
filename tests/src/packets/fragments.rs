//! One packet in pieces (RFC 791, section 3.2; RFC 8200, section 4.5).

use super::{Body, Extension, Frame, Ip};

impl Frame {
    /// The packet in frames with at most `piece` bytes of its payload in each, a multiple of 8. The IPv4 header's
    /// identification is used in both families.
    ///
    /// # Panics
    ///
    /// `piece` is no multiple of 8, or the packet is too long.
    pub fn fragments(&self, piece: usize, identification: u16) -> Vec<Vec<u8>> {
        assert!(piece > 0 && piece.is_multiple_of(8), "{piece}");
        let protocol = self.body.protocol(&self.ip);
        let payload = self.body.build(&self.ip);
        let pieces = payload.chunks(piece).enumerate();
        pieces
            .map(|(index, bytes)| {
                let offset = u16::try_from(index * piece / 8).expect("it fits");
                let more = index * piece + bytes.len() < payload.len();
                let mut ip = self.ip.clone();
                match &mut ip {
                    Ip::V4(ip) => {
                        ip.identification = identification;
                        ip.fragment = offset + if more { 0x2000 } else { 0 };
                    }
                    Ip::V6(ip) => ip.extensions.push(Extension::Fragment {
                        offset,
                        more,
                        identification: u32::from(identification),
                    }),
                }
                Frame {
                    ip,
                    body: Body::Bytes(protocol, bytes.to_vec()),
                    ..self.clone()
                }
                .build()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{Ipv6, Tcp};

    #[test]
    fn the_pieces_put_together_are_the_payload() {
        for (ip, header) in [(Ip::default(), 34), (Ip::V6(Ipv6::default()), 62)] {
            let whole = Frame {
                ip,
                body: Body::Tcp(Tcp {
                    payload: (0..100).collect(),
                    ..Tcp::default()
                }),
                ..Frame::default()
            };
            let pieces = whole.fragments(48, 9);
            assert_eq!(pieces.len(), 3);
            let together: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece[header..].to_vec())
                .collect();
            let packet = whole.packet();
            assert_eq!(together, packet[packet.len() - 120..]);
        }
    }
}
