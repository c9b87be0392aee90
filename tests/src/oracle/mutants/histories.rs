//! The real program through a random history, with what it sends spoilt.

use std::{collections::BTreeMap, ops::Range};

use redirector_common::{
    Outcome, abi::BACKEND_NEXT_HOP, checksum, host::HostTables, verdict::Verdict,
};

use super::by_hand::pairs;
use crate::{
    fixture::{self, NODE_PORT, NODES},
    generate::{self, Generator, Step},
    on_host::process_on_host,
    oracle::{
        Judge, World,
        headers::{Headers, Piece},
        mistakes::forget_ports,
        sums::Covered,
    },
    packets::truncations,
};

/// What became of a history.
#[derive(Default)]
struct History {
    frames: u64,
    sent: usize,
    /// How many of them were spoilt.
    spoilt: usize,
    complaints: Vec<Complaint>,
    verdicts: BTreeMap<Verdict, u64>,
}

/// What the oracle finds wrong.
#[derive(Debug)]
struct Complaint {
    text: String,
    outcome: Outcome,
    input: Vec<u8>,
}

/// Each complaint once, how often it was made, and a frame that it was made of.
fn summary(complaints: &[Complaint]) -> String {
    let mut all: BTreeMap<String, (usize, &[u8])> = BTreeMap::new();
    for complaint in complaints {
        let name = format!("{}: {}", complaint.outcome.verdict.name(), complaint.text);
        all.entry(name).or_insert((0, &complaint.input)).0 += 1;
    }
    let lines: Vec<String> = all
        .iter()
        .map(|(name, (count, input))| format!("{count:>6} {name}, such as {input:02x?}"))
        .collect();
    lines.join("\n")
}

/// Runs a history of the fixture on the host, `spoil` being done to every frame that is sent (input, output).
fn run(tables: HostTables, frames: u64, spoil: impl Fn(&World, &[u8], &mut [u8])) -> History {
    let generator = Generator::new(generate::seed());
    run_in(&World::of_fixture(), generator, tables, frames, spoil)
}

fn run_in(
    world: &World,
    mut generator: Generator,
    mut tables: HostTables,
    frames: u64,
    spoil: impl Fn(&World, &[u8], &mut [u8]),
) -> History {
    let mut judge = Judge::new(world.clone()).following_associations();
    let mut history = History::default();
    while history.frames < generate::frames(frames) {
        let (input, ingress) = match generator.step() {
            Step::Change(change) => {
                change.apply(&mut tables);
                continue;
            }
            Step::Frame { frame, ingress } => (frame, ingress),
        };
        history.frames += 1;
        tables.ingress = ingress;
        let (outcome, mut output) = process_on_host(&input, &tables);
        generator.sent(&output);
        *history.verdicts.entry(outcome.verdict).or_default() += 1;
        if output != input {
            history.sent += 1;
            let right = output.clone();
            spoil(world, &input, &mut output);
            history.spoilt += usize::from(output != right);
        }
        if let Err(text) = judge.judge(&input, outcome, &output, &tables) {
            history.complaints.push(Complaint {
                text,
                outcome,
                input,
            });
        }
    }
    history
}

/// Runs a history whose mistake, a spoilt frame or one of the tables, must be caught in at least `share` percent of
/// the frames that are sent, and in all that are spoilt; each complaint must name `field`.
fn assert_caught(
    tables: HostTables,
    spoil: impl Fn(&World, &[u8], &mut [u8]),
    field: &str,
    share: usize,
) {
    let History {
        sent,
        spoilt,
        complaints,
        ..
    } = run(tables, 10_000, spoil);
    println!("{} of {sent} sent frames caught", complaints.len());
    assert!(sent > 1000, "only {sent} frames were sent at all");
    let least = spoilt.max(sent * share / 100);
    assert!(
        complaints.len() >= least,
        "only {} of {least} frames were caught",
        complaints.len()
    );
    let others: Vec<Complaint> = complaints
        .into_iter()
        .filter(|complaint| !complaint.text.contains(field))
        .collect();
    assert!(
        others.is_empty(),
        "caught for the wrong reason: {}",
        summary(&others)
    );
}

