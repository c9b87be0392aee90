//! The agent's view of the network against a real kernel: a relay in a network namespace of its own,
//! with a client's side and a node's side.
//!
//! `cargo test -p redirector-tests --features lab --test lab_net` as root.
#![cfg(feature = "lab")]

mod lab;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use redirector::{
    family::Family,
    net::{
        monitor::Monitor,
        resolve::{Unresolved, resolve, source_for, way_to},
        solicit::Solicitor,
        trie::{Answer, ReturnTrie},
        view::{NeighbourState, NetView},
    },
};
use redirector_common::abi::NextHop;
use tokio::sync::watch;

use crate::lab::{Lab, NODE_MAC};

const PATIENCE: Duration = Duration::from_secs(10);
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2));
const NODE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2));

/// The same network in one family.
struct Net {
    family: Family,
    own: &'static str,
    node: IpAddr,
    /// How the node is named as a gateway.
    gateway: &'static str,
    /// A network behind it, and a host of it.
    far: (&'static str, &'static str),
    /// Addresses of the node's network that nobody has.
    nobody: [&'static str; 3],
}

const NETS: [Net; 2] = [
    Net {
        family: Family::V4,
        own: "10.0.1.1",
        node: NODE,
        gateway: "10.0.1.2",
        far: ("192.0.2.0/24", "192.0.2.7"),
        nobody: ["10.0.1.77", "10.0.1.98", "10.0.1.99"],
    },
    Net {
        family: Family::V6,
        own: "2001:db8:1::1",
        node: NODE6,
        gateway: "fe80::2",
        far: ("2001:db8:2::/48", "2001:db8:2::7"),
        nobody: ["2001:db8:1::77", "2001:db8:1::98", "2001:db8:1::99"],
    },
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

type Views = watch::Receiver<Arc<NetView>>;

/// Waits for a view that satisfies a condition.
async fn until(
    views: &mut Views,
    what: &str,
    condition: impl Fn(&NetView) -> bool,
) -> Arc<NetView> {
    let newest = views.clone();
    let found = tokio::time::timeout(PATIENCE, views.wait_for(|view| condition(view))).await;
    let Ok(found) = found else {
        let view = newest.borrow();
        let (links, neighbours) = (&view.links, &view.neighbours);
        panic!(
            "no view in which {what}: {links:?} {neighbours:?} {} routes",
            view.routes.len()
        )
    };
    found.expect("the monitor lives").clone()
}

fn index(view: &NetView, name: &str) -> u32 {
    view.link_by_name(name)
        .unwrap_or_else(|| panic!("no {name} in {view:#?}"))
        .0
}

fn allowed(view: &NetView) -> BTreeSet<u32> {
    BTreeSet::from([index(view, "eth0")])
}

fn hop(view: &NetView) -> NextHop {
    NextHop {
        destination: [2, 0, 0, 0, 0, 2],
        source: [2, 0, 0, 0, 0, 1],
        ifindex: index(view, "eth0"),
        mtu: 1500,
        ..NextHop::default()
    }
}

#[test]
fn changes_of_links_addresses_routes_and_neighbours_show_in_the_view() {
    for net in &NETS {
        follow_changes(net);
    }
}

fn follow_changes(net: &Net) {
    let lab = Lab::new();
    lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        let view = until(&mut views, "eth0 is usable", |view| {
            view.link_by_name("eth0")
                .is_some_and(|(_, link)| link.usable())
        })
        .await;
        let eth0 = index(&view, "eth0");
        assert_eq!(view.links[&eth0].mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(view.links[&eth0].kind.as_deref(), Some("veth"));
        assert!(view.is_own(ip(net.own)) && view.policy_rules.is_empty());
        assert_eq!(source_for(&view, net.node), Some(ip(net.own)));
        let why = resolve(&view, net.node, &allowed(&view)).unwrap_err();
        assert!(matches!(why, Unresolved::NeighbourUnknown { .. }), "{why}");

        let changed = Instant::now();
        lab.ip(&format!(
            "neigh add {} lladdr {NODE_MAC} dev eth0 nud permanent",
            net.node
        ));
        if net.gateway != net.node.to_string() {
            lab.ip(&format!(
                "neigh add {} lladdr {NODE_MAC} dev eth0 nud permanent",
                net.gateway
            ));
        }
        let view = until(&mut views, "the node is resolved", |view| {
            resolve(view, net.node, &allowed(view)).is_ok()
        })
        .await;
        println!(
            "a neighbour shows {:?} after `ip neigh add` was started",
            changed.elapsed()
        );
        assert_eq!(resolve(&view, net.node, &allowed(&view)), Ok(hop(&view)));

        follow_a_route(net, &lab, &mut views).await;

        let family = match net.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        lab.ip(&format!("{family} rule add fwmark 7 table 100"));
        until(&mut views, "there are policy rules", |view| {
            view.policy_rules == BTreeSet::from([net.family])
        })
        .await;
        lab.ip(&format!("{family} rule del fwmark 7 table 100"));
        until(&mut views, "there are none", |view| {
            view.policy_rules.is_empty()
        })
        .await;

        lab.node_ip("link set eth0 down");
        until(&mut views, "the carrier is lost", |view| {
            matches!(
                resolve(view, net.node, &allowed(view)),
                Err(Unresolved::LinkDown { up: true, .. })
            )
        })
        .await;
        lab.node_ip("link set eth0 up");
        until(&mut views, "it is back", |view| {
            resolve(view, net.node, &allowed(view)).is_ok()
        })
        .await;
    });
}

/// A route that comes, gets an MTU of its own, leads nowhere, and goes.
async fn follow_a_route(net: &Net, lab: &Lab, views: &mut Views) {
    let (prefix, far) = (net.far.0, ip(net.far.1));
    lab.ip(&format!("route add {prefix} via {} dev eth0", net.gateway));
    let view = until(views, "there is a route", |view| {
        resolve(view, far, &allowed(view)).is_ok()
    })
    .await;
    let trie = ReturnTrie::build(&view, &allowed(&view), net.family);
    assert_eq!(trie.lookup(far), Answer::Hop(hop(&view)));
    lab.ip(&format!(
        "route replace {prefix} via {} dev eth0 mtu 1300",
        net.gateway
    ));
    let view = until(views, "the route has an MTU", |view| {
        resolve(view, far, &allowed(view)).is_ok_and(|hop| hop.mtu == 1300)
    })
    .await;
    let trie = ReturnTrie::build(&view, &allowed(&view), net.family);
    let limited = NextHop {
        mtu: 1300,
        ..hop(&view)
    };
    assert_eq!(trie.lookup(far), Answer::Hop(limited));
    lab.ip("link set eth0 mtu 1290");
    until(views, "the interface has a smaller one", |view| {
        resolve(view, far, &allowed(view)).is_ok_and(|hop| hop.mtu == 1290)
    })
    .await;
    lab.ip("link set eth0 mtu 1500");
    lab.ip(&format!("route replace blackhole {prefix}"));
    until(views, "the route is a blackhole", |view| {
        matches!(
            resolve(view, far, &allowed(view)),
            Err(Unresolved::NotUnicast { .. })
        )
    })
    .await;
    lab.ip(&format!("route del blackhole {prefix}"));
    until(views, "the route is gone", |view| {
        resolve(view, far, &allowed(view)) == Err(Unresolved::NoRoute(far))
    })
    .await;
}

#[test]
fn routes_that_vanish_without_a_message_vanish_from_the_view() {
    let lab = Lab::new();
    lab.ip("addr add 10.0.9.1/32 dev lo");
    lab.ip("route add 192.0.2.0/24 via 10.0.1.2 src 10.0.9.1");
    lab.ip("route add 198.51.100.0/24 via 10.0.1.2");
    lab.ip("route add 192.88.99.0/24 nexthop via 10.0.1.2 nexthop via 10.0.1.3");
    lab.ip("nexthop add id 5 via 10.0.1.2 dev eth0");
    lab.ip("route add 203.0.113.0/24 nhid 5");
    let has = |view: &NetView, prefix: &str| {
        view.routes
            .iter()
            .any(|route| route.prefix == prefix.parse().unwrap())
    };
    lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        for prefix in ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"] {
            assert!(has(&views.borrow(), prefix), "{prefix}");
        }
        lab.ip("nexthop del id 5");
        until(&mut views, "the object's route is gone", |view| {
            !has(view, "203.0.113.0/24")
        })
        .await;
        lab.ip("addr del 10.0.9.1/32 dev lo");
        until(&mut views, "its source is gone", |view| {
            !has(view, "192.0.2.0/24")
        })
        .await;
        assert!(has(&views.borrow(), "198.51.100.0/24") && has(&views.borrow(), "192.88.99.0/24"));
        lab.ip("link set eth0 down");
        until(&mut views, "its interface is down", |view| {
            !has(view, "198.51.100.0/24")
        })
        .await;
        until(&mut views, "so are all its next hops", |view| {
            !has(view, "192.88.99.0/24")
        })
        .await;
        let eth0 = index(&views.borrow(), "eth0");
        lab.ip("link del eth0");
        until(&mut views, "the interface is gone", |view| {
            view.link_by_name("eth0").is_none() && !view.addresses.contains_key(&eth0)
        })
        .await;
    });
}

