//! Missing and partial checksums.

use redirector_common::verdict::Verdict;

use super::{
    story::{Story, sent, story},
    talk::{
        ACK, TRANSLATED, Talk, but,
        redirect::{ROUTED, UDP4},
        slot::ON_FIRST,
        with_more_headers,
    },
};
use crate::{
    oracle::Claim,
    packets::{Body, Frame, Sum},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all = vec![missing()];
    for number in TRANSLATED {
        let name = |what| format!("a partial checksum is {what}, redirect {number}");
        all.push(partial(name("completed"), number));
        all.push(partial(name("left to the kernel"), number).in_generic_mode());
    }
    all.push(wrong());
    all.push(routed());
    all
}

fn summed(frame: Frame, sum: Sum) -> Frame {
    but(frame, |frame| match &mut frame.body {
        Body::Tcp(tcp) => tcp.checksum = sum,
        Body::Udp(udp) => udp.checksum = sum,
        Body::Icmp(_) | Body::Bytes(..) => {}
    })
}

/// A packet there and one back, with the same kind of checksum.
fn there_and_back(name: String, talk: Talk, sums: &[Sum], changed: fn(Frame) -> Frame) -> Story {
    let mut scenes = Vec::new();
    for sum in sums {
        let node = Claim::Recorded(talk.node(1));
        let there = summed(changed(talk.request(ACK)), *sum);
        let back = summed(changed(talk.answer(1, ACK)), *sum);
        scenes.push(sent(there, Verdict::ForwardSettled, node));
        scenes.push(sent(back, Verdict::Reply, Claim::Client).by_nodes());
    }
    story(name, scenes)
}

fn missing() -> Story {
    let sums = [Sum::Is(0), Sum::Is(0xffff), Sum::Right];
    let talk = Talk::of(UDP4, ON_FIRST);
    let name = "a UDP checksum that is missing stays so".to_owned();
    there_and_back(name, talk, &sums, |frame| frame)
}

fn partial(name: String, number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let plain = there_and_back(name, talk, &[Sum::Partial, Sum::Right], |frame| frame);
    let more = there_and_back(String::new(), talk, &[Sum::Partial], with_more_headers);
    Story {
        scenes: [plain.scenes, more.scenes].concat(),
        ..plain
    }
}

fn wrong() -> Story {
    let talk = Talk::of(TRANSLATED[0], ON_FIRST);
    let sums = [Sum::Off(1), Sum::Off(0x1234), Sum::Is(0)];
    let name = "a wrong checksum stays as wrong".to_owned();
    there_and_back(name, talk, &sums, with_more_headers)
}

fn routed() -> Story {
    let talk = Talk::of(ROUTED, ON_FIRST);
    let node = Claim::Recorded(talk.node(1));
    let frame = summed(talk.request(ACK), Sum::Partial);
    story(
        "a routed packet keeps its partial checksum, which its receiver completes",
        vec![sent(frame, Verdict::ForwardSettled, node)],
    )
}
