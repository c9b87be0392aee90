//! Answers to packets that are too big for their way: right ones written down by hand, and one mistake each.

use super::by_hand::{CLIENT, CLIENT6, VIP, VIP6, frame, ip};
use crate::{
    oracle::{Claim, Judge, World},
    packets::{Body, Frame, Icmp, Ip, Tcp},
};

/// A segment that does not fit the way to the second node, whose MTU is 600, or 1,280 in IPv6.
fn too_big(v6: bool) -> Frame {
    let ip = if v6 {
        ip(CLIENT6, VIP6, 64)
    } else {
        ip(CLIENT, VIP, 64)
    };
    frame(
        ip,
        Body::Tcp(Tcp {
            payload: vec![0x5a; if v6 { 1300 } else { 800 }],
            ..Tcp::default()
        }),
    )
}

/// The answer, so many bytes of the packet quoted, its frame going back where the packet came from.
fn answer(about: &Frame, quoted: usize, message: &Icmp) -> Vec<u8> {
    let v6 = matches!(about.ip, Ip::V6(_));
    let ip = if v6 {
        ip(VIP6, CLIENT6, 64)
    } else {
        ip(VIP, CLIENT, 64)
    };
    let mut bytes = Frame {
        tags: about.tags.clone(),
        ..frame(
            ip,
            Body::Icmp(Icmp {
                data: about.packet()[..quoted].to_vec(),
                ..message.clone()
            }),
        )
    }
    .build();
    bytes[..12].rotate_left(6);
    bytes
}

fn needed(v6: bool) -> Icmp {
    let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
    Icmp {
        kind,
        code,
        rest: [0, 0, if v6 { 5 } else { 2 }, if v6 { 0 } else { 0x58 }],
        ..Icmp::default()
    }
}

fn judged(about: &Frame, answer: &[u8]) -> Result<(), String> {
    let node = if matches!(about.ip, Ip::V6(_)) { 24 } else { 2 };
    Judge::new(World::of_whole_fixture()).judge_sent(
        &about.build(),
        Claim::TooBigForNode(node),
        |_, _| (0, 0),
        (answer, 0),
    )
}

#[test]
fn a_right_answer_is_found_right_whatever_it_quotes() {
    for (v6, shortest, longest) in [(false, 28, 548), (true, 48, 1232)] {
        let about = too_big(v6);
        for quoted in [shortest, shortest + 1, longest] {
            let answer = answer(&about, quoted, &needed(v6));
            assert_eq!(judged(&about, &answer), Ok(()), "{quoted}");
        }
    }
}

#[test]
fn an_answer_keeps_the_tags_of_what_it_is_about() {
    let about = Frame {
        tags: vec![crate::packets::TAG],
        ..too_big(false)
    };
    let right = answer(&about, 100, &needed(false));
    assert_eq!(judged(&about, &right), Ok(()));
    let untagged = answer(&too_big(false), 100, &needed(false));
    let complaint = judged(&about, &untagged).expect_err("it has no tag");
    assert!(complaint.contains("VLAN tag"), "{complaint}");
}

#[test]
fn a_quotation_that_is_too_short_or_too_long_is_caught() {
    for (v6, quoted) in [(false, 27), (false, 549), (true, 47), (true, 1233)] {
        let about = too_big(v6);
        let answer = answer(&about, quoted, &needed(v6));
        let complaint = judged(&about, &answer).expect_err("it is wrong");
        assert!(complaint.contains("quotation's length"), "{complaint}");
    }
}

#[test]
fn another_mtu_type_or_code_is_caught() {
    let wrong: [(&str, Icmp); 3] = [
        (
            "MTU",
            Icmp {
                rest: [0, 0, 5, 0xdc],
                ..needed(false)
            },
        ),
        (
            "type or code",
            Icmp {
                kind: 11,
                ..needed(false)
            },
        ),
        (
            "type or code",
            Icmp {
                code: 3,
                ..needed(false)
            },
        ),
    ];
    let about = too_big(false);
    for (field, message) in wrong {
        let complaint = judged(&about, &answer(&about, 100, &message)).expect_err("it is wrong");
        assert!(complaint.contains(field), "{complaint}");
    }
}

#[test]
fn a_bit_of_an_answer_that_is_another_is_caught_unless_it_is_the_answerers_choice() {
    for v6 in [false, true] {
        let about = too_big(v6);
        let right = answer(&about, 100, &needed(v6));
        let mut missed = Vec::new();
        for bit in 0..right.len() * 8 {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            if judged(&about, &wrong).is_ok() {
                missed.push(bit / 8);
            }
        }
        // In IPv6 no checksum covers traffic class, flow label and hop limit.
        let free: &[usize] = if v6 { &[14, 15, 16, 17, 21] } else { &[] };
        assert!(missed.iter().all(|at| free.contains(at)), "{missed:?}");
    }
}

#[test]
fn an_answer_to_what_fits_or_may_be_fragmented_is_caught() {
    let mut fits = too_big(false);
    fits.body = Body::default();
    let complaint = judged(&fits, &answer(&fits, 28, &needed(false))).expect_err("it fits");
    assert!(complaint.contains("fit a way"), "{complaint}");
    let mut fragmentable = too_big(false);
    if let Ip::V4(ip) = &mut fragmentable.ip {
        ip.fragment = 0;
    }
    let wrong = answer(&fragmentable, 28, &needed(false));
    let complaint = judged(&fragmentable, &wrong).expect_err("it may be fragmented");
    assert!(complaint.contains("fragment"), "{complaint}");
}

#[test]
fn a_packet_that_does_not_fit_and_is_sent_nevertheless_is_caught() {
    let about = too_big(false);
    let complaint = World::of_whole_fixture()
        .sent(&about.build(), Claim::Recorded(2), |_, _| (0, 0))
        .expect_err("it does not fit");
    assert!(complaint.contains("do not fit"), "{complaint}");
    let elsewhere =
        World::of_whole_fixture().sent(&about.build(), Claim::Recorded(1), |_, _| (0, 0));
    assert!(elsewhere.is_ok(), "the twin: {elsewhere:?}");
}