#[test]
fn gateways_of_ipv6_that_come_and_go_alone_show_in_the_view() {
    let lab = Lab::new();
    let (prefix, far) = ("2001:db8:2::/48", ip("2001:db8:2::7"));
    for gateway in ["fe80::2", "fe80::3"] {
        lab.ip(&format!(
            "neigh add {gateway} lladdr {NODE_MAC} dev eth0 nud permanent"
        ));
    }
    lab.ip("nexthop add id 5 via fe80::2 dev eth0");
    lab.ip("route add 2001:db8:3::/48 nhid 5");
    lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        let gateways = |view: &NetView| -> Vec<Option<IpAddr>> {
            let of_prefix = view.routes.iter();
            of_prefix
                .filter(|route| route.prefix == prefix.parse().unwrap())
                .map(|route| route.gateway)
                .collect()
        };
        let answer =
            |view: &NetView| ReturnTrie::build(view, &allowed(view), Family::V6).lookup(far);
        lab.ip(&format!("-6 route add {prefix} via fe80::2 dev eth0"));
        let view = until(&mut views, "there is one gateway", |view| {
            gateways(view) == [Some(ip("fe80::2"))]
        })
        .await;
        assert_eq!(answer(&view), Answer::Hop(hop(&view)));
        lab.ip(&format!("-6 route append {prefix} via fe80::3 dev eth0"));
        let view = until(&mut views, "there are two", |view| gateways(view) == [None]).await;
        assert_eq!(answer(&view), Answer::AskKernel);
        let why = resolve(&view, far, &allowed(&view)).unwrap_err();
        assert!(matches!(why, Unresolved::Special { .. }), "{why}");
        lab.ip(&format!("-6 route del {prefix} via fe80::2 dev eth0"));
        let view = until(&mut views, "there is the other", |view| {
            gateways(view) == [Some(ip("fe80::3"))]
        })
        .await;
        assert_eq!(answer(&view), Answer::Hop(hop(&view)));

        let has = |view: &NetView, address: &str| view.routes.lookup(ip(address)).is_some();
        assert!(has(&views.borrow(), "2001:db8:3::1"));
        lab.ip("nexthop del id 5");
        until(&mut views, "the object's route is gone", |view| {
            !has(view, "2001:db8:3::1")
        })
        .await;
        lab.ip("link set eth0 down");
        until(&mut views, "the interface's routes are gone", |view| {
            !has(view, "2001:db8:2::7") && !has(view, "2001:db8:1::2")
        })
        .await;
    });
}

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

