//! Where a packet to an address goes: the next hop, or why there is none.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use redirector_common::abi::NextHop;
use thiserror::Error;

use super::{
    routes::{Route, RouteKind, Special},
    view::{Link, NetView},
};
use crate::family::{Family, bits, needs_interface};

/// Why an address has no next hop that the data path could use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unresolved {
    /// No route matches.
    #[error(
        "no route to {0}; add one (`ip route add`) or put an address of its network on an interface"
    )]
    NoRoute(IpAddr),
    /// The address says nothing without an interface.
    #[error(
        "{0} is a link-local address, which may be another host on each interface; use a global or unique local address of the host"
    )]
    LinkLocal(IpAddr),
    /// The route does not lead to another host.
    #[error(
        "the route to {destination} ({prefix}) is of kind {kind:?}; it must lead to another host"
    )]
    NotUnicast {
        /// The address asked for.
        destination: IpAddr,
        /// The route's prefix.
        prefix: IpNet,
        /// The route's kind.
        kind: RouteKind,
    },
    /// The route is more than one gateway on one interface.
    #[error(
        "the route to {destination} ({prefix}) is special ({special:?}); give {destination} a plain route of its own (`ip route add {host} via GATEWAY dev INTERFACE`)",
        host = IpNet::from(*.destination)
    )]
    Special {
        /// The address asked for.
        destination: IpAddr,
        /// The route's prefix.
        prefix: IpNet,
        /// What is special about it.
        special: Special,
    },
    /// The route leaves through an interface that the redirector does not serve.
    #[error(
        "{destination} is reached through {interface}, which is not one of the redirector's interfaces; add it to `interfaces` or change the route"
    )]
    NotAttached {
        /// The address asked for.
        destination: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The interface is down, has no carrier, or is gone.
    #[error("{interface}, which leads to {destination}, is {}; {}", if *.up { "without carrier" } else { "down" }, if *.up { "check the cable and the other side".to_owned() } else { format!("`ip link set {interface} up`") })]
    LinkDown {
        /// The address asked for.
        destination: IpAddr,
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
        destination: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The neighbour's Ethernet address is not known. It can be asked for.
    #[error(
        "{address} does not answer {} on {interface}; check that the host is up and in the same network",
        match .address { IpAddr::V4(_) => "ARP", IpAddr::V6(_) => "neighbour discovery" }
    )]
    NeighbourUnknown {
        /// Index of the interface, for [`super::solicit::Solicitor`].
        ifindex: u32,
        /// Name of the interface.
        interface: String,
        /// The destination, or the gateway to it.
        address: IpAddr,
    },
}

/// The neighbour that packets to an address are handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// Index of the interface.
    pub ifindex: u32,
    /// The address itself, or its gateway.
    pub neighbour: IpAddr,
    /// The MTU of the route, if it has one of its own.
    pub mtu: Option<u32>,
}

