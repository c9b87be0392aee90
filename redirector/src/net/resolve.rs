//! Where a packet to an address goes: the next hop, or why there is none.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;
use redirector_common::abi::NextHop;
use thiserror::Error;

use super::{
    routes::{Route, RouteKind, Special},
    view::NetView,
};

/// Why an address has no next hop that the data path could use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unresolved {
    /// No route matches.
    #[error(
        "no route to {0}; add one (`ip route add`) or put an address of its network on an interface"
    )]
    NoRoute(Ipv4Addr),
    /// The route does not lead to another host.
    #[error(
        "the route to {destination} ({prefix}) is of kind {kind:?}; it must lead to another host"
    )]
    NotUnicast {
        /// The address asked for.
        destination: Ipv4Addr,
        /// The route's prefix.
        prefix: Ipv4Net,
        /// The route's kind.
        kind: RouteKind,
    },
    /// The route is more than one gateway on one interface.
    #[error(
        "the route to {destination} ({prefix}) is special ({special:?}); give {destination} a plain route of its own (`ip route add {destination}/32 via GATEWAY dev INTERFACE`)"
    )]
    Special {
        /// The address asked for.
        destination: Ipv4Addr,
        /// The route's prefix.
        prefix: Ipv4Net,
        /// What is special about it.
        special: Special,
    },
    /// The route leaves through an interface that the redirector does not serve.
    #[error(
        "{destination} is reached through {interface}, which is not one of the redirector's interfaces; add it to `interfaces` or change the route"
    )]
    NotAttached {
        /// The address asked for.
        destination: Ipv4Addr,
        /// Name of the interface.
        interface: String,
    },
    /// The interface is down, has no carrier, or is gone.
    #[error("{interface}, which leads to {destination}, is {}; {}", if *.up { "without carrier" } else { "down" }, if *.up { "check the cable and the other side".to_owned() } else { format!("`ip link set {interface} up`") })]
    LinkDown {
        /// The address asked for.
        destination: Ipv4Addr,
        /// Name of the interface.
        interface: String,
        /// Whether the administrator has set it up.
        up: bool,
    },
    /// The interface has no Ethernet address.
    #[error(
        "{interface}, which leads to {destination}, is not an Ethernet interface; reach it through one"
    )]
    NotEthernet {
        /// The address asked for.
        destination: Ipv4Addr,
        /// Name of the interface.
        interface: String,
    },
    /// The neighbour's Ethernet address is not known. It can be asked for.
    #[error(
        "{address} does not answer ARP on {interface}; check that the host is up and in the same network"
    )]
    NeighbourUnknown {
        /// Index of the interface, for [`super::solicit::Solicitor`].
        ifindex: u32,
        /// Name of the interface.
        interface: String,
        /// The destination, or the gateway to it.
        address: Ipv4Addr,
    },
}

/// The interface and address of the neighbour that a packet to `destination` is handed to.
///
/// Policy rules are not consulted: they may depend on what is not known here (marks, sources, ...).
///
/// # Errors
/// The first thing that stands in the way, from the route on.
pub fn neighbour_of(
    view: &NetView,
    destination: Ipv4Addr,
    allowed: &BTreeSet<u32>,
) -> Result<(u32, Ipv4Addr), Unresolved> {
    if let Some(kind) = reserved(destination) {
        let prefix = destination.into();
        return Err(Unresolved::NotUnicast {
            destination,
            prefix,
            kind,
        });
    }
    let route = view
        .routes
        .lookup(destination)
        .ok_or(Unresolved::NoRoute(destination))?;
    if route.kind != RouteKind::Unicast {
        return Err(Unresolved::NotUnicast {
            destination,
            prefix: route.prefix,
            kind: route.kind,
        });
    }
    let ifindex = single_interface(route).map_err(|special| Unresolved::Special {
        destination,
        prefix: route.prefix,
        special,
    })?;
    if !allowed.contains(&ifindex) {
        let interface = view.link_name(ifindex);
        return Err(Unresolved::NotAttached {
            destination,
            interface,
        });
    }
    Ok((ifindex, route.gateway.unwrap_or(destination)))
}

/// The next hop of packets to `destination`, through one of the `allowed` interfaces (by index).
///
/// # Errors
/// As [`neighbour_of`]; besides, when the interface is down or the neighbour's address unknown.
pub fn resolve(
    view: &NetView,
    destination: Ipv4Addr,
    allowed: &BTreeSet<u32>,
) -> Result<NextHop, Unresolved> {
    let (ifindex, neighbour) = neighbour_of(view, destination, allowed)?;
    let interface = view.link_name(ifindex);
    let Some(link) = view.links.get(&ifindex).filter(|link| link.usable()) else {
        let up = view.links.get(&ifindex).is_some_and(|link| link.up);
        return Err(Unresolved::LinkDown {
            destination,
            interface,
            up,
        });
    };
    let Some(source) = link.mac else {
        return Err(Unresolved::NotEthernet {
            destination,
            interface,
        });
    };
    let known = view.neighbours.get(&(ifindex, neighbour));
    let Some(mac) = known.and_then(super::view::Neighbour::usable_mac) else {
        return Err(Unresolved::NeighbourUnknown {
            ifindex,
            interface,
            address: neighbour,
        });
    };
    Ok(NextHop {
        destination: mac,
        source,
        ifindex,
        ..NextHop::default()
    })
}