#[test]
fn a_solicited_neighbour_is_resolved_and_kept_until_it_is_let_go() {
    for net in &NETS {
        solicit_and_keep(net);
    }
}

fn solicit_and_keep(net: &Net) {
    let lab = Lab::new();
    let node = net.node;
    let [fixed, stranger, nobody] = net.nobody.map(ip);
    lab.ip(&format!(
        "neigh add {fixed} lladdr {NODE_MAC} dev eth0 nud permanent"
    ));
    lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        until(&mut views, "eth0 is usable", |view| {
            view.link_by_name("eth0")
                .is_some_and(|(_, link)| link.usable())
        })
        .await;
        let eth0 = index(&views.borrow(), "eth0");
        let solicitor = Solicitor::open(monitor.views()).unwrap();

        solicitor.solicit(eth0, node).await.unwrap();
        let view = until(&mut views, "the node is resolved", |view| {
            resolve(view, node, &allowed(view)).is_ok()
        })
        .await;
        assert_eq!(resolve(&view, node, &allowed(&view)), Ok(hop(&view)));
        assert!(!view.neighbours[&(eth0, node)].managed);

        solicitor.keep(eth0, node).await.unwrap();
        until(&mut views, "it is kept", |view| {
            view.neighbours[&(eth0, node)].managed
        })
        .await;
        solicitor.solicit(eth0, node).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(
            views.borrow().neighbours[&(eth0, node)].managed,
            "asking once ends no keeping"
        );
        solicitor.unmanage(eth0, node).await.unwrap();
        until(&mut views, "it is let go", |view| {
            !view.neighbours[&(eth0, node)].managed
        })
        .await;

        solicitor.keep(eth0, nobody).await.unwrap();
        until(&mut views, "nobody answers", |view| {
            view.neighbours
                .get(&(eth0, nobody))
                .is_some_and(|known| known.state == NeighbourState::Failed)
        })
        .await;
        assert!(resolve(&views.borrow(), nobody, &allowed(&views.borrow())).is_err());
        solicitor.unmanage(eth0, nobody).await.unwrap();
        solicitor.unmanage(eth0, stranger).await.unwrap();
        assert!(solicitor.solicit(4711, node).await.is_err());

        solicitor.keep(eth0, fixed).await.unwrap();
        assert!(lab.ip(&format!("neigh show {fixed}")).contains("PERMANENT"));
    });
}

