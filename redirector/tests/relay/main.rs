//! The relay through changes of its configuration: what a reload may and may not do to the slots.

mod adoption;
mod endpoints;
mod modes;
mod moves;
mod names;
mod operator;
mod parents;
mod peers;
mod room;
mod rounds;
mod selection;
mod shared_tables;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use redirector::{
    config::Config,
    engine::{Found, Relay, RelayError, State, Write, plan},
    health::{Health, Observation, Outcome},
    names::Place,
};
use redirector_common::{
    abi::{MAX_REDIRECTS, NextHop, Slot},
    wire::protocol,
};

const KEY: [u64; 2] = [3, 5];

/// A redirect: name, listener, pool, port of the nodes.
type Redirect<'a> = (&'a str, &'a str, &'a str, u16);

fn config(pools: &[(&str, &[&str])], redirects: &[Redirect<'_>]) -> Config {
    let pools = pools
        .iter()
        .map(|(pool, nodes)| format!("[pool.{pool}]\nnodes = {nodes:?}\n"));
    let redirects = redirects.iter().map(|(name, listen, pool, port)| {
        format!(
            "[redirect.{name}]\nlisten = [{listen:?}]\nforward-to = {{ pool = {pool:?}, port = {port} }}\n"
        )
    });
    let text: String = std::iter::once("interfaces = [\"eth0\"]\n".to_owned())
        .chain(pools)
        .chain(redirects)
        .collect();
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn reach(relay: &mut Relay) {
    let hop = NextHop {
        ifindex: 1,
        ..NextHop::default()
    };
    relay.reach(|_| Some(hop), 0);
}

/// Every check of `address` succeeds, or fails often enough.
fn check(relay: &mut Relay, address: &str, up: bool) {
    let address: IpAddr = address.parse().expect("an address");
    let outcome = if up {
        Outcome::Connected
    } else {
        Outcome::Refused
    };
    let targets = relay.targets();
    for (target, _) in targets {
        if target.address.ip() == address {
            for _ in 0..10 {
                let observation = Observation {
                    target: target.clone(),
                    which: 0,
                    outcome: outcome.clone(),
                    took: Duration::ZERO,
                    at: Instant::now(),
                };
                relay.observe(&observation, 0);
            }
        }
    }
}

/// A relay whose nodes are reachable and up.
fn relay(config: Config) -> Relay {
    let mut relay = Relay::new(config, KEY, Found::default(), 0, Instant::now()).expect("a relay");
    reach(&mut relay);
    for node in nodes(&relay) {
        check(&mut relay, &node, true);
    }
    relay
}

fn nodes(relay: &Relay) -> Vec<String> {
    let targets = relay.targets();
    targets
        .iter()
        .map(|(target, _)| target.address.ip().to_string())
        .collect()
}

fn reload(relay: &mut Relay, config: Config) {
    relay
        .reconfigure(config, 0, Instant::now())
        .expect("a configuration that can be taken");
    reach(relay);
}

fn slots(relay: &Relay, name: &str) -> Vec<Slot> {
    let state = relay.redirects().values().find(|state| state.name == name);
    state.expect("the redirect").book.table().slots.to_vec()
}

fn address_of(relay: &Relay, backend: u16) -> SocketAddr {
    relay.backends().get(backend).expect("a backend").address
}

/// Does what the agent does; gives the indices of the tables that were put in place.
fn apply(held: &mut State, relay: &Relay) -> Vec<u16> {
    let writes = plan(held, &relay.desired());
    for write in &writes {
        held.note(write);
    }
    held.forget_tables(&relay.desired());
    let mut tables = Vec::new();
    for write in &writes {
        if let Write::Table(index, _) = write {
            tables.push(*index);
        }
    }
    tables
}

/// A relay for the redirects of `text`, over pools of both families.
fn relay_of(text: &str) -> Relay {
    relay(config_of(text))
}

fn config_of(text: &str) -> Config {
    let text = format!(
        "interfaces = [\"eth0\"]\n[flows]\nudp-timeout = \"60s\"\nsession-timeout = \"600s\"\n\
         [pool.a]\nnodes = [\"10.0.1.1\", \"2001:db8:1::1\", \"10.0.1.2\"]\n\
         [pool.b]\nnodes = [\"10.0.1.2\", \"10.0.1.3\"]\ncheck = {{ type = \"tcp\", port = 1080 }}\n{text}"
    );
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn tcp(address: &str, port: u16) -> Place {
    Place {
        address: address.parse().expect("an address"),
        port,
        protocol: protocol::TCP,
    }
}

fn udp(address: &str, port: u16) -> Place {
    Place {
        protocol: protocol::UDP,
        ..tcp(address, port)
    }
}

const TWO: &[&str] = &["10.0.1.1", "10.0.1.2"];

#[test]
fn a_redirect_that_gets_another_name_keeps_its_slots() {
    let pools: &[(&str, &[&str])] = &[("nodes", TWO)];
    let mut relay = relay(config(pools, &[("old", "10.0.0.1:1080", "nodes", 1080)]));
    check(&mut relay, "10.0.1.1", false);
    let before = slots(&relay, "old");
    assert!(before.iter().any(|slot| slot.is_split()));
    let listener = relay.redirects()[&0].listeners[0];
    reload(
        &mut relay,
        config(pools, &[("new", "10.0.0.1:1080", "nodes", 1080)]),
    );
    assert!(slots(&relay, "new") == before, "connections would move");
    assert_eq!(relay.redirects()[&0].listeners, [listener]);
}

#[test]
fn redirects_that_swap_names_keep_what_their_listeners_had() {
    let pools: &[(&str, &[&str])] = &[("a", TWO), ("b", &["10.0.2.1"])];
    let mut relay = relay(config(
        pools,
        &[
            ("one", "10.0.0.1:1080", "a", 1080),
            ("two", "10.0.0.1:1081", "b", 1080),
        ],
    ));
    check(&mut relay, "10.0.1.1", false);
    let before = slots(&relay, "one");
    reload(
        &mut relay,
        config(
            pools,
            &[
                ("two", "10.0.0.1:1080", "a", 1080),
                ("one", "10.0.0.1:1081", "b", 1080),
            ],
        ),
    );
    assert!(slots(&relay, "two") == before);
}

#[test]
fn a_redirect_in_the_place_of_a_removed_one_gets_a_table_of_its_own() {
    let pools: &[(&str, &[&str])] = &[("nodes", TWO)];
    let redirect = |name, listen| config(pools, &[(name, listen, "nodes", 1080)]);
    let mut held = State::default();
    let mut relay = relay(redirect("a", "10.0.0.1:1080"));
    assert_eq!(apply(&mut held, &relay), [0]);
    let generation = held.tables[&0];
    reload(&mut relay, redirect("b", "10.0.0.1:1081"));
    assert_eq!(apply(&mut held, &relay), [1]);
    reload(&mut relay, redirect("c", "10.0.0.1:1082"));
    assert_eq!(relay.redirects()[&0].book.table().generation, generation);
    assert_eq!(
        apply(&mut held, &relay),
        [0],
        "its clients would be sent by the table of the removed redirect"
    );
}

#[test]
fn a_pool_that_gets_another_name_goes_on_serving() {
    let redirect = |pool| [("r", "10.0.0.1:1080", pool, 1080)];
    let mut relay = relay(config(&[("old", TWO)], &redirect("old")));
    let before = slots(&relay, "r");
    reload(&mut relay, config(&[("new", TWO)], &redirect("new")));
    assert!(slots(&relay, "r") == before);
}

#[test]
fn a_pool_that_gets_another_name_does_not_revive_a_node_that_is_down() {
    let redirect = |pool| [("r", "10.0.0.1:1080", pool, 1080)];
    let mut relay = relay(config(&[("old", TWO)], &redirect("old")));
    check(&mut relay, "10.0.1.1", false);
    reload(&mut relay, config(&[("new", TWO)], &redirect("new")));
    let slots = slots(&relay, "r");
    for slot in slots {
        let address = address_of(&relay, slot.now);
        assert_eq!(address.ip(), IpAddr::from([10, 0, 1, 2]));
    }
    let (target, _) = &relay.targets()[0];
    let health = relay.checked(target).expect("checked").tracker.health();
    assert_eq!(health, Health::Unknown);
}

#[test]
fn more_redirects_at_once_than_there_is_room_for_change_nothing() {
    let pools: &[(&str, &[&str])] = &[("nodes", &["10.0.1.1"])];
    let many = |from: u16| -> Config {
        let names: Vec<(String, String, u16)> = (from..from + 150)
            .map(|n| (format!("r{n}"), format!("10.0.0.1:{n}"), n))
            .collect();
        let redirects: Vec<Redirect<'_>> = names
            .iter()
            .map(|(name, listen, port)| (name.as_str(), listen.as_str(), "nodes", *port))
            .collect();
        config(pools, &redirects)
    };
    let mut relay =
        Relay::new(many(1000), KEY, Found::default(), 0, Instant::now()).expect("a relay");
    assert_eq!(
        relay.reconfigure(many(3000), 0, Instant::now()),
        Err(RelayError::TooManyRedirects(MAX_REDIRECTS))
    );
    assert!(
        relay
            .redirects()
            .values()
            .any(|state| state.name == "r1000")
    );
    assert!(relay.redirects().keys().all(|index| *index < 256));
}
