//! Answers to packets that no node takes: right ones written down by hand, and one mistake each.

use super::by_hand::{CLIENT, CLIENT6, VIP, VIP6, frame, ip};
use crate::{
    oracle::{Claim, Judge, World},
    packets::{Body, Frame, Icmp, Tcp, Udp},
};

fn judged(about: &Frame, answer: &[u8]) -> Result<(), String> {
    Judge::new(World::of_whole_fixture()).judge_sent(
        &about.build(),
        Claim::Refused,
        |_, _| (0, 0),
        (answer, 0),
    )
}

fn between(v6: bool, body: Body) -> Frame {
    let ip = if v6 {
        ip(CLIENT6, VIP6, 64)
    } else {
        ip(CLIENT, VIP, 64)
    };
    frame(ip, body)
}

/// A frame back where the packet came from.
fn back(v6: bool, body: Body) -> Vec<u8> {
    let ip = if v6 {
        ip(VIP6, CLIENT6, 64)
    } else {
        ip(VIP, CLIENT, 64)
    };
    let mut bytes = frame(ip, body).build();
    bytes[..12].rotate_left(6);
    bytes
}

fn syn() -> Tcp {
    Tcp {
        source: 40_000,
        destination: 1080,
        flags: 2,
        sequence: 1000,
        acknowledgement: 0,
        payload: vec![1, 2, 3],
        ..Tcp::default()
    }
}

/// The SYN and three bytes are acknowledged.
fn reset() -> Tcp {
    Tcp {
        source: 1080,
        destination: 40_000,
        flags: 0x14,
        sequence: 0,
        acknowledgement: 1004,
        payload: Vec::new(),
        ..Tcp::default()
    }
}

fn datagram() -> Body {
    Body::Udp(Udp {
        source: 40_000,
        destination: 1080,
        payload: vec![7; 40],
        ..Udp::default()
    })
}

#[test]
fn right_answers_are_found_right() {
    for v6 in [false, true] {
        let answer = back(v6, Body::Tcp(reset()));
        assert_eq!(judged(&between(v6, Body::Tcp(syn())), &answer), Ok(()));
        let established = Tcp {
            flags: 0x10,
            acknowledgement: 77,
            ..syn()
        };
        let answer = Tcp {
            flags: 4,
            sequence: 77,
            acknowledgement: 0,
            ..reset()
        };
        let answer = back(v6, Body::Tcp(answer));
        assert_eq!(
            judged(&between(v6, Body::Tcp(established)), &answer),
            Ok(())
        );
        let about = between(v6, datagram());
        let answer = back(v6, Body::Icmp(Icmp::port_unreachable(&about.packet())));
        assert_eq!(judged(&about, &answer), Ok(()));
    }
}

#[test]
fn a_bit_of_an_answer_that_is_another_is_caught_unless_it_is_the_answerers_choice() {
    for v6 in [false, true] {
        let about = between(v6, datagram());
        let unreachable = Body::Icmp(Icmp::port_unreachable(&about.packet()));
        for (about, body) in [
            (between(v6, Body::Tcp(syn())), Body::Tcp(reset())),
            (about, unreachable),
        ] {
            let right = back(v6, body);
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
}

#[test]
fn a_reset_with_another_number_flag_or_port_is_caught() {
    let wrong: [(&str, Tcp); 4] = [
        (
            "acknowledgement number",
            Tcp {
                acknowledgement: 1001,
                ..reset()
            },
        ),
        (
            "sequence number",
            Tcp {
                sequence: 1,
                ..reset()
            },
        ),
        (
            "a flag",
            Tcp {
                flags: 4,
                ..reset()
            },
        ),
        (
            "a port",
            Tcp {
                source: 1081,
                ..reset()
            },
        ),
    ];
    for (field, tcp) in wrong {
        let answer = back(false, Body::Tcp(tcp));
        let complaint =
            judged(&between(false, Body::Tcp(syn())), &answer).expect_err("it is wrong");
        assert!(complaint.contains(field), "{complaint}");
    }
}

#[test]
fn an_answer_to_a_reset_is_caught() {
    let about = Tcp { flags: 4, ..syn() };
    let answer = back(false, Body::Tcp(reset()));
    let complaint = judged(&between(false, Body::Tcp(about)), &answer).expect_err("it is wrong");
    assert!(complaint.contains("reset was answered"), "{complaint}");
}
