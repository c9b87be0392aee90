//! What holds for any frame whatsoever, on the host.

use std::ops::Range;

use proptest::prelude::*;
use redirector_common::{
    Outcome,
    abi::{
        BACKEND_DEAD, Backend, Endpoint, NextHop, SLOT_SPLIT, SLOTS, Slot, SlotTable, TRIE_LOCAL,
    },
    host::{HostTables, SliceFrame},
    process,
    verdict::{Action, Verdict},
    wire::protocol,
};

const VIP: ([u8; 4], u16) = ([10, 0, 0, 1], 1080);
const NODES: [([u8; 4], u16); 3] = [
    ([10, 0, 1, 2], 1080),
    ([10, 0, 1, 3], 1088),
    ([172, 31, 255, 254], 65_535),
];

const MACS: Range<usize> = 0..12;
const TTL: usize = 22;
const IP_CHECKSUM: Range<usize> = 24..26;
const SOURCE: Range<usize> = 26..30;
const DESTINATION: Range<usize> = 30..34;
const SOURCE_PORT: Range<usize> = 34..36;
const DESTINATION_PORT: Range<usize> = 36..38;
const TCP_CHECKSUM: Range<usize> = 50..52;

fn hop(last: u8, ifindex: u32) -> NextHop {
    NextHop {
        destination: [2, 0, 0, 0, 1, last],
        source: [2, 0, 0, 0, 0, last],
        ifindex,
        mtu: 0,
        reserved: [0; 3],
    }
}

/// Three nodes, the third dead; slots of all kinds; 10.x.x.x is the relay's own.
fn tables() -> HostTables {
    let mut tables = HostTables::default();
    tables.add_endpoint(
        VIP.0,
        VIP.1,
        protocol::TCP,
        Endpoint::listener(VIP.0.into(), VIP.1, 0, 1, 0),
    );
    for (id, node) in (1_u16..).zip(NODES) {
        let mut backend = Backend::new(node.0.into(), node.1).via(hop(node.0[3], 7));
        if id == 3 {
            backend.flags |= BACKEND_DEAD;
        }
        tables.add_endpoint(
            node.0,
            node.1,
            protocol::TCP,
            Endpoint::node(&backend, id, VIP.0.into(), VIP.1, 0, 1, 0),
        );
        tables.backends.insert(id, backend);
    }
    let mut table: Box<SlotTable> = bytemuck::zeroed_box();
    table.key = [1, 2];
    for index in 0..SLOTS {
        table.slots[index] = match index % 6 {
            0 => Slot::settled_on(1),
            1 => Slot::settled_on(2),
            2 => Slot::settled_on(3),
            3 => Slot::default(),
            4 => Slot {
                now: 1,
                was: 2 | SLOT_SPLIT,
            },
            _ => Slot {
                now: 4,
                was: 3 | SLOT_SPLIT,
            },
        };
        table.split_slots += u32::from(table.slots[index].is_split());
    }
    tables.slot_tables.insert(0, table);
    tables.route_all_via(hop(9, 8));
    tables.ipv4.return_root.entries[10 << 8..11 << 8].fill(TRIE_LOCAL);
    tables
}

fn run(frame: &mut [u8], tables: &HostTables) -> Outcome {
    process(&mut SliceFrame::new(frame), tables)
}

/// The checksum of RFC 1071 over `parts`, all but the last of even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum: u64 = parts
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

