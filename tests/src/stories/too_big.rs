//! Packets that do not fit their way.

use redirector_common::verdict::Verdict;

use super::{
    story::{Story, kept, sent, story},
    talk::{
        ACK, TRANSLATED, Talk, but,
        redirect::{ROUTED, TCP4, TCP6},
        slot::{ON_FIRST, ON_SECOND},
        with_more_headers,
    },
};
use crate::{
    fixture::{NARROW_CLIENT, NARROW_MTU, NARROW_MTU6, NEIGHBOUR6},
    oracle::Claim,
    packets::{Body, Frame, Ip, SERVICE_TAG, TAG},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all: Vec<Story> = TRANSLATED.into_iter().map(to_node).collect();
    all.push(to_node(ROUTED));
    all.extend([
        to_client(TCP4),
        to_client(TCP6),
        fragments(TCP4),
        fragments(TCP6),
    ]);
    all.push(that_may_be_fragmented());
    all.into_iter().map(Story::in_whole_fixture).collect()
}

/// The same frame with a packet of so many bytes.
fn long(frame: Frame, length: usize) -> Frame {
    let missing = length - frame.packet().len();
    but(frame, |frame| match &mut frame.body {
        Body::Tcp(tcp) => tcp.payload.extend(vec![0x5a; missing]),
        Body::Udp(udp) => udp.payload.extend(vec![0x5a; missing]),
        Body::Icmp(_) | Body::Bytes(..) => {}
    })
}

fn limit(talk: &Talk) -> usize {
    usize::from(if talk.client.is_ipv4() {
        NARROW_MTU
    } else {
        NARROW_MTU6
    })
}

fn to_node(number: u16) -> Story {
    let (narrow, wide) = (Talk::of(number, ON_SECOND), Talk::of(number, ON_FIRST));
    let limit = limit(&narrow);
    let answered = |frame| {
        let claim = Claim::TooBigForNode(narrow.node(2));
        sent(frame, Verdict::AnswerTooBig, claim)
    };
    let second = Claim::Recorded(narrow.node(2));
    let first = Claim::Recorded(wide.node(1));
    let tagged = but(long(narrow.request(ACK), limit + 1), |frame| {
        frame.tags = vec![SERVICE_TAG, TAG];
    });
    let more = long(with_more_headers(narrow.request(ACK)), limit + 100);
    story(
        format!("the sender of what is too big for a node is told so, redirect {number}"),
        vec![
            sent(
                long(narrow.request(ACK), limit),
                Verdict::ForwardSettled,
                second,
            ),
            answered(long(narrow.request(ACK), limit + 1)),
            answered(long(narrow.request(ACK), 1500)),
            answered(tagged),
            answered(more),
            sent(
                long(wide.request(ACK), 1500),
                Verdict::ForwardSettled,
                first,
            ),
        ],
    )
}

fn to_client(number: u16) -> Story {
    let wide = Talk::of(number, ON_FIRST);
    let narrow = if wide.client.is_ipv4() {
        wide.by(NARROW_CLIENT)
    } else {
        wide.by(NEIGHBOUR6)
    };
    let limit = limit(&narrow);
    let back = |frame| sent(frame, Verdict::Reply, Claim::Client).by_nodes();
    let too_big = long(narrow.answer(1, ACK), limit + 1);
    let answered = sent(too_big, Verdict::AnswerTooBig, Claim::TooBigForClient);
    story(
        format!("a node is told what is too big for its client, redirect {number}"),
        vec![
            back(long(narrow.answer(1, ACK), limit)),
            answered.by_nodes(),
            back(long(wide.answer(1, ACK), limit + 1)),
        ],
    )
    .given(|tables| {
        // So that nothing is learned from an answer.
        for table in tables.slot_tables.values_mut() {
            table.split_slots = 0;
        }
    })
}

fn fragments(number: u16) -> Story {
    let talk = Talk::of(number, ON_SECOND);
    let pieces = |length, piece| long(talk.request(ACK), length).fragments(piece, 7);
    let short = pieces(3000, 560).swap_remove(0);
    let too_long = pieces(3000, 1400);
    let node = Claim::Recorded(talk.node(2));
    let next = pieces(3000, 560).swap_remove(1);
    story(
        format!("nobody is told of a fragment that is too big, redirect {number}"),
        vec![
            kept(too_long[0].clone(), Verdict::DropTooBig),
            kept(too_long[1].clone(), Verdict::DropFragment),
            sent(short, Verdict::ForwardSettled, node),
            kept(too_long[1].clone(), Verdict::DropTooBig),
            sent(next, Verdict::ForwardFragment, Claim::AfterFirst),
        ],
    )
}

fn that_may_be_fragmented() -> Story {
    let talk = Talk::of(TCP4, ON_SECOND);
    let may_be_fragmented = but(long(talk.request(ACK), 1000), |frame| {
        if let Ip::V4(ip) = &mut frame.ip {
            ip.fragment = 0;
        }
    });
    story(
        "what is too big and may be fragmented is dropped",
        vec![kept(may_be_fragmented, Verdict::DropTooBig)],
    )
}
