//! The agent's view of the network against a real kernel: a relay in a network namespace of its own,
//! with a client's side and a node's side.
//!
//! `cargo test -p redirector-tests --features lab --test lab_net` as root.
#![cfg(feature = "lab")]

mod lab;

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use redirector::net::{
    monitor::Monitor,
    resolve::{Unresolved, neighbour_of, resolve, source_for},
    solicit::Solicitor,
    trie::{Answer, ReturnTrie},
    view::{NeighbourState, NetView},
};
use redirector_common::abi::NextHop;
use tokio::sync::watch;

use crate::lab::{Lab, NODE_MAC};

const PATIENCE: Duration = Duration::from_secs(10);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);

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
        mtu: 0,
        reserved: 0,
    }
}

#[test]
fn changes_of_links_addresses_routes_and_neighbours_show_in_the_view() {
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
        assert!(view.is_own(Ipv4Addr::new(10, 0, 1, 1)) && !view.policy_rules);
        assert_eq!(source_for(&view, NODE), Some(Ipv4Addr::new(10, 0, 1, 1)));
        let why = resolve(&view, NODE, &allowed(&view)).unwrap_err();
        assert!(matches!(why, Unresolved::NeighbourUnknown { .. }), "{why}");

        let changed = Instant::now();
        lab.ip(&format!(
            "neigh add 10.0.1.2 lladdr {NODE_MAC} dev eth0 nud permanent"
        ));
        let view = until(&mut views, "the node is resolved", |view| {
            resolve(view, NODE, &allowed(view)).is_ok()
        })
        .await;
        println!(
            "a neighbour shows {:?} after `ip neigh add` was started",
            changed.elapsed()
        );
        assert_eq!(resolve(&view, NODE, &allowed(&view)), Ok(hop(&view)));

        lab.ip("route add 192.0.2.0/24 via 10.0.1.2");
        let far = Ipv4Addr::new(192, 0, 2, 7);
        let view = until(&mut views, "there is a route", |view| {
            resolve(view, far, &allowed(view)).is_ok()
        })
        .await;
        let trie = ReturnTrie::build(&view, &allowed(&view));
        assert_eq!(trie.lookup(far), Answer::Hop(hop(&view)));
        lab.ip("route replace blackhole 192.0.2.0/24");
        until(&mut views, "the route is a blackhole", |view| {
            matches!(
                resolve(view, far, &allowed(view)),
                Err(Unresolved::NotUnicast { .. })
            )
        })
        .await;
        lab.ip("route del blackhole 192.0.2.0/24");
        until(&mut views, "the route is gone", |view| {
            resolve(view, far, &allowed(view)) == Err(Unresolved::NoRoute(far))
        })
        .await;

        lab.ip("rule add fwmark 7 table 100");
        until(&mut views, "there are policy rules", |view| {
            view.policy_rules
        })
        .await;
        lab.ip("rule del fwmark 7 table 100");
        until(&mut views, "there are none", |view| !view.policy_rules).await;

        lab.node_ip("link set eth0 down");
        until(&mut views, "the carrier is lost", |view| {
            matches!(
                resolve(view, NODE, &allowed(view)),
                Err(Unresolved::LinkDown { up: true, .. })
            )
        })
        .await;
        lab.node_ip("link set eth0 up");
        until(&mut views, "it is back", |view| {
            resolve(view, NODE, &allowed(view)).is_ok()
        })
        .await;
    });
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
    let view = lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        Arc::clone(&monitor.views().borrow())
    });
    let trie = ReturnTrie::build(&view, &allowed(&view));
    let mut seen = [0; 3];
    for text in [
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
    ] {
        let address: Ipv4Addr = text.parse().unwrap();
        let kernel = lab.route_get(address);
        let to_node = kernel.contains("dev eth0") && !kernel.contains("broadcast");
        match trie.lookup(address) {
            Answer::Hop(found) => {
                assert!(to_node, "{text}: {kernel}");
                assert_eq!(found, hop(&view), "{text}");
                seen[0] += 1;
            }
            Answer::Local => {
                assert!(
                    kernel.starts_with("local") || kernel.starts_with("broadcast"),
                    "{text}: {kernel}"
                );
                seen[1] += 1;
            }
            Answer::AskKernel => seen[2] += 1,
        }
        let ours = neighbour_of(&view, address, &allowed(&view));
        if let Ok((_, neighbour)) = ours {
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
    assert_eq!(
        trie.lookup("10.9.8.0".parse().unwrap()),
        Answer::Hop(hop(&view))
    );
    assert_eq!(trie.lookup("10.9.4.0".parse().unwrap()), Answer::AskKernel);
    assert_eq!(
        trie.lookup("203.0.113.1".parse().unwrap()),
        Answer::AskKernel
    );
}

#[test]
fn a_solicited_neighbour_is_resolved_and_kept_until_it_is_let_go() {
    let lab = Lab::new();
    lab.ip(&format!(
        "neigh add 10.0.1.77 lladdr {NODE_MAC} dev eth0 nud permanent"
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

        solicitor.solicit(eth0, NODE).await.unwrap();
        let view = until(&mut views, "the node is resolved", |view| {
            resolve(view, NODE, &allowed(view)).is_ok()
        })
        .await;
        assert_eq!(resolve(&view, NODE, &allowed(&view)), Ok(hop(&view)));
        assert!(!view.neighbours[&(eth0, NODE)].managed);

        solicitor.keep(eth0, NODE).await.unwrap();
        until(&mut views, "it is kept", |view| {
            view.neighbours[&(eth0, NODE)].managed
        })
        .await;
        solicitor.solicit(eth0, NODE).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(
            views.borrow().neighbours[&(eth0, NODE)].managed,
            "asking once ends no keeping"
        );
        solicitor.unmanage(eth0, NODE).await.unwrap();
        until(&mut views, "it is let go", |view| {
            !view.neighbours[&(eth0, NODE)].managed
        })
        .await;

        let nobody = Ipv4Addr::new(10, 0, 1, 99);
        solicitor.keep(eth0, nobody).await.unwrap();
        until(&mut views, "nobody answers", |view| {
            view.neighbours
                .get(&(eth0, nobody))
                .is_some_and(|known| known.state == NeighbourState::Failed)
        })
        .await;
        assert!(resolve(&views.borrow(), nobody, &allowed(&views.borrow())).is_err());
        solicitor.unmanage(eth0, nobody).await.unwrap();
        solicitor
            .unmanage(eth0, Ipv4Addr::new(10, 0, 1, 98))
            .await
            .unwrap();
        assert!(solicitor.solicit(4711, NODE).await.is_err());

        let fixed = Ipv4Addr::new(10, 0, 1, 77);
        solicitor.keep(eth0, fixed).await.unwrap();
        assert!(lab.ip("neigh show 10.0.1.77").contains("PERMANENT"));
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
        let before = views.borrow_and_update().routes.len();
        // The runtime's only thread waits here, so that nobody reads the notifications.
        lab.batch(&flood);
        lab.batch("route del 20.0.0.1/32\nroute add 20.255.0.1/32 via 10.0.1.2\n");
        let flooded = Instant::now();
        let last = Ipv4Addr::new(20, 255, 0, 1);
        let complete = |view: &NetView| {
            view.routes.len() == before + 60_000
                && view.routes.lookup(last).is_some()
                && view.routes.lookup(Ipv4Addr::new(20, 0, 0, 1)).is_none()
        };
        let view = until(&mut views, "all routes are there", complete).await;
        println!("60,000 routes caught up with in {:?}", flooded.elapsed());

        let changed = Instant::now();
        lab.ip("route add 20.255.0.2/32 via 10.0.1.2");
        let next = Ipv4Addr::new(20, 255, 0, 2);
        until(&mut views, "one more is there", |view| {
            view.routes.lookup(next).is_some()
        })
        .await;
        println!(
            "one more shows {:?} after `ip route add` was started",
            changed.elapsed()
        );
        view.routes.len()
    });
    assert!(routes >= 60_000);
}
