//! Redirects of other kinds, and what goes past all of them.

use redirector_common::verdict::{Event, Verdict};

use super::{
    story::{Scene, Story, kept, sent, story},
    talk::{
        ACK, SYN, TRANSLATED, Talk, but, living,
        redirect::{EVERY_PORT, RANGE, ROUTED, TCP4, TCP6, TRACKED, UDP4, UDP6},
        slot::{FIRST_WAS_SECOND, ON_FIRST},
        with_more_headers,
    },
};
use crate::{
    oracle::Claim,
    packets::{Body, Frame},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all: Vec<Story> = TRANSLATED.into_iter().map(past_the_listener).collect();
    all.extend([routed(0), routed(1), learned_from_the_client()]);
    all.extend([
        every_port(0),
        every_port(1),
        range(),
        tracked(0),
        tracked(1),
        direct(),
    ]);
    all
}

fn to_first(talk: &Talk, frame: Frame) -> Scene {
    let node = Claim::Recorded(talk.node(1));
    sent(frame, Verdict::ForwardSettled, node)
}

fn past_the_listener(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let other = talk.at(22);
    let to_node = match number {
        TCP4 | TCP6 => Verdict::DropDirectTcp,
        UDP4 | UDP6 => Verdict::PassNotOurs,
        other => panic!("redirect {other} is not of the plain ones"),
    };
    story(
        format!("nobody else's packets are touched, redirect {number}"),
        vec![
            kept(other.request(ACK), Verdict::PassNotOurs),
            kept(talk.seen_request(), to_node),
            to_first(&talk, talk.request(ACK)),
        ],
    )
}

fn routed(listener: usize) -> Story {
    let talk = Talk::of(ROUTED, ON_FIRST).with_listener(listener);
    story(
        format!("a routed packet stays as it is, listener {}", talk.number()),
        vec![
            to_first(&talk, talk.request(ACK)),
            to_first(&talk, with_more_headers(talk.request(ACK))),
            to_first(&talk, living(talk.request(ACK), 1)),
            kept(talk.at(22).request(ACK), Verdict::PassNotOurs),
            // Its nodes answer past us, and otherwise are like any host.
            kept(talk.answer(1, ACK), Verdict::PassNotOurs).by_nodes(),
            kept(talk.seen_request(), Verdict::PassNotOurs),
        ],
    )
}

fn learned_from_the_client() -> Story {
    let talk = Talk::of(ROUTED, FIRST_WAS_SECOND);
    let segment = |flags, sequence| {
        but(talk.request(flags), |frame| {
            if let Body::Tcp(tcp) = &mut frame.body {
                tcp.sequence = sequence;
            }
        })
    };
    let to = |place, frame, verdict| sent(frame, verdict, Claim::Recorded(talk.node(place)));
    let old = Talk {
        client_port: 40_001,
        ..talk
    };
    story(
        "where nodes answer past us connections are learned from the client",
        vec![
            to(1, segment(SYN, 700), Verdict::ForwardNew).counting(Event::EmbryoNoted),
            to(1, segment(ACK, 701), Verdict::ForwardFlow).counting(Event::FlowPromoted),
            to(2, old.request(ACK), Verdict::ForwardWas).counting(Event::FlowLearned),
            to(2, old.request(ACK), Verdict::ForwardFlow),
        ],
    )
}

fn every_port(listener: usize) -> Story {
    let talk = Talk::of(EVERY_PORT, ON_FIRST).with_listener(listener);
    let mut scenes = Vec::new();
    for port in [1, 22, 1080, 65_535] {
        let talk = talk.at(port);
        scenes.push(to_first(&talk, talk.request(ACK)));
        let back = sent(talk.answer(1, ACK), Verdict::Reply, Claim::Client);
        scenes.push(back.by_nodes());
    }
    story(
        format!("every port is kept, listener {}", talk.number()),
        scenes,
    )
    .in_whole_fixture()
}

fn range() -> Story {
    let talk = Talk::of(RANGE, ON_FIRST);
    story(
        "the ports of a range are kept and no other is ours",
        vec![
            to_first(&talk, talk.at(2000).request(ACK)),
            to_first(&talk, talk.at(2003).request(ACK)),
            kept(talk.at(2004).request(ACK), Verdict::PassNotOurs),
            kept(talk.at(1999).request(ACK), Verdict::PassNotOurs),
            sent(talk.at(2003).answer(1, ACK), Verdict::Reply, Claim::Client).by_nodes(),
            kept(talk.at(2004).answer(1, ACK), Verdict::PassNotOurs).by_nodes(),
        ],
    )
}

fn tracked(listener: usize) -> Story {
    let talk = Talk::of(TRACKED, ON_FIRST).with_listener(listener);
    let restored = |frame| {
        let client = Claim::ClientOf(talk.number());
        sent(frame, Verdict::Reply, client).by_nodes()
    };
    let numbered = |frame, sequence, acknowledgement| {
        but(frame, |frame: &mut Frame| {
            if let Body::Tcp(tcp) = &mut frame.body {
                tcp.sequence = sequence;
                tcp.acknowledgement = acknowledgement;
            }
        })
    };
    let node = Claim::Recorded(talk.node(1));
    let completes = numbered(talk.request(ACK), 1, 5001);
    story(
        format!(
            "an answer of a shared socket is the listener's that the client speaks with, listener {}",
            talk.number()
        ),
        vec![
            kept(talk.answer(1, ACK), Verdict::PassNotOurs).by_nodes(),
            to_first(&talk, talk.request(SYN)),
            restored(numbered(talk.answer(1, SYN | ACK), 5000, 1)).counting(Event::EmbryoNoted),
            sent(completes, Verdict::ForwardFlow, node).counting(Event::FlowPromoted),
            restored(talk.answer(1, ACK)),
            kept(talk.answer(2, ACK), Verdict::PassNotOurs).by_nodes(),
            kept(talk.answer(1, SYN), Verdict::PassNotOurs).by_nodes(),
        ],
    )
    .in_whole_fixture()
}

fn direct() -> Story {
    let (allowed, dropped) = (Talk::of(RANGE, ON_FIRST), Talk::of(TCP4, ON_FIRST));
    story(
        "a client's packets to a node are let pass where that is allowed",
        vec![
            kept(allowed.seen_request(), Verdict::PassDirect),
            kept(dropped.seen_request(), Verdict::DropDirectTcp),
        ],
    )
}