/// The bytes of the input in place of the output's, at the sum that `which` names.
fn undo(which: impl Fn(&Headers, &[u8]) -> Option<Covered>) -> impl Fn(&World, &[u8], &mut [u8]) {
    move |_, input, output| {
        let headers = Headers::read(input).expect("it was sent");
        if let Some(sum) = which(&headers, input) {
            let field = sum.field..sum.field + 2;
            output[field.clone()].copy_from_slice(&input[field]);
        }
    }
}

/// The bytes of the input in place of the output's, at these offsets from the header of IPv4 or IPv6.
fn undo_in_header(v4: Range<usize>, v6: Range<usize>) -> impl Fn(&World, &[u8], &mut [u8]) {
    move |_, input, output| {
        let headers = Headers::read(input).expect("it was sent");
        let (ip, at) = (headers.ip, if headers.source.is_ipv4() { &v4 } else { &v6 });
        let field = ip + at.start..ip + at.end;
        output[field.clone()].copy_from_slice(&input[field]);
    }
}

fn assert_no_complaint(history: &History) {
    for (verdict, count) in &history.verdicts {
        println!("{count:>8} {}", verdict.name());
    }
    assert!(history.sent * 5 > usize::try_from(history.frames).expect("it fits"));
    assert!(
        history.complaints.is_empty(),
        "{}",
        summary(&history.complaints)
    );
}

#[test]
fn the_program_without_a_mistake_gives_no_complaint() {
    assert_no_complaint(&run(fixture::host_tables(), 90_000, |_, _, _| {}));
}

#[test]
fn nor_does_it_in_the_whole_fixture() {
    let generator = Generator::of_whole_fixture(generate::seed());
    let world = World::of_whole_fixture();
    let history = run_in(
        &world,
        generator,
        fixture::whole_tables(),
        40_000,
        |_, _, _| {},
    );
    assert_no_complaint(&history);
}

#[test]
fn a_frame_cut_anywhere_is_judged_right() {
    let world = World::of_fixture();
    let tables = fixture::host_tables();
    let mut cut = 0;
    for pair in pairs() {
        for input in truncations(&pair.input) {
            cut += 1;
            let (outcome, output) = process_on_host(input, &tables);
            let judged = Judge::new(world.clone()).judge(input, outcome, &output, &tables);
            assert!(
                judged.is_ok(),
                "{} cut to {}: {judged:?}",
                pair.name,
                input.len()
            );
        }
    }
    assert!(cut > 1000, "only {cut}");
}

#[test]
fn a_transport_checksum_that_is_not_updated_is_caught() {
    // Later fragments and UDP without a checksum have none.
    assert_caught(
        fixture::host_tables(),
        undo(Headers::transport_sum),
        "checksum",
        75,
    );
}

#[test]
fn an_ipv4_checksum_that_is_not_updated_is_caught() {
    assert_caught(
        fixture::host_tables(),
        undo(|headers, _| headers.header_sum()),
        "IPv4 checksum",
        60,
    );
}

#[test]
fn a_ttl_that_is_not_decremented_is_caught() {
    assert_caught(fixture::host_tables(), undo_in_header(8..9, 7..8), "", 80);
}

#[test]
fn a_port_that_is_not_translated_is_caught() {
    // The checksum speaks of the new port; the port is the old one. Later fragments and the redirect that keeps ports
    // have none.
    assert_caught(
        fixture::host_tables(),
        |_, input, output| {
            let headers = Headers::read(input).expect("it was sent");
            if !matches!(headers.piece, Piece::Later(_)) && !headers.is_icmp() {
                let ports = headers.transport..headers.transport + 4;
                output[ports.clone()].copy_from_slice(&input[ports]);
            }
        },
        "port",
        60,
    );
}

#[test]
fn an_address_that_is_not_translated_is_caught() {
    assert_caught(
        fixture::host_tables(),
        undo_in_header(12..20, 8..40),
        "address",
        80,
    );
}

#[test]
fn swapped_link_layer_addresses_are_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, _, output| output[..12].rotate_left(6),
        "link-layer address",
        100,
    );
}

#[test]
fn a_touched_type_of_service_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, input, output| output[Headers::read(input).expect("it was sent").ip + 1] ^= 1,
        "another field of the IPv",
        100,
    );
}

#[test]
fn one_bit_of_the_last_byte_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, _, output| *output.last_mut().expect("not empty") ^= 0x80,
        "",
        100,
    );
}

