mod bytes;

use std::net::Ipv4Addr;

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
    assert!(!are_special(Family::V4, &default));
    assert!(are_special(Family::V4, &default[..2]));
    assert!(are_special(
        Family::V4,
        &[
            rule(0, 255),
            rule(100, 254),
            rule(32_766, 254),
            rule(32_767, 253)
        ]
    ));
    let mut conditional = default.clone();
    conditional[1].attributes.push(RuleAttribute::FwMark(1));
    assert!(are_special(Family::V4, &conditional));
    let mut from = default;
    from[1].header.src_len = 8;
    assert!(are_special(Family::V4, &from));
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

#[test]
fn ipv6_has_two_default_rules() {
    let both = [rule(0, 255), rule(32_766, 254)];
    assert!(!are_special(Family::V6, &both));
    assert!(are_special(Family::V6, &both[..1]));
    assert!(are_special(
        Family::V6,
        &[rule(0, 255), rule(32_766, 254), rule(32_767, 253)]
    ));
}

#[test]
fn what_the_kernel_learned_about_one_host_is_no_route() {
    let mut message = route_message(254);
    message.header.flags = RouteFlags::Cloned;
    assert_eq!(decode_route(&message), None);
}

#[test]
fn a_route_by_a_gateway_of_the_other_family_is_marked() {
    let mut message = route_message(254);
    message.attributes[1] =
        RouteAttribute::Gateway(RouteAddress::Inet6(std::net::Ipv6Addr::LOCALHOST));
    let route = decode_route(&message).unwrap();
    assert_eq!(
        (route.gateway, route.special),
        (None, Some(Special::GatewayOfOtherFamily))
    );
}

#[test]
fn an_ipv6_address_that_is_not_known_to_be_unique_comes_later() {
    for (flag, later) in [
        (AddressHeaderFlags::Permanent, false),
        (AddressHeaderFlags::Tentative, true),
        (AddressHeaderFlags::Dadfailed, true),
        (AddressHeaderFlags::Deprecated, true),
        (AddressHeaderFlags::Secondary, true),
    ] {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.prefix_len = 64;
        message.header.flags = flag;
        message.attributes = vec![AddressAttribute::Address("2001:db8::1".parse().unwrap())];
        let (_, address) = decode_address(&message).unwrap();
        assert_eq!(address.secondary, later, "{flag:?}");
        assert_eq!(address.subnet, "2001:db8::/64".parse().unwrap());
    }
}
