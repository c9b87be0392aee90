//! Nodes that have a name in place of an address.

use redirector::config::{Addresses, HostName, Known};
use redirector::engine::digest;

use super::*;

fn known(pairs: &[(&str, &str)]) -> Known {
    let pairs = pairs.iter().map(|(name, address)| {
        let address: IpAddr = address.parse().expect("an address");
        let name = HostName::new(name).expect("a name");
        (name, Addresses::from(address))
    });
    pairs.collect()
}

fn three() -> Config {
    config(
        &[("p", &["dante-1", "dante-2", "10.0.1.3"])],
        &[("r", "10.0.0.1:1080", "p", 1080)],
    )
}

fn digest_of(relay: &Relay) -> String {
    let owners = relay.table_owners();
    digest(relay.table(0).expect("a table"), |id| owners.of(id))
}

/// The address that new connections of each slot go to.
fn owners(relay: &Relay) -> Vec<IpAddr> {
    let slots = slots(relay, "r");
    let address = |slot: &Slot| address_of(relay, slot.now).ip();
    slots.iter().map(address).collect()
}

const HOME: [(&str, &str); 2] = [("dante-1", "10.0.1.1"), ("dante-2", "10.0.1.2")];

#[test]
fn a_node_that_moves_has_the_same_slots_at_once_and_its_connections_stay() {
    let mut relay = relay(three().with_addresses(&known(&HOME)));
    let (before, digest) = (owners(&relay), digest_of(&relay));
    let (old, new): (IpAddr, IpAddr) = ([10, 0, 1, 1].into(), [10, 0, 1, 101].into());
    assert!(before.contains(&old));
    let there = known(&[("dante-1", "10.0.1.101"), HOME[1]]);
    let config = relay.config().with_addresses(&there);
    relay.reconfigure(config, 0, Instant::now()).expect("room");
    reach(&mut relay);
    let moved = |address: &IpAddr| if *address == old { new } else { *address };
    let expected: Vec<_> = before.iter().map(moved).collect();
    assert!(
        owners(&relay) == expected,
        "before it has been checked there"
    );
    assert_eq!(digest_of(&relay), digest, "a table is of names");
    for (slot, home) in slots(&relay, "r").iter().zip(&before) {
        assert_eq!(slot.is_split(), *home == old);
        assert_eq!(address_of(&relay, slot.unrecorded()).ip(), *home);
    }
    check(&mut relay, "10.0.1.101", false);
    assert!(!owners(&relay).contains(&new), "it is not there");
    check(&mut relay, "10.0.1.101", true);
    assert!(owners(&relay) == expected);
}

#[test]
fn a_node_that_was_not_up_is_not_taken_to_be_up_elsewhere_and_no_other_is() {
    let mut relay = relay(three().with_addresses(&known(&HOME)));
    check(&mut relay, "10.0.1.1", false);
    let there = known(&[("dante-1", "10.0.1.101"), HOME[1]]);
    let config = relay.config().with_addresses(&there);
    reload(&mut relay, config);
    assert!(!owners(&relay).contains(&[10, 0, 1, 101].into()));
    // The same name of a node that has another host's.
    let text = ["dante-9", "dante-2", "10.0.1.3"];
    let other = config_named(&text);
    let nine = known(&[("dante-9", "10.0.1.109"), HOME[1]]);
    check(&mut relay, "10.0.1.101", true);
    reload(&mut relay, other.with_addresses(&nine));
    assert!(!owners(&relay).contains(&[10, 0, 1, 109].into()));
}

fn config_named(nodes: &[&str; 3]) -> Config {
    config(&[("p", nodes)], &[("r", "10.0.0.1:1080", "p", 1080)])
}

#[test]
fn two_relays_that_know_different_addresses_of_a_name_have_the_same_table() {
    let here = relay(three().with_addresses(&known(&HOME)));
    let swapped = known(&[("dante-1", "10.0.1.2"), ("dante-2", "10.0.1.1")]);
    let there = relay(three().with_addresses(&swapped));
    assert_eq!(digest_of(&here), digest_of(&there));
    let name = |relay: &Relay, at: IpAddr| {
        let nodes = relay.config().pools[0].nodes.iter();
        let mut there = nodes.filter(|node| node.is_at(at));
        there.next().expect("a node").name.clone()
    };
    let same = owners(&here)
        .into_iter()
        .zip(owners(&there))
        .all(|(one, other)| name(&here, one) == name(&there, other));
    assert!(same, "every client is sent to the node of the same name");
}

