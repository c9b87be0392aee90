//! Nodes that have the state of another one.

use std::{collections::BTreeSet, net::Ipv4Addr};

use redirector::{config::Config, engine::Relay};

use super::{address_of, check, relay, slots};

/// Node `child` of one pool follows `parent` of another, which another redirect reaches at another port.
fn family() -> Relay {
    let text = "interfaces = [\"eth0\"]\n\
        [pool.a]\nnodes = [{ address = \"10.0.1.1\", name = \"parent\" }]\n\
        [pool.b]\nnodes = [{ address = \"10.0.1.2\", name = \"child\", parent = \"a/parent\" }, \"10.0.1.3\"]\n\
        [redirect.a]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"a\", port = 1080 }\n\
        [redirect.b]\nlisten = [\"10.0.0.1:1081\"]\nforward-to = { pool = \"b\", port = 1081 }\n";
    relay(Config::parse("test", text).unwrap_or_else(|problems| panic!("{problems}")))
}

/// The hosts that take clients of redirect `b`.
fn takes_clients(relay: &Relay) -> BTreeSet<String> {
    let slots = slots(relay, "b");
    let backends: BTreeSet<u16> = slots.iter().map(|slot| slot.now).collect();
    let hosts = backends.into_iter().filter(|backend| *backend != 0);
    hosts
        .map(|backend| address_of(relay, backend).ip().to_string())
        .collect()
}

#[test]
fn a_child_is_not_checked_and_goes_up_and_down_with_its_parent() {
    let mut relay = family();
    let targets = relay.targets();
    let checked: Vec<_> = targets.iter().map(|(target, _)| target.address).collect();
    assert!(
        checked.iter().all(|a| a.ip() != Ipv4Addr::new(10, 0, 1, 2)),
        "{checked:?}"
    );
    // The parent is checked once, where clients reach it.
    assert!(
        checked.contains(&([10, 0, 1, 1], 1080).into()),
        "{checked:?}"
    );
    assert_eq!(checked.len(), 2);
    let both: BTreeSet<String> = ["10.0.1.2", "10.0.1.3"].map(str::to_owned).into();
    assert_eq!(takes_clients(&relay), both);
    check(&mut relay, "10.0.1.1", false);
    assert_eq!(
        takes_clients(&relay),
        BTreeSet::from(["10.0.1.3".to_owned()])
    );
    check(&mut relay, "10.0.1.1", true);
    assert_eq!(takes_clients(&relay), both);
}

#[test]
fn those_who_follow_a_node_are_known() {
    let relay = family();
    let followers = |node: &str| {
        let targets = relay.targets();
        let (target, _) = targets
            .iter()
            .find(|(target, _)| target.node == node)
            .expect("a target");
        relay.followers(target)
    };
    let child = ("b".to_owned(), "child".to_owned());
    assert_eq!(followers("parent"), BTreeSet::from([child]));
    assert_eq!(followers("10.0.1.3"), BTreeSet::new());
}
