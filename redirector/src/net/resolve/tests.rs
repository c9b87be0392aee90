use super::{
    super::{
        routes::{Placement, route},
        view::{Address, Event, Link, Neighbour, NeighbourState},
    },
    *,
};

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 9];
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2));

fn ip4(octets: [u8; 4]) -> IpAddr {
    octets.into()
}

/// eth0 (1) and eth1 (2); the node is on-link on eth1 and known; eth0 leads to the world.
fn view() -> NetView {
    let mut view = NetView::default();
    for (index, name) in [(1, "eth0"), (2, "eth1")] {
        let link = Link {
            name: name.into(),
            mac: Some(OURS),
            up: true,
            carrier: true,
            mtu: 1500,
            ..Link::default()
        };
        view.apply(Event::Link(index, link));
    }
    view.apply(Event::Route(
        route("10.0.1.0/24", None, 2),
        Placement::First,
    ));
    view.apply(Event::Route(
        route("0.0.0.0/0", Some("10.0.0.254"), 1),
        Placement::First,
    ));
    let known = Neighbour {
        mac: Some(THEIRS),
        state: NeighbourState::Stale,
        managed: false,
    };
    view.apply(Event::Neighbour(2, NODE, known));
    view
}

fn both() -> BTreeSet<u32> {
    BTreeSet::from([1, 2])
}

#[test]
fn an_on_link_node_resolves_to_its_own_address() {
    let hop = NextHop {
        destination: THEIRS,
        source: OURS,
        ifindex: 2,
        mtu: 1500,
        ..NextHop::default()
    };
    assert_eq!(resolve(&view(), NODE, &both()), Ok(hop));
}

#[test]
fn a_remote_node_resolves_to_its_gateway() {
    let mut view = view();
    view.apply(Event::Route(
        route("10.9.0.0/16", Some("10.0.1.2"), 2),
        Placement::First,
    ));
    let hop = NextHop {
        destination: THEIRS,
        source: OURS,
        ifindex: 2,
        mtu: 1500,
        ..NextHop::default()
    };
    assert_eq!(resolve(&view, ip4([10, 9, 1, 1]), &both()), Ok(hop));
}

#[test]
fn an_unknown_gateway_is_named_with_its_interface() {
    let why = resolve(&view(), ip4([192, 0, 2, 1]), &both()).unwrap_err();
    let gateway = ip4([10, 0, 0, 254]);
    let interface = "eth0".to_owned();
    assert_eq!(
        why,
        Unresolved::NeighbourUnknown {
            ifindex: 1,
            interface,
            address: gateway
        }
    );
    assert!(
        why.to_string()
            .starts_with("10.0.0.254 does not answer ARP on eth0"),
        "{why}"
    );
}

#[test]
fn without_a_route_the_text_says_how_to_add_one() {
    let mut view = view();
    view.apply(Event::RouteGone(route("0.0.0.0/0", Some("10.0.0.254"), 1)));
    let why = resolve(&view, ip4([192, 0, 2, 1]), &both()).unwrap_err();
    assert_eq!(why, Unresolved::NoRoute(ip4([192, 0, 2, 1])));
    assert!(why.to_string().contains("ip route add"), "{why}");
}

#[test]
fn a_route_of_a_refusing_kind_is_no_way() {
    for kind in [RouteKind::Local, RouteKind::Blackhole, RouteKind::Prohibit] {
        let mut view = view();
        let refusing = Route {
            kind,
            ..route("10.0.1.2/32", None, 2)
        };
        view.apply(Event::Route(refusing, Placement::First));
        assert!(matches!(
            resolve(&view, NODE, &both()),
            Err(Unresolved::NotUnicast { kind: found, .. }) if found == kind
        ));
    }
}

#[test]
fn a_default_route_does_not_make_hosts_of_broadcast_and_multicast_addresses() {
    for address in [
        Ipv4Addr::BROADCAST.into(),
        Ipv4Addr::UNSPECIFIED.into(),
        ip4([224, 0, 0, 1]),
    ] {
        let found = way_to(&view(), address, &both());
        assert!(
            matches!(found, Err(Unresolved::NotUnicast { .. })),
            "{address}"
        );
    }
    assert!(way_to(&view(), ip4([223, 0, 0, 1]), &both()).is_ok());
}

