//! Turns the kernel's netlink messages into [`Event`]s.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and grow; only a few matter here"
)]

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState as KernelState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{
    routes::{Placement, Route, RouteKind, Special, Table},
    view::{Address, Event, Link, Neighbour, NeighbourState},
};

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
            let placement = if dumped || flags & NLM_F_APPEND != 0 {
                Placement::Last
            } else if flags & NLM_F_REPLACE != 0 {
                Placement::Replace
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
        NewRule(rule) | DelRule(rule) if rule.header.family == AddressFamily::Inet => {
            return Decoded::RulesStale;
        }
        // Every other kind of message is one that was not subscribed to.
        _ => None,
    };
    event.map_or(Decoded::Ignored, Decoded::Event)
}

/// Whether these policy rules are anything but the default three.
pub fn are_special(rules: &[RuleMessage]) -> bool {
    let mut plain: Vec<Option<(u32, u32)>> = rules.iter().map(default_rule).collect();
    plain.sort_unstable();
    plain != [Some((0, 255)), Some((32_766, 254)), Some((32_767, 253))]
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

fn decode_address(message: &AddressMessage) -> Option<(u32, Address)> {
    if message.header.family != AddressFamily::Inet {
        return None;
    }
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
            AddressAttribute::Address(IpAddr::V4(address)) => peer = Some(*address),
            // Labels, lifetimes, ...
            _ => {}
        }
    }
    let local = local.or(peer)?;
    let subnet = Ipv4Net::new(peer.unwrap_or(local), message.header.prefix_len)
        .ok()?
        .trunc();
    let address = Address {
        local,
        subnet,
        secondary: message.header.flags.contains(AddressHeaderFlags::Secondary),
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site | AddressScope::Other(_)
        ),
    };
    Some((message.header.index, address))
}

fn decode_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.address_family != AddressFamily::Inet {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let mut route = Route {
        table: Table::Main,
        prefix: Ipv4Net::default(),
        kind: decode_kind(header.kind)?,
        metric: 0,
        tos: header.tos,
        gateway: None,
        ifindex: None,
        source: None,
        special: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(value) => table = *value,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => route.gateway = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => {
                route.source = Some(*address);
            }
            RouteAttribute::Oif(index) => route.ifindex = Some(*index),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::MultiPath(_) => mark(&mut route, Special::Multipath),
            RouteAttribute::NhId(_) => mark(&mut route, Special::NextHopObject),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
                mark(&mut route, Special::Encapsulated);
            }
            RouteAttribute::Via(_) | RouteAttribute::Gateway(_) => {
                mark(&mut route, Special::GatewayOfOtherFamily);
            }
            RouteAttribute::Metrics(metrics)
                if metrics
                    .iter()
                    .any(|metric| matches!(metric, RouteMetric::Mtu(_))) =>
            {
                mark(&mut route, Special::MtuLimited);
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
    route.prefix = Ipv4Net::new(destination, header.destination_prefix_length)
        .ok()?
        .trunc();
    Some(route)
}

/// Keeps the mark that says most: the variants of [`Special`] are in that order except for the last.
fn mark(route: &mut Route, special: Special) {
    route.special = Some(match route.special {
        Some(before) if rank(before) <= rank(special) => before,
        Some(_) | None => special,
    });
}

fn rank(special: Special) -> u8 {
    match special {
        Special::Encapsulated => 0,
        Special::GatewayOfOtherFamily => 1,
        Special::Multipath => 2,
        Special::NextHopObject => 3,
        Special::MtuLimited => 4,
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

fn decode_neighbour(message: &NeighbourMessage) -> Option<(u32, Ipv4Addr, Neighbour)> {
    if message.header.family != AddressFamily::Inet
        || message.header.flags.contains(NeighbourFlags::Proxy)
    {
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
                address = Some(*value);
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
mod tests {
    use netlink_packet_route::rule::RuleHeader;

    use super::*;

    fn rule(priority: u32, table: u8) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header = RuleHeader {
            family: AddressFamily::Inet,
            table,
            action: RuleAction::ToTable,
            ..RuleHeader::default()
        };
        rule.attributes = vec![
            RuleAttribute::Table(table.into()),
            RuleAttribute::SuppressPrefixLen(u32::MAX),
            RuleAttribute::Priority(priority),
        ];
        rule
    }

    fn route_message(table: u8) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = table;
        message.header.kind = RouteType::Unicast;
        message.header.destination_prefix_length = 24;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::new(10, 1, 2, 0))),
            RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, 1))),
            RouteAttribute::Oif(3),
        ];
        message
    }

    #[test]
    fn only_the_default_three_rules_are_ordinary() {
        let default = [rule(0, 255), rule(32_766, 254), rule(32_767, 253)];
        assert!(!are_special(&default));
        assert!(are_special(&default[..2]));
        assert!(are_special(&[
            rule(0, 255),
            rule(100, 254),
            rule(32_766, 254),
            rule(32_767, 253)
        ]));
        let mut conditional = default.clone();
        conditional[1].attributes.push(RuleAttribute::FwMark(1));
        assert!(are_special(&conditional));
        let mut from = default;
        from[1].header.src_len = 8;
        assert!(are_special(&from));
    }

    #[test]
    fn a_route_of_a_table_that_is_not_consulted_is_ignored() {
        assert!(matches!(
            decode(&RouteNetlinkMessage::NewRoute(route_message(254)), 0, false),
            Decoded::Event(Event::Route(_, Placement::First))
        ));
        assert_eq!(
            decode(&RouteNetlinkMessage::NewRoute(route_message(100)), 0, false),
            Decoded::Ignored
        );
    }

    #[test]
    fn the_flags_tell_where_a_route_goes() {
        let message = RouteNetlinkMessage::NewRoute(route_message(254));
        let placed = |flags, dumped| match decode(&message, flags, dumped) {
            Decoded::Event(Event::Route(_, placement)) => placement,
            other => panic!("{other:?}"),
        };
        assert_eq!(placed(NLM_F_REPLACE, false), Placement::Replace);
        assert_eq!(placed(NLM_F_APPEND, false), Placement::Last);
        assert_eq!(placed(0, true), Placement::Last);
    }

    #[test]
    fn a_multipath_route_is_marked_even_when_it_comes_from_an_object() {
        let mut message = route_message(254);
        message.attributes.push(RouteAttribute::NhId(7));
        message
            .attributes
            .push(RouteAttribute::MultiPath(Vec::new()));
        assert_eq!(
            decode_route(&message).unwrap().special,
            Some(Special::Multipath)
        );
        assert_eq!(decode_route(&route_message(254)).unwrap().special, None);
    }

    #[test]
    fn a_bridge_message_about_a_port_does_not_remove_the_link() {
        let mut message = LinkMessage::default();
        message.header.index = 4;
        assert_eq!(
            decode(&RouteNetlinkMessage::DelLink(message.clone()), 0, false),
            Decoded::Event(Event::LinkGone(4))
        );
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(
            decode(&RouteNetlinkMessage::DelLink(message), 0, false),
            Decoded::Ignored
        );
    }

    #[test]
    fn an_ethernet_address_needs_an_ethernet_interface() {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::Address(vec![0; 6])];
        message.header.link_layer_type = LinkLayerType::Loopback;
        assert_eq!(decode_link(&message).unwrap().1.mac, None);
        message.header.link_layer_type = LinkLayerType::Ether;
        assert_eq!(decode_link(&message).unwrap().1.mac, Some([0; 6]));
    }
}
