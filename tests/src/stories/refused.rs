//! Packets that no node takes.

use redirector_common::verdict::Verdict;

use super::{
    story::{Scene, Story, kept, sent, story},
    talk::{
        ACK, FIN, RST, SYN, Talk, but,
        redirect::{REFUSES4, REFUSES6, TCP4, TCP6, UDP4, UDP6},
        slot::{NOTHING_WAS_DEAD, ON_FIRST, ON_NOTHING},
        with_more_headers,
    },
};
use crate::{
    oracle::Claim,
    packets::{Body, Frame, SERVICE_TAG, TAG},
};

pub(super) fn stories() -> Vec<Story> {
    let all = [REFUSES4, REFUSES6].into_iter();
    let all = all.flat_map(|number| [resets(number), unreachable(number), unanswered(number)]);
    let dropped = [TCP4, TCP6, UDP4, UDP6].into_iter().map(dropped);
    all.chain(dropped).map(Story::in_whole_fixture).collect()
}

fn refused(frame: Frame) -> Scene {
    sent(frame, Verdict::AnswerNoBackend, Claim::Refused)
}

/// The same frame with so many bytes of data.
fn with_data(frame: Frame, length: usize) -> Frame {
    but(frame, |frame| match &mut frame.body {
        Body::Tcp(tcp) => tcp.payload = vec![0x5a; length],
        Body::Udp(udp) => udp.payload = vec![0x5a; length],
        Body::Icmp(_) | Body::Bytes(..) => {}
    })
}

fn resets(number: u16) -> Story {
    let none = Talk::of(number, ON_NOTHING);
    let orphan = Talk::of(number, NOTHING_WAS_DEAD);
    let some = Talk::of(number, ON_FIRST);
    let first = Claim::Recorded(some.node(1));
    let numbered = but(with_data(none.request(FIN), 7), |frame| {
        if let Body::Tcp(tcp) = &mut frame.body {
            tcp.sequence = u32::MAX - 3;
        }
    });
    let tagged = but(none.request(SYN), |frame| {
        frame.tags = vec![SERVICE_TAG, TAG];
    });
    story(
        format!("who connects where no node is gets a reset, redirect {number}"),
        vec![
            refused(with_data(none.request(SYN), 0)),
            refused(none.request(SYN)),
            refused(numbered),
            refused(none.request(ACK)),
            refused(none.request(FIN | ACK)),
            refused(with_data(none.request(ACK), 1400)),
            refused(tagged),
            refused(with_more_headers(none.request(SYN))),
            refused(orphan.request(ACK)),
            sent(some.request(SYN), Verdict::ForwardSettled, first),
        ],
    )
}

fn unreachable(number: u16) -> Story {
    let none = Talk::of(number, ON_NOTHING).with_listener(1);
    let some = Talk::of(number, ON_FIRST).with_listener(1);
    let first = Claim::Recorded(some.node(1));
    let tagged = but(none.request(0), |frame| frame.tags = vec![TAG]);
    story(
        format!(
            "who sends a datagram where no node is, is told that the port is unreachable, redirect {number}"
        ),
        vec![
            refused(with_data(none.request(0), 0)),
            refused(with_data(none.request(0), 1)),
            refused(none.request(0)),
            refused(with_data(none.request(0), 1400)),
            refused(tagged),
            refused(with_more_headers(none.request(0))),
            sent(some.request(0), Verdict::ForwardSettled, first),
        ],
    )
}

fn unanswered(number: u16) -> Story {
    let none = Talk::of(number, ON_NOTHING);
    let datagram = with_data(none.with_listener(1).request(0), 1400).fragments(560, 7);
    story(
        format!("neither a reset nor a fragment is answered, redirect {number}"),
        vec![
            kept(none.request(RST), Verdict::DropNoBackend),
            kept(none.request(RST | ACK), Verdict::DropNoBackend),
            kept(datagram[0].clone(), Verdict::DropNoBackend),
            kept(datagram[1].clone(), Verdict::DropFragment),
        ],
    )
}

fn dropped(number: u16) -> Story {
    let none = Talk::of(number, ON_NOTHING);
    story(
        format!(
            "nobody is told anything where packets that no node takes are dropped, redirect {number}"
        ),
        vec![kept(none.request(SYN), Verdict::DropNoBackend)],
    )
}
