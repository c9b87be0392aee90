//! By what new connections are given to nodes, and what a reload may change about it.

use redirector::engine::{Live, LiveFlows};
use redirector_common::abi::{MODE_LEAST_STATES, MODE_ROUND_ROBIN, MODE_SOURCE_HASH, SLOTS};

use super::*;

/// One redirect to two nodes, the second of which weighs twice as much.
fn two_nodes(mode: &str, more: &str) -> Config {
    let text = format!(
        "interfaces = [\"eth0\"]\n[pool.p]\n\
         nodes = [\"10.0.1.2\", {{ address = \"10.0.1.3\", weight = 2 }}]\n\
         [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{more}\n\
         forward-to = {{ pool = \"p\", port = 1080, mode = \"{mode}\" }}\n"
    );
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn running(config: Config) -> Relay {
    let mut relay = Relay::new(config, KEY, Found::default(), 0, Instant::now()).expect("it fits");
    reach(&mut relay);
    check(&mut relay, "10.0.1.2", true);
    check(&mut relay, "10.0.1.3", true);
    relay
}

fn id(relay: &Relay, address: &str) -> u16 {
    let socket = format!("{address}:1080").parse().expect("a socket");
    relay.backends().id_of(socket).expect("it has one")
}

#[test]
fn the_nodes_take_turns_by_their_weights_and_every_slot_is_split() {
    let relay = running(two_nodes("round-robin", ""));
    let table = relay.redirects()[&0].book.table();
    let (light, heavy) = (id(&relay, "10.0.1.2"), id(&relay, "10.0.1.3"));
    let turns: Vec<u16> = table.slots[..6].iter().map(|slot| slot.now).collect();
    assert_eq!(turns, [heavy, light, heavy, heavy, light, heavy]);
    assert_eq!(table.mode, MODE_ROUND_ROBIN);
    assert_eq!(usize::try_from(table.split_slots), Ok(SLOTS));
}

#[test]
fn by_source_hash_slots_are_split_only_where_all_is_tracked() {
    for (more, split) in [("", 0), ("track = \"all\"", SLOTS)] {
        let relay = running(two_nodes("source-hash", more));
        let table = relay.redirects()[&0].book.table();
        assert_eq!(table.mode, MODE_SOURCE_HASH);
        assert_eq!(usize::try_from(table.split_slots), Ok(split), "{more}");
    }
}

#[test]
fn a_reload_changes_the_mode_and_every_slot_remembers_where_its_clients_are() {
    let mut relay = running(two_nodes("source-hash", ""));
    let before: Vec<u16> = relay.redirects()[&0]
        .book
        .table()
        .slots
        .map(|slot| slot.now)
        .into();
    let config = two_nodes("least-states", "");
    relay
        .reconfigure(config, 7, Instant::now())
        .expect("it may");
    let table = relay.redirects()[&0].book.table();
    assert_eq!(table.mode, MODE_LEAST_STATES);
    assert!(table.tcp_was_until > 7);
    let after: Vec<u16> = table.slots.map(Slot::unrecorded).into();
    assert_eq!(after, before);
    assert!(table.slots.iter().all(|slot| slot.is_split()));
}

#[test]
fn another_prefix_is_refused_and_changes_nothing() {
    let mut relay = running(two_nodes("source-hash", "sticky = 24"));
    let revision = relay.revision();
    let config = two_nodes("source-hash", "sticky = 23");
    let refused = relay.reconfigure(config, 7, Instant::now());
    assert_eq!(refused, Err(RelayError::StickyChange("r".to_owned())));
    assert_eq!(relay.revision(), revision);
    let same = two_nodes("source-hash", "sticky = 24\ntrack = \"all\"");
    assert_eq!(relay.reconfigure(same, 7, Instant::now()), Ok(()));
}

#[test]
fn a_heavier_node_is_less_loaded_by_as_many_connections_and_other_modes_count_none() {
    let relay = running(two_nodes("least-states", ""));
    let (light, heavy) = (id(&relay, "10.0.1.2"), id(&relay, "10.0.1.3"));
    let ten = Live {
        connections: 10,
        idle: 0,
    };
    let live = LiveFlows::from([((1, light), ten), ((1, heavy), ten), ((2, heavy), ten)]);
    let loads = relay.loads(&live);
    assert_eq!(loads[&light].step, 2 * loads[&heavy].step);
    assert_eq!(loads[&light].sum, 10 * loads[&light].step);
    assert_eq!(loads[&heavy].sum, 20 * loads[&heavy].step);
    assert!(running(two_nodes("random", "")).loads(&live).is_empty());
}
