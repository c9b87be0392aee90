//! Settled and split slots, learning, ways back.

use redirector_common::verdict::{Event, Verdict};

use super::{
    story::{Scene, Story, kept, sent, story},
    talk::{
        ACK, FIN, RST, SYN, TRANSLATED, Talk, but,
        redirect::{TCP4, TCP6, UDP4, UDP6},
        slot::{
            FIRST_WAS_SECOND, ON_FIRST, ON_NOTHING, ON_SECOND, THIRD_WAS_DEAD,
            UNREACHABLE_WAS_FIRST,
        },
    },
};
use crate::{
    fixture::{LOST_CLIENT6, NEIGHBOUR6, RELAY, RELAY6},
    oracle::Claim,
    packets::{Body, Frame},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all: Vec<Story> = TRANSLATED.into_iter().map(settled).collect();
    for number in [TCP4, TCP6] {
        all.extend([
            handshake(number),
            forgotten(number),
            orphan(number),
            nowhere(number),
        ]);
    }
    for number in [UDP4, UDP6] {
        all.push(datagrams(number));
    }
    all.extend([
        datagrams_soon_after(),
        ways_back(),
        to_relay(),
        without_table(),
    ]);
    all
}

fn to(talk: &Talk, place: u16, frame: Frame, verdict: Verdict) -> Scene {
    sent(frame, verdict, Claim::Recorded(talk.node(place)))
}

fn back(frame: Frame) -> Scene {
    sent(frame, Verdict::Reply, Claim::Client).by_nodes()
}

fn settled(number: u16) -> Story {
    let (first, second) = (Talk::of(number, ON_FIRST), Talk::of(number, ON_SECOND));
    let none = Talk::of(number, ON_NOTHING);
    story(
        format!("each client's packets go to the node of his slot, redirect {number}"),
        vec![
            to(&first, 1, first.request(ACK), Verdict::ForwardSettled),
            to(&second, 2, second.request(ACK), Verdict::ForwardSettled),
            kept(none.request(ACK), Verdict::DropNoBackend),
            back(first.answer(1, ACK)),
            // Whichever node it comes from.
            back(first.answer(3, ACK)),
        ],
    )
}

/// The same segment with these numbers.
fn numbered(frame: Frame, sequence: u32, acknowledgement: u32) -> Frame {
    but(frame, |frame| {
        if let Body::Tcp(tcp) = &mut frame.body {
            tcp.sequence = sequence;
            tcp.acknowledgement = acknowledgement;
        }
    })
}

fn handshake(number: u16) -> Story {
    let talk = Talk::of(number, FIRST_WAS_SECOND);
    let syn_ack = numbered(talk.answer(1, SYN | ACK), 5000, 1);
    let wrong = numbered(talk.request(ACK), 1, 5000);
    let right = numbered(talk.request(ACK), 1, 5001);
    story(
        format!("a connection lives where its handshake was completed, redirect {number}"),
        vec![
            to(&talk, 1, talk.request(SYN), Verdict::ForwardNew),
            back(syn_ack).counting(Event::EmbryoNoted),
            to(&talk, 2, wrong, Verdict::ForwardWas),
            to(&talk, 1, right, Verdict::ForwardFlow).counting(Event::FlowPromoted),
            to(&talk, 1, talk.request(FIN | ACK), Verdict::ForwardFlow),
            to(&talk, 1, talk.request(RST), Verdict::ForwardFlow),
        ],
    )
}

fn forgotten(number: u16) -> Story {
    let talk = Talk::of(number, FIRST_WAS_SECOND);
    let other = Talk {
        client_port: 40_001,
        ..talk
    };
    story(
        format!("an old connection is learned from its node, if there is room, redirect {number}"),
        vec![
            to(&talk, 2, talk.request(ACK), Verdict::ForwardWas),
            back(talk.answer(2, RST)),
            back(talk.answer(2, ACK)).counting(Event::FlowLearned),
            to(&talk, 2, talk.request(ACK), Verdict::ForwardFlow),
            back(other.answer(2, ACK)).counting(Event::FlowTableFull),
            to(&other, 2, other.request(ACK), Verdict::ForwardWas),
            kept(talk.answer(2, SYN), Verdict::PassNotOurs).by_nodes(),
        ],
    )
    .given(|tables| tables.max_flows = 1)
}

