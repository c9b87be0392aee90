//! ICMP about a conversation: errors of both sides, from the ends themselves and from routers, and echoes.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{associations, conversation::Conversation, segments::header};
use crate::packets::{Body, Frame, Icmp, Ip, Sum, Tcp, Udp};

/// The message.
pub(super) fn next(conversation: &Conversation, random: &mut StdRng) -> Frame {
    let v4 = conversation.client.is_ipv4();
    let client = (conversation.client, conversation.port);
    let vip = (conversation.redirect.vip, conversation.vip_port);
    let node = (
        conversation.node_address(conversation.node),
        conversation.node_port(),
    );
    let router = if v4 {
        [192, 0, 2, 77].into()
    } else {
        [0x20, 1, 0x0d, 0xb8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7].into()
    };
    let associated = conversation.redirect.shared && random.random();
    let ([client, vip], [_, node]) = if associated {
        associations::ends_of_datagram(conversation)
    } else {
        ([client, vip], [client, node])
    };
    // About an answer that reached the client as the VIP's, or about a packet that reached a node.
    let (from, to) = if random.random() {
        (vip, client)
    } else {
        (client, node)
    };
    let mut payload = vec![0; random.random_range(0..90)];
    random.fill(&mut payload[..]);
    let body = if conversation.protocol == 17 || associated {
        Body::Udp(Udp {
            source: from.1,
            destination: to.1,
            payload,
            checksum: if random.random_ratio(1, 4) {
                Sum::Is(0)
            } else {
                Sum::Right
            },
            ..Udp::default()
        })
    } else {
        Body::Tcp(Tcp {
            source: from.1,
            destination: to.1,
            sequence: random.random(),
            acknowledgement: random.random(),
            payload,
            ..Tcp::default()
        })
    };
    let mut about = Frame {
        ip: header(from.0, to.0, random),
        body,
        ..Frame::default()
    };
    if let Ip::V4(ip) = &mut about.ip
        && random.random_ratio(1, 8)
    {
        ip.options = vec![1; 4 * random.random_range(1..=10)];
    }
    let packet = about.packet();
    // RFC 792 has the header and 8 bytes quoted, RFC 1812 as much as fits.
    let shortest = packet.len().min(if v4 { 28 } else { 48 });
    let length = match random.random_range(0..8) {
        0 => random.random_range(0..packet.len()),
        1 | 2 => shortest,
        3 => random.random_range(shortest..=packet.len()),
        _ => packet.len(),
    };
    let (kinds, echo): (&[(u8, u8)], _) = if v4 {
        (&[(3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (4, 0)], 8)
    } else {
        (&[(1, 4), (2, 0), (3, 0), (4, 1)], 128)
    };
    let (kind, code) = if random.random_ratio(1, 10) {
        (echo, 0)
    } else {
        *kinds.choose(random).expect("some")
    };
    let sender = if random.random_ratio(1, 3) {
        router
    } else {
        to.0
    };
    Frame {
        ip: header(sender, from.0, random),
        body: Body::Icmp(Icmp {
            kind,
            code,
            rest: [0, 0, 5, 0x14],
            data: packet[..length].to_vec(),
            checksum: if random.random_ratio(1, 10) {
                Sum::Off(random.random())
            } else {
                Sum::Right
            },
        }),
        ..Frame::default()
    }
}
