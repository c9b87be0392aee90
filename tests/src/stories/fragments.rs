//! Datagrams in pieces, both ways.

use redirector_common::verdict::Verdict;

use super::{
    story::{Scene, Story, kept, sent, story},
    talk::{
        ACK, TRANSLATED, Talk, living,
        redirect::{ROUTED, TCP4, TCP6},
        slot::ON_FIRST,
    },
};
use crate::{
    oracle::Claim,
    packets::{Body, Frame, Icmp, Ip},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all = Vec::new();
    for number in TRANSLATED {
        let talk = Talk::of(number, ON_FIRST);
        all.extend([to_node(talk), to_client(talk), passed(talk), expiring(talk)]);
    }
    all.push(to_node(Talk::of(ROUTED, ON_FIRST)));
    all.extend([TCP4, TCP6].map(|number| of_icmp(Talk::of(number, ON_FIRST))));
    all.push(foreign());
    all
}

fn pieces(frame: &Frame) -> Vec<Vec<u8>> {
    frame.fragments(24, 7)
}

fn to_node(talk: Talk) -> Story {
    let pieces = pieces(&talk.request(ACK));
    let orphan = kept(pieces[1].clone(), Verdict::DropFragment);
    let node = Claim::Recorded(talk.node(1));
    let mut scenes = vec![
        orphan,
        sent(pieces[0].clone(), Verdict::ForwardSettled, node),
    ];
    scenes.extend(
        pieces[1..]
            .iter()
            .map(|piece| sent(piece.clone(), Verdict::ForwardFragment, Claim::AfterFirst)),
    );
    story(
        format!(
            "later fragments go where the first went, redirect {}",
            talk.redirect.number
        ),
        scenes,
    )
}

fn to_client(talk: Talk) -> Story {
    let pieces = pieces(&talk.answer(1, ACK));
    let orphan = kept(pieces[1].clone(), Verdict::DropFragment);
    let mut scenes = vec![
        orphan.by_nodes(),
        sent(pieces[0].clone(), Verdict::Reply, Claim::Client).by_nodes(),
    ];
    scenes.extend(pieces[1..].iter().map(|piece| {
        sent(
            piece.clone(),
            Verdict::ReplyFragment,
            Claim::ClientAfterFirst,
        )
        .by_nodes()
    }));
    story(
        format!(
            "later fragments of an answer come from the VIP as well, redirect {}",
            talk.redirect.number
        ),
        scenes,
    )
}

fn all_passed(pieces: &[Vec<u8>], first: Verdict) -> Vec<Scene> {
    let verdicts = std::iter::once(first).chain(std::iter::repeat(Verdict::PassFragment));
    pieces
        .iter()
        .zip(verdicts)
        .map(|(piece, verdict)| kept(piece.clone(), verdict))
        .collect()
}

fn passed(talk: Talk) -> Story {
    let other_port = talk.at(22).request(ACK);
    story(
        format!(
            "what follows a first fragment that was passed is passed, redirect {}",
            talk.redirect.number
        ),
        all_passed(&pieces(&other_port), Verdict::PassNotOurs),
    )
}

fn expiring(talk: Talk) -> Story {
    let first = pieces(&talk.request(ACK)).swap_remove(0);
    let second = pieces(&living(talk.request(ACK), 1)).swap_remove(1);
    let node = Claim::Recorded(talk.node(1));
    story(
        format!(
            "a later fragment that would not live on is the kernel's, redirect {}",
            talk.redirect.number
        ),
        vec![
            sent(first, Verdict::ForwardSettled, node),
            kept(second, Verdict::PassTtl),
        ],
    )
}

fn of_icmp(talk: Talk) -> Story {
    let echo = Frame {
        ip: Ip::between(talk.client, talk.redirect.vip),
        body: Body::Icmp(Icmp {
            kind: if talk.client.is_ipv4() { 8 } else { 128 },
            data: vec![0x61; 64],
            ..Icmp::default()
        }),
        ..Frame::default()
    };
    story(
        format!(
            "an echo in pieces is let pass, redirect {}",
            talk.redirect.number
        ),
        all_passed(&pieces(&echo), Verdict::PassIcmp),
    )
}

fn foreign() -> Story {
    let to_stranger = |talk: Talk, to: &str| {
        let mut frame = talk.request(ACK);
        frame.ip = Ip::between(talk.client, to.parse().expect("an address"));
        pieces(&frame).swap_remove(1)
    };
    let v4 = to_stranger(Talk::of(TCP4, ON_FIRST), "192.0.2.80");
    let v6 = to_stranger(Talk::of(TCP6, ON_FIRST), "2001:db8:77::80");
    story(
        "a later fragment of strangers is let pass",
        vec![
            kept(v4, Verdict::PassFragment),
            kept(v6, Verdict::PassFragment),
        ],
    )
}
