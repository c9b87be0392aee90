//! Turns the kernel's netlink messages into [`Event`]s.

// Foreign bytes are read below: nothing here may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and grow; only a few matter here"
)]

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState as KernelState,
    },
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{
    routes::{Placement, Route, RouteKind, Special, Table},
    view::{Address, Event, Link, Neighbour, NeighbourState},
};
use crate::family::Family;

/// What a message means for the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A change to apply.
    Event(Event),
    /// A policy rule was added or removed; what counts are all of them together.
    RulesStale,
    /// Nothing that concerns the view: another family, another table, another kind of message.
    Ignored,
}

/// Decodes a message. `flags` are those of its netlink header; `dumped` says that it is part of a
/// dump, in which rivals come in the kernel's order.
pub fn decode(message: &RouteNetlinkMessage, flags: u16, dumped: bool) -> Decoded {
    use RouteNetlinkMessage::{
        DelAddress, DelLink, DelNeighbour, DelRoute, DelRule, NewAddress, NewLink, NewNeighbour,
        NewRoute, NewRule,
    };
    let event = match message {
        NewLink(link) => decode_link(link).map(|(index, link)| Event::Link(index, link)),
        DelLink(link) => decode_link(link).map(|(index, _)| Event::LinkGone(index)),
        NewAddress(message) => {
            decode_address(message).map(|(index, address)| Event::Address(index, address))
        }
        DelAddress(message) => {
            decode_address(message).map(|(index, address)| Event::AddressGone(index, address))
        }
        NewRoute(route) => {
            let family = family(route.header.address_family);
            let placement = if dumped || flags & NLM_F_APPEND != 0 {
                Placement::Last
            } else if flags & NLM_F_REPLACE != 0 {
                Placement::Replace
            } else if family == Some(Family::V6) {
                // IPv6 puts a new route behind its rivals.
                Placement::Last
            } else {
                Placement::First
            };
            decode_route(route).map(|route| Event::Route(route, placement))
        }
        DelRoute(route) => decode_route(route).map(Event::RouteGone),
        NewNeighbour(message) => decode_neighbour(message)
            .map(|(index, address, neighbour)| Event::Neighbour(index, address, neighbour)),
        DelNeighbour(message) => decode_neighbour(message)
            .map(|(index, address, _)| Event::NeighbourGone(index, address)),
        NewRule(rule) | DelRule(rule) if family(rule.header.family).is_some() => {
            return Decoded::RulesStale;
        }
        // Every other kind of message is one that was not subscribed to.
        _ => None,
    };
    event.map_or(Decoded::Ignored, Decoded::Event)
}

/// The family that the kernel calls so; none for others than IPv4 and IPv6.
fn family(named: AddressFamily) -> Option<Family> {
    match named {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

/// Whether these policy rules are anything but the family's default ones.
pub fn are_special(family: Family, rules: &[RuleMessage]) -> bool {
    const DEFAULT: [Option<(u32, u32)>; 3] =
        [Some((0, 255)), Some((32_766, 254)), Some((32_767, 253))];
    let default = match family {
        Family::V4 => &DEFAULT[..],
        Family::V6 => &DEFAULT[..2],
    };
    let mut plain: Vec<Option<(u32, u32)>> = rules.iter().map(default_rule).collect();
    plain.sort_unstable();
    plain != default
}

/// Priority and table of a rule that has no condition.
fn default_rule(rule: &RuleMessage) -> Option<(u32, u32)> {
    let header = &rule.header;
    if header.action != RuleAction::ToTable
        || header.dst_len != 0
        || header.src_len != 0
        || header.tos != 0
    {
        return None;
    }
    let mut priority = 0;
    let mut table = u32::from(header.table);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            // Any other attribute is a condition.
            _ => return None,
        }
    }
    Some((priority, table))
}

fn decode_link(message: &LinkMessage) -> Option<(u32, Link)> {
    // Messages of the bridge family tell of a port's membership, also with a "del link".
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Address(bytes)
                if message.header.link_layer_type == LinkLayerType::Ether =>
            {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    // Details of the kind, or of the master's.
                    _ => None,
                });
            }
            // Statistics, queues, offloads, ...
            _ => {}
        }
    }
    Some((message.header.index, link))
}

