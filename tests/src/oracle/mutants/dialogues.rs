//! SOCKS dialogues: which bytes of which segment are replaced.

use super::by_hand::{CLIENT, for_client, frame, ip};
use crate::{
    fixture::CLIENT_IFINDEX,
    oracle::{Associations, Claim, Judge, Replaced, World},
    packets::{Body, Frame, Tcp},
};

/// The VIP, listener and first node of the redirect whose associations go by way of the VIP.
const VIP: &str = "10.0.0.6";
const LISTENER: u16 = 9;
const NODE: &str = "10.0.1.40";

/// Where data begin in the frames of [`said`].
const DATA: usize = 54;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A segment of the client's or of the node's, the sequence number counted from its SYN.
fn said(of_client: bool, flags: u8, sequence: u32, payload: &[u8]) -> Frame {
    let first: u32 = u32::MAX - 3;
    let (ip, source, destination) = if of_client {
        (ip(CLIENT, VIP, 64), 40_000, 1080)
    } else {
        (ip(NODE, CLIENT, 64), 1088, 40_000)
    };
    frame(
        ip,
        Body::Tcp(Tcp {
            source,
            destination,
            flags,
            sequence: first.wrapping_add(sequence),
            acknowledgement: first.wrapping_add(if of_client { 1 } else { acknowledged(sequence) }),
            payload: payload.to_vec(),
            ..Tcp::default()
        }),
    )
}

/// What the node has received when it says its byte of this number: a SYN, or all of the dialogue.
const fn acknowledged(sequence: u32) -> u32 {
    if sequence == 0 { 1 } else { 14 }
}

/// What is replaced in each frame of a dialogue.
fn replaced(dialogue: &[Frame]) -> Vec<Option<Replaced>> {
    let world = World::of_fixture();
    let mut associations = Associations::default();
    dialogue
        .iter()
        .map(|frame| associations.observe(&world, &frame.build(), LISTENER))
        .collect()
}

/// A dialogue without a password, with this command and this answer.
fn dialogue(command: u8, answer: &[u8]) -> Vec<Frame> {
    vec![
        said(true, SYN, 0, &[]),
        said(false, SYN | ACK, 0, &[]),
        said(true, ACK, 1, &[5, 1, 0]),
        said(false, ACK, 1, &[5, 0]),
        said(true, ACK, 4, &[5, command, 0, 1, 0, 0, 0, 0, 0, 0]),
        said(false, ACK, 3, answer),
    ]
}

const OWN: [u8; 10] = [5, 0, 0, 1, 10, 0, 1, 40, 0x9c, 0xbb];

fn the_vip(at: usize) -> Replaced {
    Replaced {
        at,
        bytes: vec![10, 0, 0, 6],
    }
}

#[test]
fn the_nodes_own_address_becomes_the_vip_and_so_does_none() {
    let none = [5, 0, 0, 1, 0, 0, 0, 0, 0x9c, 0xbb];
    for answer in [OWN, none] {
        let all = replaced(&dialogue(3, &answer));
        assert_eq!(all[5], Some(the_vip(DATA + 4)));
        assert!(all[..5].iter().all(Option::is_none));
    }
}

#[test]
fn another_address_command_or_result_is_left_alone() {
    let other = [5, 0, 0, 1, 10, 0, 1, 41, 0x9c, 0xbb];
    let refused = [5, 7, 0, 1, 10, 0, 1, 40, 0x9c, 0xbb];
    let name = [5, 0, 0, 3, 10, 0, 1, 40, 0x9c, 0xbb];
    for (command, answer) in [(1, OWN), (2, OWN), (3, other), (3, refused), (3, name)] {
        let all = replaced(&dialogue(command, &answer));
        assert!(all.iter().all(Option::is_none), "{command} {answer:?}");
    }
}

#[test]
fn a_retransmission_is_treated_like_the_first() {
    let mut frames = dialogue(3, &OWN);
    frames.push(said(false, ACK, 3, &OWN));
    // With the method before it, as a node does that was not acknowledged.
    frames.push(said(false, ACK, 1, &[&[5, 0], &OWN[..]].concat()));
    let all = replaced(&frames);
    assert_eq!(all[6], Some(the_vip(DATA + 4)));
    assert_eq!(all[7], Some(the_vip(DATA + 6)));
}

