//! Programs with one mistake each: the oracle must catch every one of them, and find no fault with the
//! program that makes none.

use redirector_common::{
    abi::BACKEND_NEXT_HOP,
    checksum,
    host::{HostTables, SliceFrame},
    process,
};

use super::{World, claim, mistakes::forget_ports, slots_of};
use crate::{
    fixture::{self, NODE_PORT, NODES},
    generate::{self, Generator, Step},
};

/// Runs a history on the host, `spoil` being done to every frame that is sent (input, output); gives how
/// many were sent, and the oracle's complaints.
fn run(mut tables: HostTables, spoil: impl Fn(&[u8], &mut [u8])) -> (usize, Vec<String>) {
    let world = World::of_fixture();
    let mut generator = Generator::new(generate::seed());
    let (mut sent, mut complaints) = (0, Vec::new());
    let mut frames = 0;
    while frames < generate::frames(10_000) {
        let input = match generator.step() {
            Step::Change(change) => {
                change.apply(&mut tables);
                continue;
            }
            Step::Frame { frame, .. } => frame,
        };
        frames += 1;
        let mut output = input.clone();
        let outcome = process(&mut SliceFrame(&mut output), &tables);
        let Some(claim) = claim(outcome.verdict, &input, &tables) else {
            continue;
        };
        sent += 1;
        generator.sent(&output);
        spoil(&input, &mut output);
        let sent = (&output[..], outcome.ifindex);
        if let Err(complaint) = world.judge(&input, claim, slots_of(&tables), sent) {
            complaints.push(complaint);
        }
    }
    (sent, complaints)
}

/// Frames of which the oracle must have caught at least `share` percent.
fn assert_caught(tables: HostTables, spoil: impl Fn(&[u8], &mut [u8]), field: &str, share: usize) {
    let (sent, complaints) = run(tables, spoil);
    println!("{} of {sent} sent frames caught", complaints.len());
    assert!(sent > 1000, "only {sent} frames were sent at all");
    assert!(
        complaints.len() * 100 >= sent * share,
        "only {} of {sent} frames were caught",
        complaints.len()
    );
    let others: Vec<_> = complaints
        .iter()
        .filter(|complaint| !complaint.contains(field))
        .collect();
    assert!(others.is_empty(), "caught for the wrong reason: {others:?}");
}

#[test]
fn the_program_without_a_mistake_gives_no_complaint() {
    let (sent, complaints) = run(fixture::host_tables(), |_, _| {});
    assert!(sent > 1000, "only {sent} frames were sent at all");
    assert!(
        complaints.is_empty(),
        "{}: {complaints:?}",
        complaints.len()
    );
}

#[test]
fn a_tcp_checksum_that_is_not_updated_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |input, output| output[50..52].copy_from_slice(&input[50..52]),
        "TCP checksum",
        99,
    );
}

#[test]
fn an_ipv4_checksum_that_is_not_updated_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |input, output| output[24..26].copy_from_slice(&input[24..26]),
        "IPv4 checksum",
        99,
    );
}

#[test]
fn a_ttl_that_is_not_decremented_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |input, output| output[22] = input[22],
        "TTL",
        100,
    );
}

#[test]
fn a_port_that_is_not_translated_is_caught() {
    // The checksum speaks of the new port; the port is the old one.
    assert_caught(
        fixture::host_tables(),
        |input, output| output[34..38].copy_from_slice(&input[34..38]),
        "port",
        100,
    );
}

#[test]
fn an_address_that_is_not_translated_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |input, output| output[26..34].copy_from_slice(&input[26..34]),
        "address",
        100,
    );
}

#[test]
fn swapped_link_layer_addresses_are_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, output| output[..12].rotate_left(6),
        "link-layer address",
        100,
    );
}

#[test]
fn a_touched_type_of_service_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, output| output[15] ^= 1,
        "another field of the IPv4 header",
        100,
    );
}

#[test]
fn one_bit_of_the_last_byte_is_caught() {
    assert_caught(
        fixture::host_tables(),
        |_, output| *output.last_mut().expect("not empty") ^= 0x80,
        "",
        100,
    );
}

#[test]
fn deltas_without_the_ports_are_caught() {
    let mut tables = fixture::host_tables();
    forget_ports(&mut tables);
    assert_caught(tables, |_, _| {}, "TCP checksum", 100);
}

#[test]
fn a_delta_of_another_node_is_caught() {
    let mut tables = fixture::host_tables();
    for (id, backend) in &mut tables.backends {
        let other = NODES[usize::from(*id) % NODES.len()];
        backend.l3_delta = checksum::added(&other);
        backend.l4_delta = checksum::added(&other) + checksum::added(&NODE_PORT.to_be_bytes());
    }
    // Only packets to nodes, so not of all.
    assert_caught(tables, |_, _| {}, "IPv4 checksum", 30);
}

#[test]
fn a_delta_without_the_ttl_is_caught() {
    let mut tables = fixture::host_tables();
    for endpoint in tables.ipv4.endpoints.values_mut() {
        if endpoint.l3_delta != 0 {
            endpoint.l3_delta -= checksum::TTL_DECREMENT;
        }
    }
    assert_caught(tables, |_, _| {}, "IPv4 checksum", 100);
}

#[test]
fn a_next_hop_of_another_interface_is_caught() {
    let mut tables = fixture::host_tables();
    for backend in tables.backends.values_mut() {
        if backend.flags & BACKEND_NEXT_HOP != 0 {
            backend.hop.ifindex += 1;
        }
    }
    assert_caught(tables, |_, _| {}, "interface", 30);
}

#[test]
fn a_client_on_another_slot_is_caught() {
    let mut tables = fixture::host_tables();
    if let Some(table) = tables.slot_tables.get_mut(&0) {
        table.key[1] ^= 1;
    }
    // Packets of clients whose new slot is of the same kind, and answers, are right by chance.
    assert_caught(tables, |_, _| {}, "", 5);
}
