//! ICMP errors, both ways.

use redirector_common::verdict::{Event, Verdict};

use super::{
    story::{Scene, Story, kept, sent, story},
    talk::{
        ACK, TRANSLATED, Talk, but, error, living,
        redirect::{ROUTED, TCP4, TCP6},
        slot::{FIRST_WAS_SECOND, ON_FIRST, ON_NOTHING, THIRD_WAS_DEAD},
        with_more_headers,
    },
};
use crate::{
    fixture::RELAY,
    oracle::Claim,
    packets::{Body, Frame},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all = Vec::new();
    for number in TRANSLATED {
        let talk = Talk::of(number, ON_FIRST);
        all.extend([to_node(talk), to_client(talk), not_ours(talk)]);
    }
    for number in [TCP4, TCP6] {
        all.extend([where_it_lives(number), other_messages(number)]);
    }
    all.extend([routed(), shorter_inside(), to_relay()]);
    all
}

/// A router on the way, of the client's family.
fn router(talk: &Talk) -> std::net::IpAddr {
    let address = if talk.client.is_ipv4() {
        "192.0.2.77"
    } else {
        "2001:db8:7::7"
    };
    address.parse().expect("an address")
}

fn forwarded(talk: &Talk, place: u16, frame: Frame) -> Scene {
    let node = Claim::ErrorToNode(talk.node(place));
    sent(frame, Verdict::ForwardIcmp, node)
}

fn replied(talk: &Talk, frame: Frame) -> Scene {
    let client = Claim::ErrorToClientOf(talk.number());
    sent(frame, Verdict::ReplyIcmp, client).by_nodes()
}

/// The same error with so many bytes of what it quotes.
fn cut(frame: Frame, length: usize) -> Frame {
    but(frame, |frame| {
        if let Body::Icmp(icmp) = &mut frame.body {
            icmp.data.truncate(length);
        }
    })
}

/// The least that an error quotes: the IP header and 8 bytes.
const fn least(talk: &Talk) -> usize {
    if talk.client.is_ipv4() { 28 } else { 48 }
}

fn to_node(talk: Talk) -> Story {
    let vip = talk.redirect.vip;
    let by_client = error(talk.client, vip, &talk.seen_answer());
    let by_router = error(router(&talk), vip, &talk.seen_answer());
    let with_more = error(talk.client, vip, &with_more_headers(talk.seen_answer()));
    story(
        format!(
            "an error about an answer goes to the node that gave it, redirect {}",
            talk.redirect.number
        ),
        vec![
            forwarded(&talk, 1, by_client.clone()),
            forwarded(&talk, 1, by_router),
            forwarded(&talk, 1, with_more),
            forwarded(&talk, 1, cut(by_client.clone(), least(&talk))),
            kept(cut(by_client.clone(), least(&talk) - 1), Verdict::PassIcmp),
            kept(living(by_client, 1), Verdict::PassTtl),
        ],
    )
}

fn to_client(talk: Talk) -> Story {
    let by_node = error(talk.node_address(1), talk.client, &talk.seen_request());
    let by_router = error(router(&talk), talk.client, &talk.seen_request());
    story(
        format!(
            "an error about a client's packet comes to him from the VIP, redirect {}",
            talk.redirect.number
        ),
        vec![
            replied(&talk, by_node.clone()),
            replied(&talk, by_router),
            replied(&talk, cut(by_node.clone(), least(&talk))),
            kept(cut(by_node.clone(), least(&talk) - 1), Verdict::PassIcmp).by_nodes(),
            kept(living(by_node, 1), Verdict::PassTtl).by_nodes(),
        ],
    )
}

fn not_ours(talk: Talk) -> Story {
    let vip = talk.redirect.vip;
    let other_port = error(talk.client, vip, &talk.at(22).seen_answer());
    // Somebody is told of a packet that he has not sent.
    let to_other = error(talk.client, talk.node_address(1), &talk.seen_answer());
    story(
        format!(
            "an error about something else is let pass, redirect {}",
            talk.redirect.number
        ),
        vec![
            kept(other_port, Verdict::PassIcmp),
            kept(to_other, Verdict::PassIcmp),
            forwarded(&talk, 1, error(talk.client, vip, &talk.seen_answer())),
        ],
    )
}

fn where_it_lives(number: u16) -> Story {
    let about = |talk: &Talk| error(talk.client, talk.redirect.vip, &talk.seen_answer());
    let (split, dead, none) = (
        Talk::of(number, FIRST_WAS_SECOND),
        Talk::of(number, THIRD_WAS_DEAD),
        Talk::of(number, ON_NOTHING),
    );
    let speaks = sent(split.answer(3, ACK), Verdict::Reply, Claim::Client);
    story(
        format!("an error goes where a packet of its connection would, redirect {number}"),
        vec![
            forwarded(&split, 2, about(&split)),
            speaks.by_nodes().counting(Event::FlowLearned),
            forwarded(&split, 3, about(&split)),
            // Not to the dead node, which would hear nothing.
            forwarded(&dead, 3, about(&dead)),
            kept(about(&none), Verdict::DropNoBackend),
        ],
    )
}

fn other_messages(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let of_kind = |kind| {
        let frame = error(talk.client, talk.redirect.vip, &talk.seen_answer());
        but(frame, |frame| {
            if let Body::Icmp(icmp) = &mut frame.body {
                (icmp.kind, icmp.code) = (kind, 0);
            }
        })
    };
    let (errors, others): (&[u8], &[u8]) = if talk.client.is_ipv4() {
        (&[3, 4, 11, 12], &[0, 5, 8, 13])
    } else {
        (&[1, 2, 3, 4], &[0, 5, 36, 128, 129, 135])
    };
    let mut scenes: Vec<Scene> = errors
        .iter()
        .map(|kind| forwarded(&talk, 1, of_kind(*kind)))
        .collect();
    scenes.extend(
        others
            .iter()
            .map(|kind| kept(of_kind(*kind), Verdict::PassIcmp)),
    );
    story(
        format!("only errors of known types are translated, redirect {number}"),
        scenes,
    )
}

fn routed() -> Story {
    let talk = Talk::of(ROUTED, ON_FIRST);
    let about = error(talk.client, talk.redirect.vip, &talk.seen_answer());
    story(
        "an error about a routed answer stays as it is",
        vec![
            forwarded(&talk, 1, about.clone()),
            forwarded(&talk, 1, living(about, 1)),
        ],
    )
}

/// The quoted packet ends before its checksum, and something else follows.
fn shorter_inside() -> Story {
    let talk = Talk::of(TCP4, ON_FIRST);
    let frame = error(talk.client, talk.redirect.vip, &talk.seen_answer());
    let frame = but(frame, |frame| {
        if let Body::Icmp(icmp) = &mut frame.body {
            icmp.data[2..4].copy_from_slice(&28_u16.to_be_bytes());
        }
    });
    story(
        "bytes behind a quoted packet are no checksum of it",
        vec![forwarded(&talk, 1, frame)],
    )
}

fn to_relay() -> Story {
    let talk = Talk::of(TCP4, ON_FIRST).by(RELAY);
    let about = error(talk.node_address(1), talk.client, &talk.seen_request());
    story(
        "an error about the relay's own packet is the relay's",
        vec![kept(about, Verdict::PassToRelay).by_nodes()],
    )
}
