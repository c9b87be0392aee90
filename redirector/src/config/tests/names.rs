//! Names in place of addresses.

use super::super::{Addresses, HostName, Known};
use super::*;
use crate::family::Family;

const NAMED: &str = r#"
interfaces = ["eth0"]
[pool.a]
nodes = ["Dante-1.Example.net", { address = "dante-2", name = "p2", weight = 3 }, "10.0.1.9"]
[pool.b]
nodes = [{ address = "dante-3", parent = "spare/p4" }]
[pool.spare]
nodes = [{ address = "dante-4", name = "p4" }, "dante-5"]
[redirect.r]
listen = ["10.0.0.1:1080"]
forward-to = { pool = "a", port = 1080 }
[redirect.s]
listen = ["[2001:db8::1]:1080"]
forward-to = { pool = "b", port = 1080 }
"#;

fn parse(text: &str) -> Config {
    Config::parse("t", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn complaint(text: &str) -> String {
    let problems = Config::parse("t", text).unwrap_err();
    problems.to_string()
}

fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn known(pairs: &[(&str, &str)]) -> Known {
    let pairs = pairs.iter().map(|(name, address)| {
        let address: IpAddr = address.parse().unwrap();
        (host(name), Addresses::from(address))
    });
    pairs.collect()
}

#[test]
fn a_node_may_have_a_name_for_an_address_and_is_nowhere_until_that_is_looked_up() {
    let config = parse(NAMED);
    let [first, second, third] = config.pools[0].nodes.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(
        first.name, "dante-1.example.net",
        "as it is written, in lower case"
    );
    assert_eq!(first.host, Some(host("dante-1.example.net")));
    assert!(first.addresses.is_empty());
    assert_eq!((second.name.as_str(), second.weight), ("p2", 3));
    assert_eq!(third.host, None);
    assert!(third.is_at([10, 0, 1, 9].into()));
    let there = config.with_addresses(&known(&[("dante-2", "10.0.1.2"), ("stranger", "10.0.1.3")]));
    assert!(there.pools[0].nodes[0].addresses.is_empty());
    assert!(there.pools[0].nodes[1].is_at([10, 0, 1, 2].into()));
    assert_eq!(there.pools[0].nodes[2], *third);
    assert_eq!(there.with_addresses(&Known::new()), config);
    assert_eq!(differences(&config, &there), [], "no setting has changed");
}

#[test]
fn names_are_wanted_in_the_families_of_the_redirects_that_reach_them_or_those_whose_state_they_have()
 {
    let hosts = parse(NAMED).hosts();
    let wanted: Vec<_> = hosts
        .iter()
        .map(|(host, families)| (host.as_str(), families.iter().copied().collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        wanted,
        [
            ("dante-1.example.net", vec![Family::V4]),
            ("dante-2", vec![Family::V4]),
            ("dante-3", vec![Family::V6]),
            ("dante-4", vec![Family::V6]),
        ]
    );
}

#[test]
fn how_names_are_looked_up_can_be_said_and_nonsense_is_refused() {
    assert_eq!(parse(NAMED).dns, Dns::default());
    let with = |lines: &str| format!("{NAMED}\n[dns]\n{lines}\n");
    let said = "interval = \"10s\"\ntimeout = \"500ms\"\nservers = [\"10.0.0.53\", \"[2001:db8::53]:5353\"]";
    let dns = parse(&with(said)).dns;
    assert_eq!(dns.interval, Duration::from_secs(10));
    assert_eq!(dns.timeout, Duration::from_millis(500));
    let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.53:53", "[2001:db8::53]:5353"]);
    for (lines, message) in [
        ("interval = \"1ms\"", "`interval` of 1ms is out of range"),
        ("timeout = \"0s\"", "`timeout` of 0s is out of range"),
        ("servers = []", "`servers` is empty"),
        (
            "servers = [\"ns.example\"]",
            "\"ns.example\" is no name server",
        ),
        (
            "servers = [\"0.0.0.0\"]",
            "nobody can be asked at 0.0.0.0:53",
        ),
        (
            "servers = [\"10.0.0.53\", \"10.0.0.53:53\"]",
            "listed twice",
        ),
        ("server = [\"10.0.0.53\"]", "did you mean `servers`?"),
    ] {
        let told = complaint(&with(lines));
        assert!(told.contains(message), "{lines}: {told}");
    }
}

#[test]
fn a_name_that_is_none_or_is_there_twice_is_refused() {
    for (name, message) in [
        ("dante 1", "neither an address nor a host's name"),
        ("-dante", "neither an address nor a host's name"),
        ("dante..example", "neither an address nor a host's name"),
        ("10.0.1.300", "four numbers from 0 to 255"),
        ("dante-1.example.net", "is in pool `a` twice"),
    ] {
        let told = complaint(&NAMED.replace("dante-2", name));
        assert!(told.contains(message), "{name}: {told}");
    }
}

#[test]
fn what_would_be_a_mistake_with_addresses_is_one_with_what_names_stand_for() {
    let config = parse(NAMED);
    assert_eq!(config.clash(), None);
    for (pairs, message) in [
        (vec![("dante-2", "10.0.1.2")], None),
        (
            vec![("dante-2", "10.0.0.1")],
            Some("10.0.0.1 is shared by redirect `r`"),
        ),
        (
            vec![("dante-2", "10.0.1.9")],
            Some("10.0.1.9 is in pool `a` twice, as `p2`"),
        ),
        (
            vec![("dante-2", "10.0.1.2"), ("dante-1.example.net", "10.0.1.2")],
            Some("10.0.1.2 is in pool `a` twice"),
        ),
        (
            vec![("dante-3", "2001:db8::9"), ("dante-4", "2001:db8::9")],
            None,
        ),
    ] {
        let clash = config.with_addresses(&known(&pairs)).clash();
        match (&clash, message) {
            (Some(clash), Some(message)) => assert!(clash.contains(message), "{clash}"),
            (clash, message) => assert_eq!(clash.as_deref(), message, "{pairs:?}"),
        }
    }
    let reached_twice = NAMED.replace(
        "[redirect.s]\nlisten = [\"[2001:db8::1]:1080\"]",
        "[redirect.s]\nlisten = [\"10.0.0.7:1080\"]\non-down = \"keep\"",
    );
    let config = parse(&reached_twice);
    let both = known(&[("dante-2", "10.0.1.2"), ("dante-3", "10.0.1.2")]);
    let clash = config.with_addresses(&both).clash().unwrap_or_default();
    assert!(clash.contains("with different `on-down`"), "{clash}");
}