#[test]
fn a_name_that_stands_for_nothing_has_no_slots_and_is_not_checked() {
    let relay = relay(three().with_addresses(&known(&HOME[..1])));
    let targets = relay.targets();
    assert_eq!(targets.len(), 2);
    let all: std::collections::BTreeSet<_> = owners(&relay).into_iter().collect();
    assert_eq!(all, [[10, 0, 1, 1], [10, 0, 1, 3]].map(IpAddr::from).into());
}

#[test]
fn a_node_whose_parent_is_nowhere_is_of_unknown_state_and_takes_no_clients() {
    let text = "interfaces = [\"eth0\"]\n[pool.p]\nnodes = [\"dante-1\", { address = \"10.0.1.2\", parent = \"dante-1\" }]\n\
                [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"p\", port = 1080 }\n";
    let config = Config::parse("t", text).expect("a configuration");
    let mut relay = relay(config.clone());
    assert!(relay.targets().is_empty());
    assert!(slots(&relay, "r").iter().all(|slot| slot.now == 0));
    reload(&mut relay, config.with_addresses(&known(&HOME[..1])));
    check(&mut relay, "10.0.1.1", true);
    let all: std::collections::BTreeSet<_> = owners(&relay).into_iter().collect();
    assert_eq!(all.len(), 2, "it has the state of its parent");
}

/// Two redirects to sockets of the same port, one of which has a name among its nodes.
fn two_redirects(pool: &[&str]) -> Config {
    config(
        &[("a", pool), ("b", &["10.0.1.9"])],
        &[
            ("r", "10.0.0.1:1080", "a", 1080),
            ("s", "10.0.0.2:1080", "b", 1080),
        ],
    )
}

#[test]
fn an_address_by_which_connections_would_be_lost_is_told_beforehand() {
    let pool = ["dante-1", "10.0.1.3"];
    for home in [&[][..], &HOME[..1]] {
        let relay = relay(two_redirects(&pool).with_addresses(&known(home)));
        let lost = |address| {
            let config = relay
                .config()
                .with_addresses(&known(&[("dante-1", address)]));
            relay.newly_tracked_by(&config).expect("room")
        };
        assert_eq!(lost("10.0.1.1"), []);
        assert_eq!(lost("10.0.1.7"), []);
        let places = lost("10.0.1.9");
        assert!(places.contains(&tcp("10.0.1.9", 1080)), "{places:?}");
        assert!(places.contains(&tcp("10.0.1.3", 1080)), "{places:?}");
    }
}

#[test]
fn the_address_of_a_node_that_has_gone_is_not_shared_while_connections_are_there() {
    let relay = {
        let mut relay = relay(two_redirects(&["dante-1"]).with_addresses(&known(&HOME)));
        let moved = config(
            &[("a", &["dante-1"]), ("b", &["10.0.1.8"])],
            &[
                ("r", "10.0.0.1:1080", "a", 1080),
                ("s", "10.0.0.2:1080", "b", 1080),
            ],
        );
        reload(&mut relay, moved.with_addresses(&known(&HOME)));
        relay
    };
    let config = relay
        .config()
        .with_addresses(&known(&[("dante-1", "10.0.1.9")]));
    let places = relay.newly_tracked_by(&config).expect("room");
    assert!(places.contains(&tcp("10.0.1.9", 1080)), "{places:?}");
}

#[test]
fn redirects_that_share_a_name_record_connections_before_it_is_found() {
    let text = config(
        &[
            ("a", &["dante-1", "10.0.1.3"]),
            ("b", &["dante-1", "10.0.1.9"]),
        ],
        &[
            ("r", "10.0.0.1:1080", "a", 1080),
            ("s", "10.0.0.2:1080", "b", 1080),
        ],
    );
    let relay = relay(text);
    let node = relay.desired().endpoints[&tcp("10.0.1.9", 1080)];
    assert_ne!(node.flags & redirector_common::abi::ENDPOINT_TRACKED, 0);
    let config = relay.config().with_addresses(&known(&HOME));
    assert_eq!(relay.newly_tracked_by(&config).expect("room"), []);
}