#[test]
fn a_changed_vlan_tag_is_caught() {
    // One frame in ten has a tag.
    assert_caught(
        fixture::host_tables(),
        |_, input, output| {
            if Headers::read(input).expect("it was sent").ip > 14 {
                output[14] ^= 0x20;
            }
        },
        "VLAN tag",
        5,
    );
}

#[test]
fn a_missing_udp_checksum_that_is_filled_in_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, input, output| {
            let headers = Headers::read(input).expect("it was sent");
            if let Some(sum) = headers.transport_sum(input)
                && sum.optional
                && output[sum.field..sum.field + 2] == [0, 0]
            {
                output[sum.field..sum.field + 2].copy_from_slice(&[0xff, 0xff]);
            }
        },
        "UDP checksum",
        0,
    );
}

#[test]
fn ports_written_into_later_fragments_are_caught() {
    let History { complaints, .. } = run(fixture::host_tables(), 20_000, |_, input, output| {
        let headers = Headers::read(input).expect("it was sent");
        let at = headers.transport + 2;
        if matches!(headers.piece, Piece::Later(_)) && headers.end >= at + 2 {
            output[at] ^= 0x40;
        }
    });
    assert!(complaints.len() > 50, "only {}", complaints.len());
    for complaint in complaints {
        let text = complaint.text;
        assert!(text.contains("data of a later fragment"), "{text}");
    }
}

#[test]
fn deltas_without_the_ports_are_caught() {
    let mut tables = fixture::host_tables();
    forget_ports(&mut tables);
    // The other redirects are as they should be.
    assert_caught(tables, |_, _, _| {}, "TCP checksum", 50);
}

#[test]
fn a_delta_of_another_node_is_caught() {
    let mut tables = fixture::host_tables();
    for (id, backend) in &mut tables.backends {
        if usize::from(*id) > NODES.len() {
            continue;
        }
        let other = NODES[usize::from(*id) % NODES.len()];
        backend.l3_delta = checksum::added(&other);
        backend.l4_delta = checksum::added(&other) + checksum::added(&NODE_PORT.to_be_bytes());
    }
    // Only packets to nodes, so not of all.
    assert_caught(tables, |_, _, _| {}, "IPv4 checksum", 20);
}

#[test]
fn a_delta_without_the_ttl_is_caught() {
    let mut tables = fixture::host_tables();
    for endpoint in tables.ipv4.endpoints.values_mut() {
        if endpoint.l3_delta != 0 {
            endpoint.l3_delta -= checksum::TTL_DECREMENT;
        }
    }
    assert_caught(tables, |_, _, _| {}, "IPv4 checksum", 60);
}

#[test]
fn a_next_hop_of_another_interface_is_caught() {
    let mut tables = fixture::host_tables();
    for backend in tables.backends.values_mut() {
        if backend.flags & BACKEND_NEXT_HOP != 0 {
            backend.hop.ifindex += 1;
        }
    }
    assert_caught(tables, |_, _, _| {}, "interface", 30);
}

#[test]
fn a_client_on_another_slot_is_caught() {
    let mut tables = fixture::host_tables();
    if let Some(table) = tables.slot_tables.get_mut(&0) {
        table.key[1] ^= 1;
    }
    // Packets of clients whose new slot is of the same kind, and answers, are right by chance.
    assert_caught(tables, |_, _, _| {}, "", 5);
}

#[test]
fn a_verdict_that_cannot_be_is_caught() {
    let tables = fixture::host_tables();
    for pair in pairs() {
        let judged = |verdict: Verdict, output: &[u8]| {
            Judge::new(World::of_fixture()).judge(&pair.input, verdict.into(), output, &tables)
        };
        // Too short, too many tags, to a node without the VIP: none of the pairs is that.
        for verdict in [
            Verdict::PassTruncated,
            Verdict::PassVlan,
            Verdict::DropDirectTcp,
        ] {
            let complaint = judged(verdict, &pair.input).expect_err(pair.name);
            assert!(complaint.contains("cannot be the verdict"), "{complaint}");
        }
        // And what is passed must not be touched.
        if judged(Verdict::DropNoTable, &pair.input).is_ok() {
            let complaint = judged(Verdict::DropNoTable, &pair.output).expect_err(pair.name);
            assert!(complaint.contains("changed, but not sent"), "{complaint}");
        }
    }
}
