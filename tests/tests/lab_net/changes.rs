//! What changes in the kernel shows in the view.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use redirector::{
    family::Family,
    net::{
        monitor::Monitor,
        resolve::{Unresolved, resolve, source_for},
        trie::{Answer, ReturnTrie},
        view::NetView,
    },
};
use redirector_common::abi::NextHop;

use crate::{
    NETS, Net, Views, allowed, hop, index, ip,
    lab::{Lab, NODE_MAC},
    until,
};

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