/// Flags of an address that the kernel prefers others to. What is "secondary" in IPv4 is "temporary" in
/// IPv6; the others are IPv6's alone.
const LATER: AddressHeaderFlags = AddressHeaderFlags::Secondary
    .union(AddressHeaderFlags::Deprecated)
    .union(AddressHeaderFlags::Tentative)
    .union(AddressHeaderFlags::Dadfailed);

fn decode_address(message: &AddressMessage) -> Option<(u32, Address)> {
    family(message.header.family)?;
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            // Labels, lifetimes, ...
            _ => {}
        }
    }
    let local = local.or(peer)?;
    let subnet = IpNet::new(peer.unwrap_or(local), message.header.prefix_len)
        .ok()?
        .trunc();
    let address = Address {
        local,
        subnet,
        secondary: message.header.flags.intersects(LATER),
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site | AddressScope::Other(_)
        ),
    };
    Some((message.header.index, address))
}

fn decode_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let family = family(header.address_family)?;
    if header.flags.contains(RouteFlags::Cloned) {
        // What the kernel has learned about one host; it expires without a message.
        return None;
    }
    let mut table = u32::from(header.table);
    let mut destination = family.address(0);
    let mut route = Route {
        table: Table::Main,
        prefix: destination.into(),
        kind: decode_kind(header.kind)?,
        metric: 0,
        tos: header.tos,
        gateway: None,
        ifindex: None,
        source: None,
        mtu: None,
        special: None,
    };
    if header.source_prefix_length != 0 {
        mark(&mut route, Special::SourceSpecific);
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(value) => table = *value,
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => match ip(address) {
                Some(gateway) if Family::of(gateway) == family => route.gateway = Some(gateway),
                Some(_) | None => mark(&mut route, Special::GatewayOfOtherFamily),
            },
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Oif(index) => route.ifindex = Some(*index),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::MultiPath(_) => mark(&mut route, Special::Multipath),
            RouteAttribute::NhId(_) => mark(&mut route, Special::NextHopObject),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
                mark(&mut route, Special::Encapsulated);
            }
            RouteAttribute::Via(_) => mark(&mut route, Special::GatewayOfOtherFamily),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    // Windows, round-trip times, ...
                    _ => None,
                });
            }
            // Realms, cache statistics, ...
            _ => {}
        }
    }
    route.table = match table {
        255 => Table::Local,
        254 => Table::Main,
        253 => Table::Default,
        _ => return None,
    };
    route.prefix = IpNet::new(destination, header.destination_prefix_length)
        .ok()?
        .trunc();
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        // Labels and other families.
        _ => None,
    }
}

/// Keeps the mark that says most.
fn mark(route: &mut Route, special: Special) {
    route.special = Some(match route.special {
        Some(before) if rank(before) <= rank(special) => before,
        Some(_) | None => special,
    });
}

fn rank(special: Special) -> u8 {
    match special {
        Special::SourceSpecific => 0,
        Special::Encapsulated => 1,
        Special::GatewayOfOtherFamily => 2,
        Special::Multipath => 3,
        Special::NextHopObject => 4,
    }
}

fn decode_kind(kind: RouteType) -> Option<RouteKind> {
    Some(match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        // The kernel installs no routes of other types.
        _ => return None,
    })
}

fn decode_neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr, Neighbour)> {
    family(message.header.family)?;
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut neighbour = Neighbour {
        state: decode_state(message.header.state),
        ..Neighbour::default()
    };
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => {
                address = Some(IpAddr::V4(*value));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => {
                address = Some(IpAddr::V6(*value));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                neighbour.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
            NeighbourAttribute::ExtFlags(flags) => {
                neighbour.managed = flags.contains(NeighbourExtFlags::Managed);
            }
            // Statistics and attributes of bridges.
            _ => {}
        }
    }
    Some((message.header.ifindex, address?, neighbour))
}

fn decode_state(state: KernelState) -> NeighbourState {
    match state {
        KernelState::Incomplete => NeighbourState::Incomplete,
        KernelState::Reachable => NeighbourState::Reachable,
        KernelState::Stale => NeighbourState::Stale,
        KernelState::Delay => NeighbourState::Delay,
        KernelState::Probe => NeighbourState::Probe,
        KernelState::Failed => NeighbourState::Failed,
        KernelState::Noarp => NeighbourState::NoArp,
        KernelState::Permanent => NeighbourState::Permanent,
        // A state that is not known must not be taken for a valid one.
        _ => NeighbourState::None,
    }
}

#[cfg(test)]
mod tests;
