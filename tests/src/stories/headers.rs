//! Tags, options, extension headers, time to live.

use redirector_common::verdict::Verdict;

use super::{
    story::{Story, kept, sent, story},
    talk::{
        ACK, TRANSLATED, Talk, but, living, slot::ON_FIRST, with_more_headers, with_source_route,
    },
};
use crate::{
    oracle::Claim,
    packets::{Body, Extension, Frame, Ip, SERVICE_TAG, TAG},
};

pub(super) fn stories() -> Vec<Story> {
    let translated = TRANSLATED.into_iter().flat_map(|number| {
        let talk = Talk::of(number, ON_FIRST);
        [tags(talk), more_headers(talk), hops(talk), malformed(talk)]
    });
    translated.chain(others()).collect()
}

/// A change of a frame, and the verdict on the changed one; none when it is sent.
type Change<'a> = (&'a dyn Fn(Frame) -> Frame, Option<Verdict>);

/// The story of a packet there and one back, both changed alike.
fn both_ways(name: &str, talk: Talk, changes: &[Change]) -> Story {
    let mut scenes = Vec::new();
    for (change, verdict) in changes {
        let request = change(talk.request(ACK));
        let answer = change(talk.answer(1, ACK));
        match verdict {
            None => {
                let node = Claim::Recorded(talk.node(1));
                scenes.push(sent(request, Verdict::ForwardSettled, node));
                scenes.push(sent(answer, Verdict::Reply, Claim::Client).by_nodes());
            }
            Some(verdict) => {
                scenes.push(kept(request, *verdict));
                scenes.push(kept(answer, *verdict).by_nodes());
            }
        }
    }
    story(format!("{name}, redirect {}", talk.redirect.number), scenes)
}

fn tags(talk: Talk) -> Story {
    let with = |tags: &'static [[u8; 4]]| {
        move |frame| but(frame, |frame: &mut Frame| frame.tags = tags.to_vec())
    };
    both_ways(
        "up to two tags are looked through, a third is not",
        talk,
        &[
            (&with(&[]), None),
            (&with(&[TAG]), None),
            (&with(&[SERVICE_TAG, TAG]), None),
            (&with(&[SERVICE_TAG, TAG, TAG]), Some(Verdict::PassVlan)),
        ],
    )
}

fn more_headers(talk: Talk) -> Story {
    both_ways(
        "options and extension headers are looked through unless they name the way",
        talk,
        &[
            (&with_more_headers, None),
            (&with_source_route, Some(Verdict::PassSourceRoute)),
        ],
    )
}

fn hops(talk: Talk) -> Story {
    both_ways(
        "a packet that would not live on is the kernel's",
        talk,
        &[
            (&|frame| living(frame, 2), None),
            (&|frame| living(frame, 1), Some(Verdict::PassTtl)),
            (&|frame| living(frame, 0), Some(Verdict::PassTtl)),
        ],
    )
}

fn malformed(talk: Talk) -> Story {
    both_ways(
        "a packet whose transport header does not fit in is malformed",
        talk,
        &[(
            &|frame: Frame| {
                let protocol = match frame.body {
                    Body::Udp(_) => 17,
                    Body::Tcp(_) | Body::Icmp(_) | Body::Bytes(..) => 6,
                };
                but(frame, |frame| {
                    frame.body = Body::Bytes(protocol, vec![0; 7]);
                })
            },
            Some(Verdict::PassMalformed),
        )],
    )
}

/// What has no other protocol or family.
fn others() -> Vec<Story> {
    let [v4, v6] = [TRANSLATED[0], TRANSLATED[2]].map(|number| Talk::of(number, ON_FIRST));
    let to_node = |talk: &Talk, frame| {
        let node = Claim::Recorded(talk.node(1));
        sent(frame, Verdict::ForwardSettled, node)
    };
    let extensions = |count| {
        but(v6.request(ACK), |frame| {
            if let Ip::V6(ip) = &mut frame.ip {
                ip.extensions = vec![Extension::DestinationOptions(6); count];
            }
        })
    };
    let carrying = |talk: &Talk, protocol| {
        but(talk.request(ACK), |frame| {
            frame.body = Body::Bytes(protocol, vec![0; 32]);
        })
    };
    let mut other_type = v4.request(ACK).build();
    other_type[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut other_version = v6.request(ACK).build();
    other_version[14] = 0x45;
    vec![
        story(
            "six extension headers are looked through and seven are not",
            vec![
                to_node(&v6, extensions(6)),
                kept(extensions(7), Verdict::PassExtensionHeaders),
            ],
        ),
        story(
            "another protocol is left alone, the other family's ICMP among them",
            vec![
                kept(carrying(&v4, 47), Verdict::PassProtocol),
                kept(carrying(&v4, 58), Verdict::PassProtocol),
                kept(carrying(&v6, 50), Verdict::PassProtocol),
                kept(carrying(&v6, 59), Verdict::PassProtocol),
                kept(carrying(&v6, 1), Verdict::PassProtocol),
            ],
        ),
        story(
            "another Ethernet type is left alone, and a version that is not its own",
            vec![
                kept(other_type, Verdict::PassNotIp),
                kept(other_version, Verdict::PassMalformed),
                to_node(&v6, v6.request(ACK)),
            ],
        ),
    ]
}
