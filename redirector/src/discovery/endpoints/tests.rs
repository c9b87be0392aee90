use serde_json::{Value, json};

use super::*;
use crate::config::Config;

pub(crate) fn kubernetes(more: &str) -> Kubernetes {
    let text = format!(
        "interfaces = [\"eth0\"]\n[pool.p.kubernetes]\nnamespace = \"socks\"\nservice = \"dante\"\n{more}\n\
         [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = {{ pool = \"p\", port = 1080 }}\n"
    );
    let config = Config::parse("t", &text).unwrap_or_else(|problems| panic!("{problems}"));
    match config.pools[0].source.clone() {
        Some(crate::config::Source::Kubernetes(kubernetes)) => kubernetes,
        other => panic!("{other:?}"),
    }
}

fn endpoint(pod: &str, address: &str, conditions: &Value) -> Value {
    json!({
        "addresses": [address],
        "conditions": conditions,
        "targetRef": { "kind": "Pod", "namespace": "socks", "name": pod },
    })
}

fn slice(kind: &str, port: u16, endpoints: &[Value]) -> EndpointSlice {
    serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "dante-abcde" },
        "addressType": kind,
        "ports": [{ "name": "socks", "port": port, "protocol": "TCP" }],
        "endpoints": endpoints,
    }))
    .expect("a slice")
}

/// The nodes of slices.
fn discovered<'s>(
    kubernetes: &Kubernetes,
    slices: impl IntoIterator<Item = &'s EndpointSlice>,
) -> Vec<Discovered> {
    let slices = slices.into_iter();
    let all: Vec<Placed> = slices.flat_map(|slice| placed(kubernetes, slice)).collect();
    super::discovered(&all)
}

fn named(nodes: &[Discovered]) -> Vec<String> {
    let nodes = nodes.iter();
    nodes
        .map(|node| {
            let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
            format!(
                "{} {} {}",
                node.name,
                addresses.join("+"),
                node.readiness.word()
            )
        })
        .collect()
}

/// The rows of the API's documentation of `EndpointConditions`.
#[test]
fn conditions_say_whether_an_endpoint_takes_clients() {
    for (conditions, readiness) in [
        (json!({}), Readiness::Ready),
        (json!({ "ready": true }), Readiness::Ready),
        (json!({ "ready": false }), Readiness::NotReady),
        (
            json!({ "ready": false, "serving": true, "terminating": true }),
            Readiness::Terminating,
        ),
        (
            json!({ "ready": false, "serving": false, "terminating": true }),
            Readiness::NotReady,
        ),
        (
            json!({ "ready": false, "serving": false, "terminating": false }),
            Readiness::NotReady,
        ),
        // A service that publishes those that are not ready.
        (
            json!({ "ready": true, "serving": true, "terminating": true }),
            Readiness::Terminating,
        ),
    ] {
        let slice = slice("IPv4", 1080, &[endpoint("a", "10.0.1.2", &conditions)]);
        let nodes = discovered(&kubernetes(""), [&slice]);
        assert_eq!(nodes[0].readiness, readiness, "{conditions}");
    }
}

#[test]
fn a_pod_of_both_families_is_one_node_and_one_without_a_pod_is_called_by_its_address() {
    let ready = json!({ "ready": true });
    let ipv4 = slice(
        "IPv4",
        1080,
        &[
            endpoint("dante-0", "10.0.1.2", &ready),
            json!({ "addresses": ["10.0.1.9", "10.0.1.10"] }),
            json!({ "addresses": ["no address"] }),
            json!({ "addresses": [] }),
            json!({ "addresses": ["2001:db8::9"] }),
        ],
    );
    let ipv6 = slice("IPv6", 1080, &[endpoint("dante-0", "2001:db8::2", &ready)]);
    let names = slice(
        "FQDN",
        1080,
        &[json!({ "addresses": ["dante.example.net"] })],
    );
    let slices = [&ipv6, &ipv4, &names];
    assert_eq!(
        named(&discovered(&kubernetes(""), slices)),
        [
            "10.0.1.9 10.0.1.9 ready",
            "dante-0 10.0.1.2+2001:db8::2 ready"
        ]
    );
    assert_eq!(
        named(&discovered(&kubernetes("family = \"ipv6\""), slices)),
        ["dante-0 2001:db8::2 ready"]
    );
}

#[test]
fn only_slices_with_the_port_count() {
    let ready = json!({ "ready": true });
    let first = slice("IPv4", 1080, &[endpoint("a", "10.0.1.2", &ready)]);
    let second = slice("IPv4", 1081, &[endpoint("b", "10.0.1.3", &ready)]);
    let ports = |more: &str| -> Vec<(String, Option<u16>)> {
        let nodes = discovered(&kubernetes(more), [&first, &second]);
        nodes
            .into_iter()
            .map(|node| (node.name, node.port))
            .collect()
    };
    let both = |first, second| vec![("a".to_owned(), first), ("b".to_owned(), second)];
    assert_eq!(ports(""), both(None, None));
    assert_eq!(ports("port = \"socks\""), both(Some(1080), Some(1081)));
    assert_eq!(ports("port = 1081"), both(None, Some(1081))[1..]);
    assert_eq!(ports("port = \"http\""), []);
}

#[test]
fn what_is_there_twice_counts_once_by_the_better_word() {
    let (ready, ending) = (
        json!({ "ready": true }),
        json!({ "ready": false, "serving": true, "terminating": true }),
    );
    // While slices are rewritten.
    let old = slice("IPv4", 1080, &[endpoint("a", "10.0.1.2", &ending)]);
    let new = slice("IPv4", 1080, &[endpoint("a", "10.0.1.2", &ready)]);
    for slices in [[&old, &new], [&new, &old]] {
        assert_eq!(
            named(&discovered(&kubernetes(""), slices)),
            ["a 10.0.1.2 ready"]
        );
    }
    // With host networking the next pod has the address of the one before.
    let next = slice("IPv4", 1080, &[endpoint("b", "10.0.1.2", &ready)]);
    for slices in [[&old, &next], [&next, &old]] {
        assert_eq!(
            named(&discovered(&kubernetes(""), slices)),
            ["b 10.0.1.2 ready"]
        );
    }
    // In one family it ends already.
    let ipv6 = slice("IPv6", 1080, &[endpoint("a", "2001:db8::2", &ending)]);
    assert_eq!(
        named(&discovered(&kubernetes(""), [&new, &ipv6])),
        ["a 10.0.1.2+2001:db8::2 terminating"]
    );
}

#[test]
fn only_a_name_that_comes_back_outlives_an_address() {
    let ready = json!({ "ready": true });
    let mut of_a_set = endpoint("dante-0", "10.0.1.2", &ready);
    of_a_set["hostname"] = json!("dante-0");
    let of_a_deployment = endpoint("dante-5d4f-x7k2p", "10.0.1.3", &ready);
    let long = endpoint(&"a".repeat(64), "10.0.1.4", &ready);
    let strange = endpoint("a b/c", "10.0.1.5", &ready);
    let address = endpoint("10.0.1.2", "10.0.1.6", &ready);
    let slice = slice(
        "IPv4",
        1080,
        &[of_a_set, of_a_deployment, long, strange, address],
    );
    let nodes = discovered(&kubernetes(""), [&slice]);
    let lasting: Vec<(&str, bool)> = nodes.iter().map(|n| (n.name.as_str(), n.lasting)).collect();
    assert_eq!(
        lasting,
        [
            ("10.0.1.4", false),
            ("10.0.1.5", false),
            ("10.0.1.6", false),
            ("dante-0", true),
            ("dante-5d4f-x7k2p", false),
        ]
    );
}
