//! To a node and back as from an echo: what the client gets is what it sent, its ends exchanged, but for the link layer, two
//! hops and the checksum that covers them.

use redirector_common::verdict::Verdict;
use redirector_tests::{
    fixture::{self, CLIENT_IFINDEX, NODE_IFINDEX},
    generate::{self, Generator, Step},
    on_host::process_on_host,
    oracle::{Kind, World},
};

/// Offsets of the IP header, of the addresses and their length, and of the ports.
struct Places {
    ip: usize,
    addresses: usize,
    length: usize,
    ports: usize,
}

impl Places {
    /// Those of a packet without options or extension headers, behind any tags.
    fn of(frame: &[u8]) -> Option<Self> {
        let mut kind = 12;
        while matches!(frame[kind..kind + 2], [0x81, 0x00] | [0x88, 0xa8]) {
            kind += 4;
        }
        let ip = kind + 2;
        match (&frame[kind..ip], frame[ip], frame[ip + 6]) {
            ([0x08, 0x00], 0x45, _) => Some(Self {
                ip,
                addresses: ip + 12,
                length: 4,
                ports: ip + 20,
            }),
            ([0x86, 0xdd], _, 6 | 17) => Some(Self {
                ip,
                addresses: ip + 8,
                length: 16,
                ports: ip + 40,
            }),
            _ => None,
        }
    }
}

/// The same packet on its way back.
fn turned(frame: &[u8]) -> Option<Vec<u8>> {
    let places = Places::of(frame)?;
    let mut turned = frame.to_vec();
    turned[places.addresses..places.addresses + 2 * places.length].rotate_left(places.length);
    turned[places.ports..places.ports + 4].rotate_left(2);
    Some(turned)
}

/// The frame without what changes on its way.
fn lasting(mut frame: Vec<u8>) -> Vec<u8> {
    let places = Places::of(&frame).expect("it was read before");
    frame[..12].fill(0);
    if places.length == 4 {
        frame[places.ip + 8] = 0;
        frame[places.ip + 10..places.ip + 12].fill(0);
    } else {
        frame[places.ip + 7] = 0;
    }
    frame
}

#[test]
fn what_comes_back_from_an_echo_is_what_was_sent() {
    let world = World::of_fixture();
    let mut tables = fixture::host_tables();
    // So that a partial checksum is one on its way back as well.
    tables.generic = true;
    let mut generator = Generator::new(generate::seed());
    let mut both_ways = 0;
    for _ in 0..generate::frames(60_000) {
        let Step::Frame { frame, .. } = generator.step() else {
            continue;
        };
        if !matches!(world.kind(&frame), Kind::ToVip(_)) {
            continue;
        }
        let Some(expected) = turned(&frame) else {
            continue;
        };
        tables.ingress = CLIENT_IFINDEX;
        let (there, at_node) = process_on_host(&frame, &tables);
        let is_nat = at_node[..] != frame[..] && lasting(at_node.clone()) != lasting(frame.clone());
        if there.verdict != Verdict::ForwardSettled || !is_nat {
            continue;
        }
        let echo = turned(&at_node).expect("it was read before");
        tables.ingress = NODE_IFINDEX;
        let (back, at_client) = process_on_host(&echo, &tables);
        if back.verdict != Verdict::Reply {
            // Its life ends at the second hop, the way back is not known, or a SYN comes from a node.
            continue;
        }
        both_ways += 1;
        assert_eq!(lasting(at_client), lasting(expected), "{frame:02x?}");
    }
    assert!(both_ways > 500, "only {both_ways}");
}