#[test]
fn a_flood_of_changes_that_overruns_the_socket_is_caught_up_with() {
    let lab = Lab::new();
    let line = |n: u32| {
        let [_, high, middle, low] = n.to_be_bytes();
        format!("route add 20.{high}.{middle}.{low}/32 via 10.0.1.2\n")
    };
    let flood = (0..60_000).map(line).collect::<Vec<_>>().concat();
    let routes = lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        let count = |view: &NetView| {
            let routes = view.routes.iter();
            routes.filter(|route| route.family() == Family::V4).count()
        };
        let before = count(&views.borrow_and_update());
        // The runtime's only thread waits here, so that nobody reads the notifications.
        lab.batch(&flood);
        lab.batch("route del 20.0.0.1/32\nroute add 20.255.0.1/32 via 10.0.1.2\n");
        let flooded = Instant::now();
        let last = ip("20.255.0.1");
        let complete = |view: &NetView| {
            count(view) == before + 60_000
                && view.routes.lookup(last).is_some()
                && view.routes.lookup(ip("20.0.0.1")).is_none()
        };
        let view = until(&mut views, "all routes are there", complete).await;
        println!("60,000 routes caught up with in {:?}", flooded.elapsed());

        let changed = Instant::now();
        lab.ip("route add 20.255.0.2/32 via 10.0.1.2");
        let next = ip("20.255.0.2");
        until(&mut views, "one more is there", |view| {
            view.routes.lookup(next).is_some()
        })
        .await;
        println!(
            "one more shows {:?} after `ip route add` was started",
            changed.elapsed()
        );
        count(&view)
    });
    assert!(routes >= 60_000);
}