#[test]
fn an_answer_that_lies_in_two_segments_is_left_alone() {
    for cut in 1..OWN.len() {
        let mut frames = dialogue(3, &OWN[..cut]);
        let at = 3 + u32::try_from(cut).expect("it is short");
        frames.push(said(false, ACK, at, &OWN[cut..]));
        let all = replaced(&frames);
        assert!(all.iter().all(Option::is_none), "cut at {cut}");
    }
}

#[test]
fn a_client_that_speaks_byte_by_byte_is_understood() {
    let asked = [&[5, 1, 0][..], &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    let mut frames = vec![said(false, SYN | ACK, 0, &[])];
    for (at, byte) in (1..).zip(asked) {
        frames.push(said(true, ACK, at, &[byte]));
    }
    frames.push(said(false, ACK, 1, &[&[5, 0], &OWN[..]].concat()));
    let last = replaced(&frames).pop().expect("there are frames");
    assert_eq!(last, Some(the_vip(DATA + 6)));
}

#[test]
fn a_client_of_whom_a_byte_is_missing_is_not_followed() {
    let mut frames = dialogue(3, &OWN);
    frames.remove(2);
    assert!(replaced(&frames).iter().all(Option::is_none));
}

#[test]
fn nothing_is_replaced_when_the_association_is_closed() {
    for (of_client, flags, sequence, closes) in [
        (false, FIN | ACK, 13, true),
        (false, RST, 13, true),
        (true, RST, 14, true),
        (true, RST, 15, false),
        (true, FIN | ACK, 14, false),
    ] {
        let mut frames = dialogue(3, &OWN);
        frames.push(said(of_client, flags, sequence, &[]));
        frames.push(said(false, ACK, 3, &OWN));
        let last = replaced(&frames).pop().expect("there are frames");
        assert_eq!(last.is_none(), closes, "{of_client} {flags} {sequence}");
    }
}

#[test]
fn a_password_and_a_client_that_does_not_wait_make_no_difference() {
    let asked = [
        &[5, 2, 0, 2][..],
        &[1, 2, b'm', b'e', 3, b'a', b'b', b'c'],
        &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let frames = [
        said(true, SYN, 0, &[]),
        said(false, SYN | ACK, 0, &[]),
        said(true, ACK, 1, &asked),
        said(false, ACK, 1, &[5, 2]),
        said(false, ACK, 3, &[1, 0]),
        said(false, ACK, 5, &OWN),
    ];
    assert_eq!(replaced(&frames)[5], Some(the_vip(DATA + 4)));
}

#[test]
fn a_judge_who_follows_associations_wants_the_vip_in_the_reply_and_a_checksum_that_fits() {
    let reply = |from: &str, to: &str, hops, source, address: &[u8]| {
        let payload = [&[5, 0, 0, 1][..], address, &[0x9c, 0xbb]].concat();
        frame(
            ip(from, to, hops),
            Body::Tcp(Tcp {
                source,
                destination: 40_000,
                flags: ACK,
                sequence: u32::MAX,
                payload,
                ..Tcp::default()
            }),
        )
        .build()
    };
    let input = reply(NODE, CLIENT, 64, 1088, &[10, 0, 1, 40]);
    let replaced = for_client(reply(VIP, CLIENT, 63, 1080, &[10, 0, 0, 6]));
    let kept = for_client(reply(VIP, CLIENT, 63, 1080, &[10, 0, 1, 40]));
    let mut judge = Judge::new(World::of_fixture()).following_associations();
    for said in &dialogue(3, &OWN)[..5] {
        // Whatever becomes of it: it has been seen.
        let frame = said.build();
        let claim = if frame[29] == 7 {
            Claim::Recorded(33)
        } else {
            Claim::Client
        };
        let _ = judge.judge_sent(&frame, claim, |_, _| (0, 0), (&frame, 0));
    }
    let mut judged = |output: &[u8]| {
        judge.judge_sent(
            &input,
            Claim::Client,
            |_, _| (0, 0),
            (output, CLIENT_IFINDEX),
        )
    };
    assert_eq!(judged(&replaced), Ok(()));
    let complaint = judged(&kept).expect_err("the node's own address");
    assert!(complaint.contains("TCP checksum"), "{complaint}");
    let mut stale = replaced.clone();
    stale[50..52].copy_from_slice(&kept[50..52]);
    let complaint = judged(&stale).expect_err("the checksum is the old address's");
    assert!(complaint.contains("TCP checksum"), "{complaint}");
}