#[test]
fn an_interface_that_is_not_served_is_named() {
    let why = resolve(&view(), NODE, &BTreeSet::from([1])).unwrap_err();
    let interface = "eth1".to_owned();
    assert_eq!(
        why,
        Unresolved::NotAttached {
            destination: NODE,
            interface
        }
    );
}

#[test]
fn a_link_without_carrier_differs_from_one_set_down() {
    for (up, hint) in [(true, "cable"), (false, "ip link set eth1 up")] {
        let mut view = view();
        let mut link = view.links[&2].clone();
        (link.up, link.carrier) = (up, false);
        view.links.insert(2, link);
        let why = resolve(&view, NODE, &both()).unwrap_err();
        assert!(matches!(why, Unresolved::LinkDown { up: found, .. } if found == up));
        assert!(why.to_string().contains(hint), "{why}");
    }
}

#[test]
fn a_multipath_route_is_refused_and_a_next_hop_object_with_a_gateway_is_not() {
    for (special, ifindex, fine) in [
        (Special::Multipath, None, false),
        (Special::Encapsulated, Some(2), false),
        (Special::NextHopObject, None, false),
        (Special::NextHopObject, Some(2), true),
        (Special::SourceSpecific, Some(2), false),
    ] {
        let mut view = view();
        let special_route = Route {
            special: Some(special),
            ifindex,
            ..route("10.0.1.2/32", None, 2)
        };
        view.apply(Event::Route(special_route, Placement::First));
        assert_eq!(resolve(&view, NODE, &both()).is_ok(), fine, "{special:?}");
    }
}

#[test]
fn a_failed_neighbour_does_not_resolve_though_its_last_address_is_kept() {
    let mut view = view();
    let failed = Neighbour {
        mac: Some(THEIRS),
        state: NeighbourState::Failed,
        managed: true,
    };
    view.apply(Event::Neighbour(2, NODE, failed));
    assert!(matches!(
        resolve(&view, NODE, &both()),
        Err(Unresolved::NeighbourUnknown {
            ifindex: 2,
            address: NODE,
            ..
        })
    ));
}

#[test]
fn the_source_is_the_routes_or_the_interfaces_address_of_that_network() {
    let mut view = view();
    for text in ["192.168.7.1/24", "10.0.1.1/24"] {
        let net: IpNet = text.parse().unwrap();
        let own = Address {
            local: net.addr(),
            subnet: net.trunc(),
            secondary: false,
            global: true,
        };
        view.apply(Event::Address(2, own));
    }
    assert_eq!(source_for(&view, NODE), Some(ip4([10, 0, 1, 1])));
    assert_eq!(
        source_for(&view, ip4([192, 0, 2, 1])),
        None,
        "eth0 has no address"
    );
    let preferring = Route {
        source: Some(ip4([192, 168, 7, 1])),
        ..route("10.0.1.2/32", None, 2)
    };
    view.apply(Event::Route(preferring, Placement::First));
    assert_eq!(source_for(&view, NODE), Some(ip4([192, 168, 7, 1])));
}

const NODE6: &str = "2001:db8:1::2";

/// As [`view`], with the same in IPv6: the node's network on eth1, the world by a link-local gateway of
/// eth0.
fn view6() -> NetView {
    let mut view = view();
    for new in [
        route("2001:db8:1::/64", None, 2),
        route("fe80::/64", None, 1),
        route("fe80::/64", None, 2),
        route("::/0", Some("fe80::9"), 1),
    ] {
        view.apply(Event::Route(new, Placement::Last));
    }
    let known = view.neighbours[&(2, NODE)];
    view.apply(Event::Neighbour(2, NODE6.parse().unwrap(), known));
    // The same address by the other interface is another host.
    let other = Neighbour {
        mac: Some([2; 6]),
        ..known
    };
    view.apply(Event::Neighbour(2, "fe80::9".parse().unwrap(), other));
    view
}

fn towards(view: &NetView, address: &str) -> Result<NextHop, Unresolved> {
    resolve(view, address.parse().unwrap(), &both())
}

