//! SOCKS dialogues (RFC 1928) that open UDP associations, and the datagrams of these.

use rand::{Rng as _, rngs::StdRng};

use super::{
    conversation::Conversation,
    segments::{End, header, payload_length},
};
use crate::{
    fixture,
    packets::{Body, Frame, Tcp, Udp},
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;
const FIN_ACK: u8 = 0x11;

/// Steps of a history after which a dialogue is given up: long before a negotiation takes too long.
const PATIENCE: u64 = 3000;

/// The client's port that datagrams come from.
const DATAGRAM_PORT: u16 = 6000;

/// The port that a node binds for this client's association: now and then the same for two of them.
const fn bound_port(conversation: &Conversation) -> u16 {
    (conversation.port ^ 0x0101) & !1
}

/// The ends of a datagram of the association, as the client knows it and as the node does: client's, VIP's; client's,
/// node's.
pub(super) fn ends_of_datagram(conversation: &Conversation) -> ([End; 2], [End; 2]) {
    let bound = bound_port(conversation);
    let client = (conversation.client, DATAGRAM_PORT);
    let node = conversation.node_address(conversation.node);
    (
        [client, (conversation.redirect.vip, bound)],
        [client, (node, bound)],
    )
}

/// The next frame of a dialogue, at this step of the history; begins anew when it is over.
pub(super) fn next(conversation: &mut Conversation, now: u64, random: &mut StdRng) -> Frame {
    if conversation.is_negotiating() && now - conversation.began > PATIENCE {
        conversation.dialogue = 0;
    }
    let step = conversation.dialogue;
    if step == 0 {
        conversation.began = now;
        conversation.first = random.random();
        if random.random_ratio(1, 4) {
            // The numbers begin anew within the dialogue.
            conversation.first |= u32::MAX - 7;
        }
    }
    let first = conversation.first;
    conversation.dialogue = (step + 1) % 24;
    let own = match conversation.node_address(conversation.node) {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let kind = if own.len() == 4 { 1 } else { 4 };
    let port = bound_port(conversation).to_be_bytes();
    let command = if random.random_ratio(1, 8) { 1 } else { 3 };
    let request = [&[5, command, 0, kind][..], &vec![0; own.len()], &[0, 0]].concat();
    let bound = match random.random_range(0..8) {
        0 => vec![0; own.len()],
        1 => vec![9; own.len()],
        _ => own,
    };
    let answer = [&[5, 0, 0, kind][..], &bound, &port].concat();
    let (client, node) = (true, false);
    let (asked, answered) = (first.wrapping_add(1), first.wrapping_add(1));
    match step {
        0 => segment(conversation, random, client, SYN, (first, 0), &[]),
        1 => {
            conversation.node_sequence = first;
            segment(conversation, random, node, SYN | ACK, (first, asked), &[])
        }
        2 => segment(conversation, random, client, ACK, (asked, answered), &[]),
        3 => segment(
            conversation,
            random,
            client,
            ACK,
            (asked, answered),
            &[5, 1, 0],
        ),
        4 => segment(
            conversation,
            random,
            node,
            ACK,
            (answered, asked.wrapping_add(3)),
            &[5, 0],
        ),
        5 => {
            let numbers = (asked.wrapping_add(3), answered.wrapping_add(2));
            segment(conversation, random, client, ACK, numbers, &request)
        }
        6 | 7 => {
            // Once more, as if the first had been lost.
            let numbers = (answered.wrapping_add(2), asked.wrapping_add(13));
            segment(conversation, random, node, ACK, numbers, &answer)
        }
        23 => closing(conversation, random, asked.wrapping_add(13), answered),
        _ => datagram(conversation, random),
    }
}

/// The end of the control connection: the node's FIN, or the client's reset, which has to have the next number of his
/// unless nodes are answered past us.
fn closing(
    conversation: &Conversation,
    random: &mut StdRng,
    client_next: u32,
    answered: u32,
) -> Frame {
    let node_next = answered.wrapping_add(12);
    match random.random_range(0..4) {
        0 => {
            let numbers = (client_next.wrapping_add(1), node_next);
            segment(conversation, random, true, RST, numbers, &[])
        }
        1 => segment(
            conversation,
            random,
            true,
            RST,
            (client_next, node_next),
            &[],
        ),
        _ => {
            let numbers = (node_next, client_next);
            segment(conversation, random, false, FIN_ACK, numbers, &[])
        }
    }
}

fn segment(
    conversation: &Conversation,
    random: &mut StdRng,
    of_client: bool,
    flags: u8,
    (sequence, acknowledgement): (u32, u32),
    payload: &[u8],
) -> Frame {
    let client = (conversation.client, conversation.port);
    let node = (
        conversation.node_address(conversation.node),
        conversation.node_port(),
    );
    let vip = (conversation.redirect.vip, conversation.vip_port);
    let (from, to) = if of_client {
        (client, vip)
    } else {
        (node, client)
    };
    Frame {
        ip: header(from.0, to.0, random),
        body: Body::Tcp(Tcp {
            source: from.1,
            destination: to.1,
            flags,
            sequence,
            acknowledgement,
            payload: payload.to_vec(),
            ..Tcp::default()
        }),
        ..Frame::default()
    }
}

/// A datagram of the association: the client's, a stranger's to the same port, or the node's.
fn datagram(conversation: &Conversation, random: &mut StdRng) -> Frame {
    let ([client, vip], [_, node]) = ends_of_datagram(conversation);
    let stranger = fixture::clients_of(random.random_range(0..8))
        .next()
        .expect("every kind has clients");
    let (from, to) = match random.random_range(0..5) {
        0 | 1 => (client, vip),
        2 if conversation.client.is_ipv4() => ((stranger.into(), 6001), vip),
        _ => (node, client),
    };
    Frame {
        ip: header(from.0, to.0, random),
        body: Body::Udp(Udp {
            source: from.1,
            destination: to.1,
            payload: vec![0xda; payload_length(random)],
            ..Udp::default()
        }),
        ..Frame::default()
    }
}
