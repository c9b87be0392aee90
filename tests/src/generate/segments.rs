//! The next packet of a conversation, in either direction: TCP or UDP.

use std::net::IpAddr;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::conversation::Conversation;
use crate::{
    fixture::VIP_WITHOUT_TABLE,
    packets::{Body, Frame, Ip, Sum, Tcp, Udp},
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// One of an endpoint's two halves.
pub(super) type End = (IpAddr, u16);

/// The packet.
pub(super) fn next(conversation: &mut Conversation, random: &mut StdRng) -> Frame {
    let to_node = random.random_ratio(11, 20);
    let (from, to) = if to_node {
        to_vip(conversation, random)
    } else {
        from_node(conversation, random)
    };
    let mut payload = vec![0; payload_length(random)];
    random.fill(&mut payload[..]);
    let body = if conversation.protocol == 17 {
        Body::Udp(Udp {
            source: from.1,
            destination: to.1,
            payload,
            checksum: match random.random_range(0..8) {
                0 => Sum::Is(0),
                1 => Sum::Is(0xffff),
                _ => Sum::Right,
            },
            ..Udp::default()
        })
    } else {
        let (flags, sequence, acknowledgement) = if to_node {
            of_client(conversation, random)
        } else {
            of_node(conversation, random)
        };
        Body::Tcp(Tcp {
            source: from.1,
            destination: to.1,
            flags,
            sequence,
            acknowledgement,
            options: vec![1; 4 * random.random_range(0..=10)],
            payload,
            checksum: Sum::Right,
        })
    };
    Frame {
        ip: header(from.0, to.0, random),
        body,
        ..Frame::default()
    }
}

/// An IP header with any type of service, and now and then no hop left to live.
pub(super) fn header(from: IpAddr, to: IpAddr, random: &mut StdRng) -> Ip {
    let hops = match random.random_range(0..24) {
        hops @ 0..4 => hops,
        _ => random.random_range(2..=255),
    };
    let mut ip = Ip::between(from, to).living(hops);
    match &mut ip {
        Ip::V4(ip) => {
            ip.tos = random.random();
            ip.identification = random.random();
            ip.fragment = if random.random_ratio(1, 4) { 0 } else { 0x4000 };
        }
        Ip::V6(ip) => ip.class_and_flow = random.random_range(0..1 << 28),
    }
    ip
}

fn to_vip(conversation: &Conversation, random: &mut StdRng) -> (End, End) {
    let vip = (conversation.redirect.vip, conversation.vip_port);
    let v4 = conversation.client.is_ipv4();
    let to = match random.random_range(0..40) {
        0 => {
            let node = random.random_range(0..5);
            (conversation.node_address(node), conversation.node_port())
        }
        1 if v4 => (VIP_WITHOUT_TABLE.0.into(), VIP_WITHOUT_TABLE.1),
        2 => (vip.0, random.random()),
        3 if v4 => ([192, 0, 2, 80].into(), vip.1),
        _ => vip,
    };
    ((conversation.client, conversation.port), to)
}

fn from_node(conversation: &Conversation, random: &mut StdRng) -> (End, End) {
    let node = if random.random_ratio(4, 5) {
        conversation.node
    } else {
        random.random_range(0..5)
    };
    let port = match random.random_range(0..40) {
        0 => random.random(),
        _ => conversation.node_port(),
    };
    let from = (conversation.node_address(node), port);
    (from, (conversation.client, conversation.port))
}

/// Flags, sequence number and acknowledgement number of a client's segment.
fn of_client(conversation: &Conversation, random: &mut StdRng) -> (u8, u32, u32) {
    let flags = match random.random_range(0..100) {
        0..20 => SYN,
        20..55 => ACK,
        55..80 => ACK | PSH,
        80..87 => ACK | FIN,
        87..90 => RST,
        90..93 => RST | ACK,
        _ => random.random(),
    };
    let acknowledgement = if random.random_ratio(1, 8) {
        random.random()
    } else {
        let first = conversation.node_sequence.wrapping_add(1);
        let ahead = *[0, 0, 0, 1, 0xffff, 0x1_0000, u32::MAX]
            .choose(random)
            .expect("some");
        first.wrapping_add(ahead)
    };
    (flags, random.random(), acknowledgement)
}

/// The same of a node's.
fn of_node(conversation: &mut Conversation, random: &mut StdRng) -> (u8, u32, u32) {
    let flags = match random.random_range(0..100) {
        0..35 => SYN | ACK,
        35..60 => ACK,
        60..80 => ACK | PSH,
        80..87 => ACK | FIN,
        87..90 => RST,
        90..93 => RST | ACK,
        93..96 => SYN,
        _ => random.random(),
    };
    let mut sequence = random.random();
    if flags == SYN | ACK {
        if random.random_ratio(1, 10) {
            sequence = *[0, u32::MAX, 0x7fff_ffff].choose(random).expect("some");
        }
        conversation.node_sequence = sequence;
    }
    (flags, sequence, random.random())
}

pub(super) fn payload_length(random: &mut StdRng) -> usize {
    match random.random_range(0..10) {
        0..4 => 0,
        4..9 => random.random_range(1..64),
        _ => random.random_range(64..1500),
    }
}
