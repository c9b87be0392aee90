//! Pools whose nodes are named elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{
    Discovered, DiscoveredNodes, EndpointPort, HostName, Readiness, Slices, Source,
};
use super::*;
use crate::family::Family;

const CLUSTER: &str = r#"
interfaces = ["eth0"]
[pool.a]
check = "tcp"
min-active = 2
[pool.a.kubernetes]
namespace = "socks"
service = "dante"
port = "socks"
[pool.b]
nodes = ["10.0.1.9"]
[redirect.r]
listen = ["10.0.0.1:1080", "[2001:db8::1]:1080"]
forward-to = { pool = "a", port = 1080 }
backup = "c"
[pool.c.dns]
name = "_Socks._tcp.example.net"
"#;

fn parse(text: &str) -> Config {
    Config::parse("t", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn complaint(from: &str, to: &str) -> String {
    assert!(CLUSTER.contains(from), "{from}");
    let problems = Config::parse("t", &CLUSTER.replacen(from, to, 1));
    problems.unwrap_err().to_string()
}

fn node(name: &str, addresses: &[&str]) -> Discovered {
    let addresses = addresses.iter().map(|text| text.parse().unwrap());
    Discovered::new(name.to_owned(), addresses.collect())
}

#[test]
fn a_pool_has_a_source_in_place_of_nodes() {
    let config = parse(CLUSTER);
    let Some(Source::Kubernetes(kubernetes)) = &config.pools[0].source else {
        panic!("{config:?}");
    };
    assert_eq!(kubernetes.namespace, "socks");
    assert_eq!(kubernetes.slices, Slices::Service("dante".to_owned()));
    assert_eq!(kubernetes.selector(), "kubernetes.io/service-name=dante");
    assert_eq!(
        kubernetes.port,
        Some(EndpointPort::Name("socks".to_owned()))
    );
    assert_eq!(kubernetes.empty_grace, Duration::from_secs(30));
    assert!(config.pools[0].nodes.is_empty());
    let sources = config.sources();
    let both: BTreeSet<Family> = Family::BOTH.into();
    assert_eq!(sources["a"].0.to_string(), "kubernetes socks/dante:socks");
    assert_eq!(sources["c"].0.to_string(), "dns _socks._tcp.example.net");
    assert!(sources.values().all(|(_, families)| *families == both));
    assert_eq!(sources.len(), 2, "the file lists the nodes of `b`");
}

#[test]
fn the_nodes_of_a_source_are_those_of_the_pool_and_of_no_other() {
    let config = parse(CLUSTER);
    let named = [
        ("a", vec![node("dante-0", &["10.0.1.2", "2001:db8:1::2"])]),
        ("b", vec![node("dante-1", &["10.0.1.3"])]),
    ];
    let named: DiscoveredNodes = named.map(|(pool, nodes)| (pool.to_owned(), nodes)).into();
    let there = config.with_discovered(&named);
    assert_eq!(there.pools[0].nodes[0].name, "dante-0");
    assert!(there.pools[0].nodes[0].is_at("2001:db8:1::2".parse().unwrap()));
    assert_eq!(there.pools[1], config.pools[1]);
    assert_eq!(
        there.clash(),
        None,
        "one family may have nodes before the other"
    );
    assert_eq!(there.with_discovered(&DiscoveredNodes::new()), config);
}

#[test]
fn only_a_name_that_lasts_is_what_the_hash_knows_a_node_by() {
    let config = parse(CLUSTER);
    let lasting = Discovered {
        lasting: true,
        readiness: Readiness::Terminating,
        ..node("dante-0", &["10.0.1.2"])
    };
    let nodes = vec![lasting, node("dante-x7k2p", &["10.0.1.3"])];
    let named = [("a".to_owned(), nodes)].into();
    let there = config.with_discovered(&named);
    let names: Vec<_> = there.pools[0]
        .nodes
        .iter()
        .map(|n| n.lasting_name())
        .collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0].map(HostName::as_str), Some("dante-0"));
    assert_eq!(names[1], None);
}

#[test]
fn mistakes_are_reported_where_they_are() {
    for (from, to, message) in [
        ("namespace = \"socks\"\n", "", "namespace"),
        ("service = \"dante\"\n", "", "service"),
        ("\"dante\"", "\"Dante\"", "`service` cannot be \"Dante\""),
        (
            "\"socks\"\nservice",
            "\"a/b\"\nservice",
            "`namespace` cannot be \"a/b\"",
        ),
        ("port = \"socks\"", "port = 0", "`port` cannot be 0"),
        (
            "port = \"socks\"",
            "port = 1.5",
            "the number or the name of a port",
        ),
        (
            "port = \"socks\"",
            "family = \"ipv5\"",
            "`family` cannot be \"ipv5\"",
        ),
        (
            "port = \"socks\"",
            "selector = \"a=b\"",
            "either `service` or `selector`",
        ),
        (
            "service = \"dante\"",
            "selector = \" \"",
            "`selector` cannot be",
        ),
        (
            "port = \"socks\"",
            "kubeconfig = \"config\"",
            "no absolute path",
        ),
        ("port = \"socks\"", "empty-grace = \"0s\"", "empty-grace"),
        ("port = \"socks\"", "pord = 1", "did you mean `port`?"),
        (
            "check = \"tcp\"",
            "nodes = [\"10.0.1.2\"]",
            "one of `nodes`, `kubernetes` and `dns`",
        ),
        (
            "[pool.b]",
            "[pool.a.dns]\nname = \"a\"\n[pool.b]",
            "one of `nodes`, `kubernetes` and `dns`",
        ),
        ("nodes = [\"10.0.1.9\"]", "", "nodes"),
        ("name = \"_Socks._tcp.example.net\"", "", "name"),
        (
            "_Socks._tcp.example.net",
            "10.0.0.1",
            "\"10.0.0.1\" is no name",
        ),
        (
            "nodes = [\"10.0.1.9\"]",
            "nodes = [{ address = \"10.0.1.9\", parent = \"a/dante-0\" }]",
            "could be a parent",
        ),
    ] {
        let text = complaint(from, to);
        assert!(text.contains(message), "{to}: {text}");
    }
    let selected = CLUSTER.replace(
        "service = \"dante\"",
        "selector = \"app in (dante, sockd)\"",
    );
    assert_eq!(
        parse(&selected).sources()["a"].0.to_string(),
        "kubernetes socks/(app in (dante, sockd)):socks"
    );
}