/// The neighbour that a packet to `destination` is handed to.
///
/// Policy rules are not consulted: they may depend on what is not known here (marks, sources, ...).
///
/// # Errors
/// The first thing that stands in the way, from the route on.
pub fn way_to(
    view: &NetView,
    destination: IpAddr,
    allowed: &BTreeSet<u32>,
) -> Result<Way, Unresolved> {
    if needs_interface(destination) {
        return Err(Unresolved::LinkLocal(destination));
    }
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
    let rivals = view.routes.group(route.table, route.prefix);
    let ifindex = single_interface(route, rivals).map_err(|special| Unresolved::Special {
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
    Ok(Way {
        ifindex,
        neighbour: route.gateway.unwrap_or(destination),
        mtu: route.mtu,
    })
}

/// The next hop of packets to `destination`, through one of the `allowed` interfaces (by index).
///
/// # Errors
/// As [`way_to`]; besides, when the interface is down or the neighbour's address unknown.
pub fn resolve(
    view: &NetView,
    destination: IpAddr,
    allowed: &BTreeSet<u32>,
) -> Result<NextHop, Unresolved> {
    let way = way_to(view, destination, allowed)?;
    let interface = view.link_name(way.ifindex);
    let Some(link) = view.links.get(&way.ifindex).filter(|link| link.usable()) else {
        let up = view.links.get(&way.ifindex).is_some_and(|link| link.up);
        return Err(Unresolved::LinkDown {
            destination,
            interface,
            up,
        });
    };
    if link.mac.is_none() {
        return Err(Unresolved::NotEthernet {
            destination,
            interface,
        });
    }
    next_hop(view, &way).ok_or(Unresolved::NeighbourUnknown {
        ifindex: way.ifindex,
        interface,
        address: way.neighbour,
    })
}

/// The next hop that a way leads to, if its interface is usable and the neighbour's Ethernet address
/// known.
pub(super) fn next_hop(view: &NetView, way: &Way) -> Option<NextHop> {
    let link = view.links.get(&way.ifindex).filter(|link| link.usable())?;
    let known = view.neighbours.get(&(way.ifindex, way.neighbour))?;
    Some(NextHop {
        destination: known.usable_mac()?,
        source: link.mac?,
        ifindex: way.ifindex,
        mtu: smallest_mtu(link, way.mtu),
        ..NextHop::default()
    })
}

/// The MTU of a route by an interface, as in [`NextHop::mtu`].
fn smallest_mtu(link: &Link, of_route: Option<u32>) -> u16 {
    let known = [Some(link.mtu), of_route].into_iter().flatten();
    let smallest = known.filter(|mtu| *mtu != 0).min().unwrap_or(0);
    // No IP packet is larger.
    u16::try_from(smallest).unwrap_or(u16::MAX)
}

/// The source address that the kernel would give a packet of the relay's own to `destination`.
///
/// None if there is no route, or if the interface has no address and the kernel would borrow one.
pub fn source_for(view: &NetView, destination: IpAddr) -> Option<IpAddr> {
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
    let of_interface = view.addresses.get(&route.ifindex?)?;
    let candidates = || {
        of_interface.iter().filter(|own| {
            let speaks = match own.local {
                IpAddr::V4(_) => own.global || on_link,
                IpAddr::V6(_) => own.global,
            };
            speaks && !own.secondary && Family::of(own.local) == Family::of(destination)
        })
    };
    let chosen = match destination {
        IpAddr::V4(_) => candidates()
            .find(|own| own.subnet.contains(&towards))
            .or_else(|| candidates().next()),
        // RFC 6724, section 5, rule 8; of equals the first.
        IpAddr::V6(_) => candidates().min_by_key(|own| 128 - common(own.local, destination)),
    };
    chosen.map(|own| own.local)
}

/// How many leading bits two addresses share.
fn common(one: IpAddr, other: IpAddr) -> u32 {
    (bits(one) ^ bits(other)).leading_zeros()
}

/// The kind of an address that no route makes an ordinary one.
fn reserved(address: IpAddr) -> Option<RouteKind> {
    if address.is_multicast() {
        Some(RouteKind::Multicast)
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some(RouteKind::Broadcast)
    } else {
        address.is_unspecified().then_some(RouteKind::Local)
    }
}

/// The interface of a unicast route that names exactly one gateway or network. `group` has it and the
/// others of its prefix.
fn single_interface(route: &Route, group: &[Route]) -> Result<u32, Special> {
    let for_some = |other: &Route| other.special == Some(Special::SourceSpecific);
    if group.iter().any(for_some) {
        return Err(Special::SourceSpecific);
    }
    // The first of several such routes is IPv4's; IPv6 goes by their preferences and takes turns.
    let rivals = group.iter().filter(|other| other.metric == route.metric);
    if route.family() == Family::V6 && rivals.count() > 1 {
        return Err(Special::Multipath);
    }
    match (route.special, route.ifindex) {
        (None | Some(Special::NextHopObject), Some(ifindex)) => Ok(ifindex),
        (Some(special), _) => Err(special),
        (None, None) => Err(Special::Multipath),
    }
}

#[cfg(test)]
mod tests;