fn orphan(number: u16) -> Story {
    let (dead, living) = (
        Talk::of(number, THIRD_WAS_DEAD),
        Talk::of(number, FIRST_WAS_SECOND),
    );
    story(
        format!("the connections of a dead node go to the new one, redirect {number}"),
        vec![
            to(&dead, 3, dead.request(ACK), Verdict::ForwardOrphan),
            to(&living, 2, living.request(ACK), Verdict::ForwardWas),
        ],
    )
}

fn nowhere(number: u16) -> Story {
    let talk = Talk::of(number, UNREACHABLE_WAS_FIRST);
    story(
        format!("a node without a neighbour gets nothing, redirect {number}"),
        vec![
            kept(talk.request(SYN), Verdict::DropNoNextHop),
            to(&talk, 1, talk.request(ACK), Verdict::ForwardWas),
        ],
    )
}

fn datagrams(number: u16) -> Story {
    let talk = Talk::of(number, FIRST_WAS_SECOND);
    story(
        format!("datagrams that are not recorded begin a flow, redirect {number}"),
        vec![
            to(&talk, 1, talk.request(0), Verdict::ForwardNew),
            back(talk.answer(2, 0)).counting(Event::FlowLearned),
            to(&talk, 2, talk.request(0), Verdict::ForwardFlow),
        ],
    )
}

fn datagrams_soon_after() -> Story {
    let talk = Talk::of(UDP4, FIRST_WAS_SECOND);
    story(
        "datagrams soon after a change go where they went before",
        vec![to(&talk, 2, talk.request(0), Verdict::ForwardWas)],
    )
    .given(|tables| {
        let until = tables.epoch + 1;
        let table = tables.slot_tables.get_mut(&UDP4).expect("it has one");
        table.udp_was_until = until;
    })
}

fn ways_back() -> Story {
    let talk = Talk::of(TCP6, ON_FIRST);
    let (lost, neighbour) = (talk.by(LOST_CLIENT6), talk.by(NEIGHBOUR6));
    let unknown = kept(lost.answer(1, ACK), Verdict::DropNoReturnHop);
    story(
        "in IPv6 an answer takes the way of the neighbour, or of none",
        vec![
            back(neighbour.answer(1, ACK)),
            unknown.by_nodes().counting(Event::ReturnHopAsked),
            kept(lost.request(SYN), Verdict::DropNoBackend),
        ],
    )
    .given(|tables| {
        for table in tables.slot_tables.values_mut() {
            table
                .slots
                .fill(redirector_common::abi::Slot::settled_on(0));
        }
    })
}

fn to_relay() -> Story {
    let (v4, v6) = (Talk::of(TCP4, ON_FIRST), Talk::of(TCP6, ON_FIRST));
    let relays = |frame: Frame| kept(frame, Verdict::PassToRelay).by_nodes();
    story(
        "an answer to the relay is the relay's",
        vec![
            relays(v4.by(RELAY).answer(1, ACK)),
            relays(v6.by(RELAY6).answer(1, ACK)),
            back(v4.answer(1, ACK)),
            back(v6.answer(1, ACK)),
        ],
    )
}

fn without_table() -> Story {
    let talk = Talk::of(TCP6, ON_FIRST);
    story(
        "without a table nothing goes either way",
        vec![
            kept(talk.request(ACK), Verdict::DropNoTable),
            kept(talk.answer(1, ACK), Verdict::DropNoTable).by_nodes(),
        ],
    )
    .given(|tables| {
        // The kernel can't take a table away, so the redirect is one that never had one.
        for endpoint in tables.ipv6.endpoints.values_mut() {
            endpoint.redirect = 1;
        }
    })
}
