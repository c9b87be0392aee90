//! What the simulation holds to be so, and faults that it must notice.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use redirector::engine::{Candidate, OperatorState, Standing, winners};
use redirector_common::abi::SLOTS;

use super::{
    Addresses, Choice, Size,
    host::{self, Host},
    nodes::{self, Movement, Owner, shares},
    relays,
    router::Router,
};

const SIZE: Size = Size {
    nodes: 100,
    clients: 200_000,
    ..Size::FULL
};

fn one() -> Host {
    Host::new(SIZE.key, &host::nodes(SIZE.nodes), &[]).expect("a relay")
}

/// How full the fullest node may be, in multiples of the mean: slots fall to nodes at random, so their numbers vary by the
/// root of the mean, and the most of so many exceeds it by the root of twice the logarithm; clients vary likewise. Half as
/// much again is far beyond.
fn fullest_allowed(nodes: f64, clients: f64) -> f64 {
    let spread = |balls: f64| (2.0 * nodes.ln() * nodes / balls).sqrt();
    1.0 + 1.5 * (spread(SLOTS as f64) + spread(clients))
}

fn fullest(owners: &[Owner], clients: &[u32]) -> f64 {
    let shares = shares(owners, clients);
    let most = shares.values().max().copied().unwrap_or(0);
    most as f64 * f64::from(SIZE.nodes) / f64::from(SIZE.clients)
}

#[test]
fn no_node_has_more_clients_than_chance_gives_however_addresses_lie() {
    let allowed = fullest_allowed(f64::from(SIZE.nodes), f64::from(SIZE.clients));
    for balance in nodes::balance(&SIZE, &one()).expect("a table") {
        assert!(balance.fullest < allowed, "{balance:?}, {allowed} allowed");
        assert!(balance.emptiest > 0.5, "{balance:?}");
    }
}

#[test]
fn a_hash_that_takes_bits_of_the_address_as_they_are_is_noticed() {
    let owners = one().owners().expect("a table");
    let allowed = fullest_allowed(f64::from(SIZE.nodes), f64::from(SIZE.clients));
    let mut clients = vec![0; SLOTS];
    for [_, _, high, low] in Addresses::Gateways.of(SIZE.clients) {
        clients[usize::from(u16::from_be_bytes([high, low]))] += 1;
    }
    assert!(fullest(&owners, &clients) > allowed);
}

#[test]
fn nodes_that_are_lost_move_their_own_clients_and_no_others_and_get_them_back() {
    let losses = nodes::losses(&SIZE, &one(), &host::nodes(SIZE.nodes)).expect("tables");
    assert_eq!(losses.len(), 12);
    for loss in losses {
        assert_eq!((loss.bystanders, loss.astray), (0, 0), "{loss:?}");
        assert_eq!(loss.moved, loss.theirs, "{loss:?}");
        let share = loss.lost as f64 / f64::from(SIZE.nodes);
        assert!((loss.moved / share - 1.0).abs() < 0.5, "{loss:?}");
        let survivors = f64::from(SIZE.nodes) * (1.0 - share);
        let allowed = fullest_allowed(survivors, f64::from(SIZE.clients));
        assert!(loss.fullest < allowed, "{loss:?}, {allowed} allowed");
        // What is split is what has moved.
        assert_eq!(loss.in_split as f64 / f64::from(SIZE.clients), loss.moved);
    }
}

#[test]
fn the_packet_path_sends_clients_where_their_slots_say() {
    let host = one();
    let (table, owners) = (
        host.table().expect("a table"),
        host.owners().expect("a table"),
    );
    for client in Addresses::Random.of(20_000) {
        let owner = owners[usize::from(table.slot_of(client))];
        assert!(owner.is_some());
        assert_eq!(host.sends((client, 40_000)), owner, "{client:?}");
    }
}

/// The negative twin: slots by their remainder.
#[test]
fn tables_by_a_remainder_move_most_bystanders_and_that_is_noticed() {
    let all = host::nodes(SIZE.nodes);
    let table = |nodes: &[Ipv4Addr]| -> Vec<Owner> {
        let slots = 0..SLOTS;
        slots
            .map(|slot| nodes.get(slot % nodes.len()).copied())
            .collect()
    };
    let host = one();
    let clients = Addresses::Dense.by_slot(host.table().expect("a table"), SIZE.clients);
    let gone = BTreeSet::from([all[0]]);
    let movement = Movement::of(&table(&all), &table(&all[1..]), &gone, &clients);
    assert!(
        movement.bystanders > u64::from(SIZE.clients) / 2,
        "{movement:?}"
    );
}

#[test]
fn a_node_that_comes_back_breaks_nothing_that_began_without_it() {
    let node = host::nodes(SIZE.nodes)[0];
    let returned = nodes::returning(&SIZE, &one(), node).expect("handshakes");
    assert!(returned.opened > 1000, "{returned:?}");
    assert_eq!(returned.recorded, returned.opened);
    assert_eq!(returned.broken, 0);
    assert!(returned.absent > 0 && returned.back > 0, "{returned:?}");
    assert_eq!(returned.over, 0);
}