/// A TCP frame with right checksums.
fn frame(
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    ttl: u8,
    flags: u8,
    numbers: [u8; 8],
    payload: &[u8],
) -> Vec<u8> {
    let segment = u16::try_from(20 + payload.len()).expect("a small packet");
    let mut frame = vec![0x02; 12];
    frame.extend([0x08, 0x00, 0x45, 0x10]);
    frame.extend((segment + 20).to_be_bytes());
    frame.extend([0xbe, 0xef, 0x40, 0x00, ttl, 6, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend(numbers);
    frame.extend([0x50, flags, 0x20, 0x00, 0, 0, 0, 0]);
    frame.extend(payload);
    let sum = checksum(&[&frame[14..34]]);
    frame[IP_CHECKSUM].copy_from_slice(&sum);
    let sum = tcp_checksum(&frame);
    frame[TCP_CHECKSUM].copy_from_slice(&sum);
    frame
}

/// What makes the TCP checksum of a frame without padding right, if it is 0 now; 0 if it is right.
fn tcp_checksum(frame: &[u8]) -> [u8; 2] {
    let length = u16::try_from(frame.len() - 34).expect("a small packet");
    let rest = [&[0, 6], &length.to_be_bytes()[..]].concat();
    checksum(&[&frame[26..34], &rest, &frame[34..]])
}

/// The sum of a frame's pseudo-header, which stands in place of a TCP checksum that was left to the device.
fn pseudo_header_sum(frame: &[u8]) -> [u8; 2] {
    let length = u16::try_from(frame.len() - 34).expect("a small packet");
    let rest = [&[0, 6], &length.to_be_bytes()[..]].concat();
    checksum(&[&frame[26..34], &rest]).map(|byte| !byte)
}

fn assert_right_checksums(frame: &[u8]) {
    assert_eq!(checksum(&[&frame[14..34]]), [0, 0], "IPv4 checksum");
    assert_eq!(tcp_checksum(frame), [0, 0], "TCP checksum");
}

/// A client that is neither the relay nor a node.
fn clients() -> impl Strategy<Value = ([u8; 4], u16)> {
    (11_u8..=126, any::<[u8; 3]>(), any::<u16>())
        .prop_map(|(first, [b, c, d], port)| ([first, b, c, d], port))
}

/// A good packet in one of the two directions.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    (
        clients(),
        0..NODES.len() * 2,
        any::<u8>(),
        any::<u8>(),
        any::<[u8; 8]>(),
        payload,
    )
        .prop_map(|(client, way, ttl, flags, numbers, payload)| {
            let (from, to) = match NODES.get(way) {
                Some(node) => (*node, client),
                None => (client, VIP),
            };
            frame(from, to, ttl, flags, numbers, &payload)
        })
}

/// A packet with some bytes overwritten, then cut or padded.
fn damaged_packets() -> impl Strategy<Value = Vec<u8>> {
    let writes = prop::collection::vec((0_usize..60, any::<u8>()), 0..4);
    (packets(), writes, prop::option::of(0_usize..200)).prop_map(|(mut frame, writes, length)| {
        for (at, byte) in writes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if let Some(length) = length {
            frame.resize(length, 0);
        }
        frame
    })
}

/// Any bytes, or nearly good ones.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        3 => damaged_packets(),
    ]
}

