//! The trie and the kernel, asked for the same addresses, say the same.

use std::sync::Arc;

use redirector::{
    family::Family,
    net::{
        monitor::Monitor,
        resolve::{source_for, way_to},
        trie::{Answer, ReturnTrie},
    },
};

use crate::{
    allowed, hop, ip,
    lab::{Lab, NODE_MAC},
};

#[test]
fn the_trie_agrees_with_the_kernel() {
    let lab = Lab::new();
    lab.ip(&format!(
        "neigh add 10.0.1.2 lladdr {NODE_MAC} dev eth0 nud permanent"
    ));
    lab.ip(&format!(
        "neigh add 10.0.1.200 lladdr {NODE_MAC} dev eth0 nud permanent"
    ));
    for route in [
        "default via 10.0.1.2",
        "10.9.0.0/16 via 10.0.1.2 metric 50",
        "blackhole 10.9.4.0/22",
        "10.9.5.0/24 via 10.0.1.2",
        "unreachable 10.9.5.128/25",
        "127.8.0.0/16 via 10.0.1.2",
        "local 10.10.0.0/16 dev lo",
        "throw 10.11.0.0/16",
        "203.0.113.0/24 nexthop via 10.0.1.2 nexthop via 10.0.1.200",
    ] {
        lab.ip(&format!("route add {route}"));
    }
    let trie = agree(
        &lab,
        &[
            "1.2.3.4",
            "10.0.1.1",
            "10.0.1.2",
            "10.0.1.3",
            "10.0.1.200",
            "10.0.1.255",
            "10.9.0.1",
            "10.9.3.255",
            "10.9.4.0",
            "10.9.5.1",
            "10.9.5.127",
            "10.9.5.128",
            "10.9.7.255",
            "10.9.8.0",
            "10.10.3.4",
            "10.11.0.1",
            "127.0.0.1",
            "127.8.0.1",
            "203.0.113.1",
            "255.255.255.255",
        ],
    );
    assert!(matches!(trie.lookup(ip("10.9.8.0")), Answer::Hop(_)));
    assert_eq!(trie.lookup(ip("10.9.4.0")), Answer::AskKernel);
    assert_eq!(trie.lookup(ip("203.0.113.1")), Answer::AskKernel);
}

#[test]
fn the_ipv6_trie_agrees_with_the_kernel() {
    let lab = Lab::new();
    for neighbour in ["2001:db8:1::2", "2001:db8:1::200", "fe80::2", "fe80::200"] {
        lab.ip(&format!(
            "neigh add {neighbour} lladdr {NODE_MAC} dev eth0 nud permanent"
        ));
    }
    for route in [
        "default via fe80::2 dev eth0",
        "2001:db8:9::/48 via 2001:db8:1::2 metric 50",
        "blackhole 2001:db8:9:4000::/50",
        "2001:db8:9:5000::/64 via fe80::2 dev eth0",
        "unreachable 2001:db8:9:5000:8000::/65",
        "local 2001:db8:10::/48 dev lo",
        "throw 2001:db8:11::/48",
        "2001:db8:12::/48 nexthop via fe80::2 dev eth0 nexthop via fe80::200 dev eth0",
        "2001:db8:13::/48 from 2001:db8:99::/48 via fe80::2 dev eth0",
    ] {
        lab.ip(&format!("-6 route add {route}"));
    }
    let trie = agree(
        &lab,
        &[
            "2000::1",
            "2001:db8::ffff",
            "2001:db8:1::1",
            "2001:db8:1::2",
            "2001:db8:1::3",
            "2001:db8:1::200",
            "2001:db8:1:0:ffff:ffff:ffff:ffff",
            "2001:db8:1:1::",
            "2001:db8:8:ffff:ffff:ffff:ffff:ffff",
            "2001:db8:9::",
            "2001:db8:9:3fff::1",
            "2001:db8:9:4000::",
            "2001:db8:9:5000:7fff::",
            "2001:db8:9:5000:8000::",
            "2001:db8:9:5001::",
            "2001:db8:9:8000::",
            "2001:db8:10::7",
            "2001:db8:11::7",
            "2001:db8:12::7",
            "2001:db8:13::7",
            "::1",
            "fe80::2",
            "ff02::1",
        ],
    );
    for address in [
        "2001:db8:9::",
        "2001:db8:9:5000:7fff::",
        "2001:db8:1::2",
        "2000::1",
    ] {
        assert!(
            matches!(trie.lookup(ip(address)), Answer::Hop(_)),
            "{address}"
        );
    }
    for address in [
        "2001:db8:9:4000::",
        "2001:db8:12::7",
        "2001:db8:13::7",
        "fe80::2",
    ] {
        assert_eq!(trie.lookup(ip(address)), Answer::AskKernel, "{address}");
    }
    assert_eq!(trie.lookup(ip("2001:db8:10::7")), Answer::Local);
}

/// Compares the trie of the probes' family with what the kernel says of each.
fn agree(lab: &Lab, probes: &[&str]) -> ReturnTrie {
    let view = lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        Arc::clone(&monitor.views().borrow())
    });
    let trie = ReturnTrie::build(&view, &allowed(&view), Family::of(ip(probes[0])));
    let mut seen = [0; 3];
    for text in probes {
        let address = ip(text);
        let kernel = lab.route_get(address);
        let ours = ["local", "broadcast", "multicast"];
        let is_ours = ours.iter().any(|kind| kernel.starts_with(kind));
        let to_node = kernel.contains("dev eth0") && !is_ours;
        match trie.lookup(address) {
            Answer::Hop(found) => {
                assert!(to_node, "{text}: {kernel}");
                assert_eq!(found, hop(&view), "{text}");
                seen[0] += 1;
            }
            Answer::Local => {
                assert!(is_ours, "{text}: {kernel}");
                seen[1] += 1;
            }
            Answer::AskKernel => seen[2] += 1,
        }
        if let Ok(way) = way_to(&view, address, &allowed(&view)) {
            let neighbour = way.neighbour;
            let via = kernel.contains(&format!("via {neighbour}")) || neighbour == address;
            assert!(to_node && via, "{text}: {neighbour} but {kernel}");
        }
        if let (true, Some(source)) = (to_node, source_for(&view, address)) {
            assert!(
                kernel.contains(&format!("src {source}")),
                "{text}: {source} but {kernel}"
            );
        }
    }
    assert!(seen.iter().all(|count| *count >= 3), "{seen:?}");
    trie
}