#[test]
fn relays_that_came_to_their_tables_by_different_ways_agree() {
    let nodes = host::nodes(SIZE.nodes);
    let one = one();
    let other = super::another(&SIZE, &nodes).expect("a relay");
    let changes = relays::changes(&SIZE, &one, &other, nodes[0]).expect("tables");
    assert_eq!(changes.len(), 12);
    for change in changes {
        assert!(change.elsewhere > 0.0, "{change:?}");
        assert_eq!(change.other_node, 0, "{change:?}");
        assert!(change.apart > 0, "{change:?}");
        assert!(change.fullest[0] < 1.2, "{change:?}");
    }
}

/// The negative twin.
#[test]
fn relays_with_different_keys_send_nearly_everyone_elsewhere() {
    let nodes = host::nodes(SIZE.nodes);
    let stranger = Host::new([1, 2], &nodes, &[]).expect("a relay");
    for change in relays::changes(&SIZE, &one(), &stranger, nodes[0]).expect("tables") {
        let share = change.elsewhere * f64::from(SIZE.clients);
        assert!(change.other_node as f64 > 0.9 * share, "{change:?}");
    }
}

/// The negative twin: what a node is to the hash is its place in the list.
#[test]
fn tables_that_depend_on_the_order_in_which_nodes_came_disagree() {
    let nodes = host::nodes(SIZE.nodes);
    let table = |nodes: &[Ipv4Addr], identity: fn(usize, Ipv4Addr) -> Ipv4Addr| -> Vec<Owner> {
        let candidates: Vec<Candidate> = (1..)
            .zip(nodes)
            .map(|(backend, node)| Candidate {
                backend,
                identity: IpAddr::V4(identity(usize::from(backend), *node)).into(),
                weight: 1,
            })
            .collect();
        let owners = winners(SIZE.key, &candidates).into_iter();
        owners
            .map(|backend| nodes.get(usize::from(backend).checked_sub(1)?).copied())
            .collect()
    };
    let mut reversed = nodes.clone();
    reversed.reverse();
    let differing = |identity| {
        let (one, other) = (table(&nodes, identity), table(&reversed, identity));
        one.iter()
            .zip(&other)
            .filter(|(one, other)| one != other)
            .count()
    };
    assert_eq!(differing(|_, node| node), 0);
    let by_place = |place, _| Ipv4Addr::from_bits(u32::try_from(place).unwrap_or(0));
    assert!(differing(by_place) > SLOTS / 2);
}

#[test]
fn what_relays_tell_each_other_saves_every_connection_of_one_that_is_lost() {
    let nodes = host::nodes(SIZE.nodes);
    let other = super::another(&SIZE, &nodes).expect("a relay");
    let take_overs = relays::take_overs(&SIZE, &one(), &other, &nodes).expect("handshakes");
    assert_eq!(take_overs.len(), 6);
    let (heard, not_heard): (Vec<_>, Vec<_>) = take_overs.iter().partition(|one| one.exchange);
    for one in heard {
        assert_eq!((one.older, one.newer), (0, 0), "{one:?}");
        assert!(one.recorded > 100, "{one:?}");
    }
    // The negative twin: without it some are lost, whichever way tables are apart.
    for one in not_heard {
        assert!(one.older + one.newer > 100, "{one:?}");
    }
}

/// The negative twin: the word of a relay that knows nothing counts for one that has carried clients.
#[test]
fn what_is_taken_from_a_relay_that_knows_nothing_breaks_connections() {
    let nodes = host::nodes(SIZE.nodes);
    let drained = &nodes[..1];
    let clients = || Addresses::Dense.of(SIZE.clients / 8);
    let mut carrier = one();
    let home = |host: &Host| {
        clients()
            .map(|client| host.sends((client, 1)))
            .collect::<Vec<_>>()
    };
    let before = home(&carrier);
    carrier
        .operate(drained, OperatorState::Draining)
        .expect("a node");
    assert_eq!(before, home(&carrier));
    let stranger = Host::new(SIZE.key, &nodes, drained).expect("a relay");
    let (document, _) = stranger.tell().expect("a document");
    carrier.take(&document, Standing::Level);
    assert_eq!(before, home(&carrier));
    carrier.take(&document, Standing::Behind);
    assert_ne!(before, home(&carrier));
}

#[test]
fn a_resilient_router_moves_a_relays_share_and_a_remainder_most_clients() {
    let share = |choice: Choice, joins: bool| {
        let before = Router::new(choice, 8);
        let after = if joins {
            before.with(8)
        } else {
            before.without(0)
        };
        let clients = || Addresses::Random.of(20_000);
        let moved = clients().filter(|client| before.relay_of(*client) != after.relay_of(*client));
        moved.count() as f64 / clients().count() as f64
    };
    for (choice, low, high) in [
        (Choice::Resilient, 0.09, 0.14),
        // RFC 2992, section 3: between a quarter and a half.
        (Choice::Threshold, 0.25, 0.55),
        (Choice::Remainder, 0.8, 0.95),
    ] {
        for joins in [false, true] {
            let share = share(choice, joins);
            assert!((low..high).contains(&share), "{choice:?}, {joins}: {share}");
        }
    }
}