/// Where two frames of the same length differ.
fn differences(a: &[u8], b: &[u8]) -> Vec<usize> {
    assert_eq!(a.len(), b.len());
    (0..a.len()).filter(|at| a[*at] != b[*at]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn only_what_is_sent_is_changed(input in frames()) {
        let tables = tables_of_thread();
        let mut output = input.clone();
        let outcome = run(&mut output, tables);
        if outcome.verdict.action() == Action::Transmit {
            prop_assert_ne!(&output, &input, "a TTL is decremented at the least");
            prop_assert!(outcome.ifindex != 0);
        } else {
            prop_assert_eq!(&output, &input, "{}", outcome.verdict.name());
            prop_assert_eq!(outcome.ifindex, 0);
        }
    }

    #[test]
    fn what_is_sent_differs_in_the_translated_fields_only(input in frames()) {
        let mut output = input.clone();
        let outcome = run(&mut output, tables_of_thread());
        let (address, port) = if outcome.verdict == Verdict::Reply {
            (SOURCE, SOURCE_PORT)
        } else {
            (DESTINATION, DESTINATION_PORT)
        };
        for at in differences(&input, &output) {
            let translated = at == TTL
                || [&MACS, &IP_CHECKSUM, &address, &port, &TCP_CHECKSUM]
                    .iter()
                    .any(|field| field.contains(&at));
            prop_assert!(translated, "byte {} changed", at);
        }
    }

    #[test]
    fn good_packets_leave_good(input in packets()) {
        let mut output = input.clone();
        let outcome = run(&mut output, tables_of_thread());
        if outcome.verdict.action() == Action::Transmit {
            assert_right_checksums(&output);
            prop_assert_eq!(output[TTL] + 1, input[TTL]);
        }
    }

    #[test]
    fn there_and_back_is_the_identity_but_for_macs_ttl_and_checksum(
        client in clients(),
        flags in any::<u8>(),
        numbers in any::<[u8; 8]>(),
        payload in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let tables = tables_of_thread();
        let sent = frame(client, VIP, 64, flags, numbers, &payload);
        let mut there = sent.clone();
        let outcome = run(&mut there, tables);
        if outcome.verdict.action() != Action::Transmit {
            // A slot without a backend; the twin shows that others are sent.
            prop_assert_eq!(outcome.verdict, Verdict::DropNoBackend);
            return Ok(());
        }
        let node = (there[DESTINATION].try_into().unwrap(), u16::from_be_bytes([there[36], there[37]]));
        prop_assert!(NODES.contains(&node));
        prop_assert_eq!(&there[SOURCE], &client.0, "the node must see the client's address");
        prop_assert_eq!(&there[SOURCE_PORT], &client.1.to_be_bytes(), "and his port");

        // The node echoes the packet: addresses and ports change sides. It acknowledges; a SYN that does
        // not is no answer.
        let flags = flags | 0x10;
        let echo = frame(node, client, 64, flags, numbers, &payload);
        let mut back = echo.clone();
        prop_assert_eq!(run(&mut back, tables).verdict, Verdict::Reply);
        let expected = frame(VIP, client, 63, flags, numbers, &payload);
        prop_assert_eq!(&back[12..], &expected[12..]);
    }

    #[test]
    fn a_half_made_checksum_is_completed(input in packets()) {
        let mut output = input;
        let half_made = pseudo_header_sum(&output);
        output[TCP_CHECKSUM].copy_from_slice(&half_made);
        if run(&mut output, tables_of_thread()).verdict.action() == Action::Transmit {
            assert_right_checksums(&output);
        }
    }

    #[test]
    fn a_wrong_checksum_is_not_repaired(input in packets(), bit in 0_u32..16, tcp in any::<bool>()) {
        let mut input = input;
        let at = if tcp { TCP_CHECKSUM.start } else { IP_CHECKSUM.start };
        let damaged = u16::from_be_bytes([input[at], input[at + 1]]) ^ (1 << bit);
        input[at..at + 2].copy_from_slice(&damaged.to_be_bytes());
        // One in 65,535 is taken for half-made, and completed.
        let half_made = tcp && input[TCP_CHECKSUM] == pseudo_header_sum(&input);
        let mut output = input.clone();
        if run(&mut output, tables_of_thread()).verdict.action() == Action::Transmit {
            let right = if tcp {
                tcp_checksum(&output)
            } else {
                checksum(&[&output[14..34]])
            };
            prop_assert_eq!(right == [0, 0], half_made);
        }
    }
}

proptest! {
    // Fewer cases, since each makes tables of its own.
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_verdict_does_not_depend_on_padding(input in packets(), padding in prop::collection::vec(any::<u8>(), 1..60)) {
        let mut padded = [&input[..], &padding].concat();
        let mut output = input.clone();
        // Tables of their own: a packet may be noted.
        let outcome = run(&mut output, &tables());
        let outcome_padded = run(&mut padded, &tables());
        prop_assert_eq!(outcome, outcome_padded);
        prop_assert_eq!(&padded[..input.len()], &output);
        prop_assert_eq!(&padded[input.len()..], &padding);
    }
}

/// Tables that packets of many cases go through, one after the other.
fn tables_of_thread() -> &'static HostTables {
    thread_local! {
        static TABLES: &'static HostTables = Box::leak(Box::new(tables()));
    }
    TABLES.with(|tables| *tables)
}

#[test]
fn clients_of_every_kind_of_slot_are_sent_on() {
    let tables = tables();
    let mut verdicts = std::collections::BTreeSet::new();
    for last in 0..=255 {
        let client = ([99, 0, 0, last], 40_000);
        for flags in [0x02, 0x10] {
            let mut frame = frame(client, VIP, 64, flags, [0; 8], &[]);
            verdicts.insert(run(&mut frame, &tables).verdict);
        }
    }
    let expected = [
        Verdict::ForwardSettled,
        Verdict::ForwardNew,
        Verdict::ForwardWas,
        Verdict::DropNoBackend,
    ];
    assert!(verdicts.is_superset(&expected.into()), "{verdicts:?}");
}