/// The source address that the kernel would give a packet of the relay's own to `destination`.
///
/// None if there is no route, or if the interface has no address and the kernel would borrow one.
pub fn source_for(view: &NetView, destination: Ipv4Addr) -> Option<Ipv4Addr> {
    let route = view.routes.lookup(destination)?;
    match route.kind {
        RouteKind::Local => return Some(route.source.unwrap_or(destination)),
        RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => {}
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw => {
            return None;
        }
    }
    if route.source.is_some() {
        return route.source;
    }
    let towards = route.gateway.unwrap_or(destination);
    let on_link = route.gateway.is_none();
    let candidates = || {
        let of_interface = view.addresses.get(&route.ifindex?)?;
        Some(
            of_interface
                .iter()
                .filter(move |own| !own.secondary && (own.global || on_link)),
        )
    };
    candidates()?
        .find(|own| own.subnet.contains(&towards))
        .or_else(|| candidates()?.next())
        .map(|own| own.local)
}

/// The kind of an address that no route makes an ordinary one.
fn reserved(address: Ipv4Addr) -> Option<RouteKind> {
    if address.is_multicast() {
        Some(RouteKind::Multicast)
    } else if address.is_broadcast() {
        Some(RouteKind::Broadcast)
    } else {
        address.is_unspecified().then_some(RouteKind::Local)
    }
}

/// The interface of a unicast route that names exactly one gateway or network.
fn single_interface(route: &Route) -> Result<u32, Special> {
    match (route.special, route.ifindex) {
        (None | Some(Special::MtuLimited | Special::NextHopObject), Some(ifindex)) => Ok(ifindex),
        (Some(special), _) => Err(special),
        (None, None) => Err(Special::Multipath),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            routes::{Placement, Table},
            view::{Address, Event, Link, Neighbour, NeighbourState},
        },
        *,
    };

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);

    fn route(prefix: &str, gateway: Option<&str>, ifindex: u32) -> Route {
        Route {
            table: Table::Main,
            prefix: prefix.parse().unwrap(),
            kind: RouteKind::Unicast,
            metric: 0,
            tos: 0,
            gateway: gateway.map(|text| text.parse().unwrap()),
            ifindex: Some(ifindex),
            source: None,
            special: None,
        }
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
            mtu: 0,
            reserved: 0,
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
            mtu: 0,
            reserved: 0,
        };
        assert_eq!(resolve(&view, Ipv4Addr::new(10, 9, 1, 1), &both()), Ok(hop));
    }

    #[test]
    fn an_unknown_gateway_is_named_with_its_interface() {
        let why = resolve(&view(), Ipv4Addr::new(192, 0, 2, 1), &both()).unwrap_err();
        let gateway = Ipv4Addr::new(10, 0, 0, 254);
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
        let why = resolve(&view, Ipv4Addr::new(192, 0, 2, 1), &both()).unwrap_err();
        assert_eq!(why, Unresolved::NoRoute(Ipv4Addr::new(192, 0, 2, 1)));
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
            Ipv4Addr::BROADCAST,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(224, 0, 0, 1),
        ] {
            let found = neighbour_of(&view(), address, &both());
            assert!(
                matches!(found, Err(Unresolved::NotUnicast { .. })),
                "{address}"
            );
        }
        assert!(neighbour_of(&view(), Ipv4Addr::new(223, 0, 0, 1), &both()).is_ok());
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
            (Special::MtuLimited, Some(2), true),
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
            let net: Ipv4Net = text.parse().unwrap();
            let own = Address {
                local: net.addr(),
                subnet: net.trunc(),
                secondary: false,
                global: true,
            };
            view.apply(Event::Address(2, own));
        }
        assert_eq!(source_for(&view, NODE), Some(Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(
            source_for(&view, Ipv4Addr::new(192, 0, 2, 1)),
            None,
            "eth0 has no address"
        );
        let preferring = Route {
            source: Some(Ipv4Addr::new(192, 168, 7, 1)),
            ..route("10.0.1.2/32", None, 2)
        };
        view.apply(Event::Route(preferring, Placement::First));
        assert_eq!(source_for(&view, NODE), Some(Ipv4Addr::new(192, 168, 7, 1)));
    }
}