#[test]
fn an_ipv6_node_resolves_on_link_or_by_its_link_local_gateway() {
    let mut view = view6();
    let hop = NextHop {
        destination: THEIRS,
        source: OURS,
        ifindex: 2,
        mtu: 1500,
        ..NextHop::default()
    };
    assert_eq!(towards(&view, NODE6), Ok(hop));
    let why = towards(&view, "2001:db8:9::1").unwrap_err();
    assert_eq!(
        why,
        Unresolved::NeighbourUnknown {
            ifindex: 1,
            interface: "eth0".into(),
            address: "fe80::9".parse().unwrap()
        }
    );
    assert!(
        why.to_string()
            .starts_with("fe80::9 does not answer neighbour discovery on eth0"),
        "{why}"
    );
    let known = view.neighbours[&(2, NODE)];
    view.apply(Event::Neighbour(1, "fe80::9".parse().unwrap(), known));
    let through = NextHop { ifindex: 1, ..hop };
    assert_eq!(towards(&view, "2001:db8:9::1"), Ok(through));
}

#[test]
fn the_mtu_is_the_smaller_of_the_routes_and_the_interfaces() {
    for (node, host) in [
        (NODE.to_string(), "10.0.1.2/32"),
        (NODE6.into(), "2001:db8:1::2/128"),
    ] {
        for (mtu, expected) in [(1280, 1280), (9000, 1500)] {
            let mut view = view6();
            let limited = Route {
                mtu: Some(mtu),
                ..route(host, None, 2)
            };
            view.apply(Event::Route(limited, Placement::First));
            assert_eq!(towards(&view, &node).map(|hop| hop.mtu), Ok(expected));
        }
    }
}

#[test]
fn a_link_local_node_is_refused_with_the_reason() {
    let why = towards(&view6(), "fe80::9").unwrap_err();
    assert_eq!(why, Unresolved::LinkLocal("fe80::9".parse().unwrap()));
    for (address, kind) in [("ff02::1", RouteKind::Multicast), ("::", RouteKind::Local)] {
        let why = towards(&view6(), address).unwrap_err();
        assert!(
            matches!(why, Unresolved::NotUnicast { kind: found, .. } if found == kind),
            "{why}"
        );
    }
}

#[test]
fn ipv6_routes_that_take_turns_are_refused_and_ipv4s_first_is_taken() {
    for (prefix, node, refused) in [
        ("10.0.1.2/32", NODE.to_string(), false),
        ("2001:db8:1::2/128", NODE6.into(), true),
    ] {
        let mut view = view6();
        view.apply(Event::Route(route(prefix, None, 2), Placement::Last));
        assert!(towards(&view, &node).is_ok());
        view.apply(Event::Route(route(prefix, None, 1), Placement::Last));
        let why = towards(&view, &node);
        assert_eq!(why.is_err(), refused, "{why:?}");
    }
    let mut view = view6();
    let from = Route {
        special: Some(Special::SourceSpecific),
        metric: 9,
        ..route("2001:db8:1::/64", None, 2)
    };
    view.apply(Event::Route(from, Placement::Last));
    let why = towards(&view, NODE6).unwrap_err();
    assert!(
        matches!(
            why,
            Unresolved::Special {
                special: Special::SourceSpecific,
                ..
            }
        ),
        "{why}"
    );
    assert!(
        why.to_string()
            .contains("ip route add 2001:db8:1::2/128 via"),
        "{why}"
    );
}

#[test]
fn the_source_of_ipv6_is_the_address_most_like_the_destination() {
    let mut view = view6();
    for (text, secondary) in [
        ("fe80::1/64", false),
        ("2001:db8:7::1/64", false),
        ("2001:db8:1::8/64", true),
        ("2001:db8:1::1/64", false),
    ] {
        let net: IpNet = text.parse().unwrap();
        let own = Address {
            local: net.addr(),
            subnet: net.trunc(),
            secondary,
            global: !text.starts_with("fe80"),
        };
        view.apply(Event::Address(2, own));
    }
    let source = |address: &str| source_for(&view, address.parse().unwrap());
    assert_eq!(source(NODE6), Some("2001:db8:1::1".parse().unwrap()));
    assert_eq!(source("2001:db8:9::1"), None, "eth0 has no address");
}
