//! Notifications as a kernel (6.18) sent them on the `ip` command above each.

use netlink_packet_core::NetlinkMessage;

use super::super::{
    super::routes::{Placement, route},
    *,
};

fn decoded(hex: &str) -> Decoded {
    let hex: String = hex.split_whitespace().collect();
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).unwrap();
    let flags = message.header.flags;
    let netlink_packet_core::NetlinkPayload::InnerMessage(inner) = message.payload else {
        panic!("{message:?}");
    };
    decode(&inner, flags, false)
}

/// A route that the administrator has added without a metric.
fn added(prefix: &str, gateway: Option<&str>) -> Route {
    Route {
        metric: 1024,
        ..route(prefix, gateway, 3)
    }
}

// ip -6 addr add 2001:db8::1/64 dev e0 nodad
const ADDRESS: &str = "48000000 14000000 00000000 00000000 0a408200 03000000
    14000100 20010db8000000000000000000000001 14000600 ffffffffffffffffdce11e00dce11e00
    08000800 82000000";
const PREFIX: &str = "74000000 18000006 00000000 00000000 0a400000 fe020001 00000000
    08000f00 fe000000 14000100 20010db8000000000000000000000000 08000600 00010000
    08000400 03000000 24000c00 0000000000000000000000000000000000000000000000000000000000000000
    05001400 00000000";
const LOCAL: &str = "74000000 18000006 00000000 00000000 0a800000 ff020002 00000000
    08000f00 ff000000 14000100 20010db8000000000000000000000001 08000600 00000000
    08000400 03000000 24000c00 0000000000000000000000000000000000000000000000000000000000000000
    05001400 00000000";

#[test]
fn an_ipv6_address_comes_with_its_prefix_and_a_local_route() {
    let address = Address {
        local: "2001:db8::1".parse().unwrap(),
        subnet: "2001:db8::/64".parse().unwrap(),
        secondary: false,
        global: true,
    };
    assert_eq!(decoded(ADDRESS), Decoded::Event(Event::Address(3, address)));
    let prefix = Route {
        metric: 256,
        ..route("2001:db8::/64", None, 3)
    };
    assert_eq!(
        decoded(PREFIX),
        Decoded::Event(Event::Route(prefix, Placement::Last))
    );
    let local = Route {
        table: Table::Local,
        kind: RouteKind::Local,
        ..route("2001:db8::1/128", None, 3)
    };
    assert_eq!(
        decoded(LOCAL),
        Decoded::Event(Event::Route(local, Placement::Last))
    );
}

// ip -6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev e0 nud permanent
const NEIGHBOUR: &str = "58000000 1c000000 00000000 2c580000 0a000000 03000000 80000001
    14000100 20010db8000000000000000000000009 0a000200 020000000009 0000 08000400 00000000
    14000300 00000000000000000000000001000000";

#[test]
fn an_ipv6_neighbour_has_an_ethernet_address() {
    let neighbour = Neighbour {
        mac: Some([2, 0, 0, 0, 0, 9]),
        state: NeighbourState::Permanent,
        managed: false,
    };
    let address = "2001:db8::9".parse().unwrap();
    assert_eq!(
        decoded(NEIGHBOUR),
        Decoded::Event(Event::Neighbour(3, address, neighbour))
    );
    let proxy = NEIGHBOUR.replace("80000001", "80000801");
    assert_eq!(decoded(&proxy), Decoded::Ignored);
}

// ip -6 route add 2001:db8:1::/48 via fe80::2 dev e0 mtu 1400
const LIMITED: &str = "94000000 18000006 eba7036b 2e580000 0a300000 fe030001 00000000
    08000f00 fe000000 14000100 20010db8000100000000000000000000 0c000800 08000200 78050000
    08000600 00040000 14000500 fe800000000000000000000000000002 08000400 03000000
    24000c00 0000000000000000000000000000000000000000000000000000000000000000 05001400 00000000";
// ip -6 route append 2001:db8:1::/48 via fe80::3 dev e0
const APPENDED: &str = "a8000000 1800000c eca7036b 32580000 0a300000 fe030001 00000000
    08000f00 fe000000 14000100 20010db8000100000000000000000000 08000600 00040000 3c000900
    1c000000 03000000 14000500 fe800000000000000000000000000003
    1c000000 03000000 14000500 fe800000000000000000000000000002
    24000c00 0000000000000000000000000000000000000000000000000000000000000000 05001400 00000000";
// ip -6 route del 2001:db8:1::/48 via fe80::3 dev e0
const DELETED: &str = "88000000 19000000 eda7036b 34580000 0a300000 fe030001 00000000
    08000f00 fe000000 14000100 20010db8000100000000000000000000 08000600 00040000
    14000500 fe800000000000000000000000000003 08000400 03000000
    24000c00 0000000000000000000000000000000000000000000000000000000000000000 05001400 00000000";

#[test]
fn a_link_local_gateway_comes_with_its_interface_and_the_routes_mtu() {
    let limited = Route {
        mtu: Some(1400),
        ..added("2001:db8:1::/48", Some("fe80::2"))
    };
    assert_eq!(
        decoded(LIMITED),
        Decoded::Event(Event::Route(limited, Placement::Last))
    );
}

#[test]
fn a_second_gateway_is_told_with_the_first_and_gone_alone() {
    let several = Route {
        ifindex: None,
        special: Some(Special::Multipath),
        ..added("2001:db8:1::/48", None)
    };
    assert_eq!(
        decoded(APPENDED),
        Decoded::Event(Event::Route(several, Placement::Last))
    );
    let gone = added("2001:db8:1::/48", Some("fe80::3"));
    assert_eq!(decoded(DELETED), Decoded::Event(Event::RouteGone(gone)));
}

// ip -6 route add 2001:db8:3::/48 from 2001:db8:9::/48 via fe80::2 dev e0
const FROM: &str = "9c000000 18000006 eea7036b 36580000 0a303000 fe030001 00000000
    08000f00 fe000000 14000100 20010db8000300000000000000000000
    14000200 20010db8000900000000000000000000 08000600 00040000
    14000500 fe800000000000000000000000000002 08000400 03000000
    24000c00 0000000000000000000000000000000000000000000000000000000000000000 05001400 00000000";

#[test]
fn a_route_of_certain_sources_is_marked() {
    let from = Route {
        special: Some(Special::SourceSpecific),
        ..added("2001:db8:3::/48", Some("fe80::2"))
    };
    assert_eq!(
        decoded(FROM),
        Decoded::Event(Event::Route(from, Placement::Last))
    );
}

// ip -6 rule add fwmark 7 table 100
const RULE: &str = "4c000000 20000000 eea7036b 38580000 0a000000 64000001 00000000
    08000f00 64000000 08000e00 ffffffff 05001500 00000000 08000600 fd7f0000 08000a00 07000000
    08001000 ffffffff";

#[test]
fn an_ipv6_rule_is_noticed() {
    assert_eq!(decoded(RULE), Decoded::RulesStale);
    let of_another_family = RULE.replace("0a000000 64000001", "1c000000 64000001");
    assert_eq!(decoded(&of_another_family), Decoded::Ignored);
}

// ip route add 10.9.0.0/16 dev e0
const ROUTE4: &str = "34000000 18000006 eea7036b 3a580000 02100000 fe03fd01 00000000
    08000f00 fe000000 08000100 0a090000 08000400 03000000";

#[test]
fn a_new_ipv4_route_comes_before_its_rivals() {
    assert_eq!(
        decoded(ROUTE4),
        Decoded::Event(Event::Route(
            route("10.9.0.0/16", None, 3),
            Placement::First
        ))
    );
}
