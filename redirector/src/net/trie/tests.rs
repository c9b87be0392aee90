mod random_views;

use std::time::Instant;

use super::{
    super::{
        routes::{Placement, Table, route},
        view::{Event, Link, Neighbour, NeighbourState},
    },
    *,
};
use random_views::disagreement;

const ALLOWED: [u32; 2] = [1, 2];
const NOT_ALLOWED: u32 = 3;
const DOWN: u32 = 4;

fn allowed() -> BTreeSet<u32> {
    BTreeSet::from([ALLOWED[0], ALLOWED[1], DOWN])
}

fn mac(interface: u32, last: u8) -> [u8; 6] {
    [2, 0, 0, 0, u8::try_from(interface).unwrap(), last]
}

fn links() -> NetView {
    let mut view = NetView::default();
    for index in [1, 2, NOT_ALLOWED, DOWN] {
        let up = index != DOWN;
        let name = format!("eth{index}");
        let mac = Some(mac(index, 0));
        let link = Link {
            name,
            mac,
            up,
            carrier: up,
            mtu: 1500,
            ..Link::default()
        };
        view.apply(Event::Link(index, link));
    }
    view
}

fn local(prefix: &str) -> Route {
    Route {
        table: Table::Local,
        kind: RouteKind::Local,
        ..route(prefix, None, 1)
    }
}

fn refusing(prefix: &str) -> Route {
    Route {
        kind: RouteKind::Blackhole,
        ifindex: None,
        ..route(prefix, None, 1)
    }
}

fn known(view: &mut NetView, ifindex: u32, address: &str) -> NextHop {
    let address: IpAddr = address.parse().unwrap();
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    let destination = mac(ifindex, last);
    let state = NeighbourState::Reachable;
    let neighbour = Neighbour {
        mac: Some(destination),
        state,
        managed: false,
    };
    view.apply(Event::Neighbour(ifindex, address, neighbour));
    NextHop {
        destination,
        source: mac(ifindex, 0),
        ifindex,
        mtu: 1500,
        ..NextHop::default()
    }
}

fn with(view: &NetView, routes: &[Route]) -> NetView {
    let mut view = view.clone();
    for route in routes {
        view.apply(Event::Route(route.clone(), Placement::Last));
    }
    view
}

fn build(view: &NetView, family: Family) -> ReturnTrie {
    ReturnTrie::build(view, &allowed(), family)
}

fn ask(view: &NetView, address: &str) -> Answer {
    let address: IpAddr = address.parse().unwrap();
    build(view, Family::of(address)).lookup(address)
}

#[test]
fn a_known_gateway_serves_its_prefix_and_an_unknown_one_leaves_it_to_the_kernel() {
    let mut view = with(&links(), &[route("0.0.0.0/0", Some("10.0.0.254"), 1)]);
    assert_eq!(ask(&view, "192.0.2.1"), Answer::AskKernel);
    let hop = known(&mut view, 1, "10.0.0.254");
    assert_eq!(ask(&view, "192.0.2.1"), Answer::Hop(hop));
    assert_eq!(ask(&view, "223.255.255.255"), Answer::Hop(hop));
}

#[test]
fn gateways_are_told_of_known_or_not_where_packets_may_leave_through_them() {
    let gateways = |routes: &[Route]| build(&with(&links(), routes), Family::V4).gateways;
    let gateway = |address: &str| (1, address.parse().unwrap());
    let many: Vec<Route> = (0..200)
        .map(|number| {
            route(
                &format!("10.{number}.0.0/16"),
                Some(&format!("10.0.0.{number}")),
                1,
            )
        })
        .collect();
    assert_eq!(
        gateways(&[
            route("0.0.0.0/0", Some("10.0.0.254"), 1),
            route("10.1.0.0/16", Some("10.9.9.9"), NOT_ALLOWED),
        ]),
        BTreeSet::from([gateway("10.0.0.254")])
    );
    assert_eq!(gateways(&many).len(), MAX_GATEWAYS);
}

#[test]
fn a_more_specific_doubt_inside_a_known_prefix_is_kept() {
    let mut view = with(
        &links(),
        &[
            route("10.0.0.0/8", Some("10.0.0.254"), 1),
            route("10.1.0.0/16", Some("10.9.9.9"), NOT_ALLOWED),
            route("10.1.2.0/24", Some("10.0.0.254"), 1),
            refusing("10.1.2.128/25"),
            route("10.1.2.192/26", Some("10.0.0.254"), 1),
        ],
    );
    let hop = Answer::Hop(known(&mut view, 1, "10.0.0.254"));
    for (address, expected) in [
        ("9.255.255.255", Answer::AskKernel),
        ("10.0.0.0", hop),
        ("10.0.255.255", hop),
        ("10.1.0.0", Answer::AskKernel),
        ("10.1.1.255", Answer::AskKernel),
        ("10.1.2.0", hop),
        ("10.1.2.127", hop),
        ("10.1.2.128", Answer::AskKernel),
        ("10.1.2.191", Answer::AskKernel),
        ("10.1.2.192", hop),
        ("10.1.2.255", hop),
        ("10.1.3.0", Answer::AskKernel),
        ("10.2.0.0", hop),
        ("10.255.255.255", hop),
        ("11.0.0.0", Answer::AskKernel),
    ] {
        assert_eq!(ask(&view, address), expected, "{address}");
    }
}

#[test]
fn an_on_link_host_is_known_only_on_the_interface_of_its_route() {
    let mut view = with(&links(), &[route("10.0.0.0/24", None, 1)]);
    known(&mut view, 2, "10.0.0.9");
    assert_eq!(ask(&view, "10.0.0.9"), Answer::AskKernel);
    let hop = known(&mut view, 1, "10.0.0.9");
    assert_eq!(ask(&view, "10.0.0.9"), Answer::Hop(hop));
    assert_eq!(ask(&view, "10.0.0.10"), Answer::AskKernel);
}

#[test]
fn own_addresses_broadcasts_and_multicasts_are_local_whatever_routes_cover_them() {
    let mut view = with(
        &links(),
        &[
            route("0.0.0.0/0", Some("10.0.0.254"), 1),
            route("224.0.0.0/4", Some("10.0.0.254"), 1),
            route("10.0.0.1/32", Some("10.0.0.254"), 1),
            local("10.0.0.1/32"),
            Route {
                kind: RouteKind::Broadcast,
                ..local("10.0.0.255/32")
            },
        ],
    );
    known(&mut view, 1, "10.0.0.254");
    for address in [
        "10.0.0.1",
        "10.0.0.255",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "0.0.0.0",
    ] {
        assert_eq!(ask(&view, address), Answer::Local, "{address}");
    }
    for address in ["10.0.0.2", "0.0.0.1", "240.0.0.0", "223.255.255.255"] {
        assert!(matches!(ask(&view, address), Answer::Hop(_)), "{address}");
    }
}

#[test]
fn a_prefix_of_main_inside_a_wider_local_one_is_left_to_the_kernel() {
    let mut view = with(
        &links(),
        &[
            local("10.0.0.0/8"),
            route("10.1.0.0/16", Some("10.0.0.254"), 1),
            local("10.1.2.0/24"),
        ],
    );
    known(&mut view, 1, "10.0.0.254");
    assert_eq!(ask(&view, "10.0.0.1"), Answer::Local);
    assert_eq!(ask(&view, "10.1.0.1"), Answer::AskKernel);
    assert_eq!(ask(&view, "10.1.2.1"), Answer::Local);
}

#[test]
fn whatever_is_special_about_a_route_leaves_it_to_the_kernel() {
    let plain = route("10.0.0.0/8", Some("10.0.0.254"), 1);
    let mut base = links();
    let hop = Answer::Hop(known(&mut base, 1, "10.0.0.254"));
    assert_eq!(
        ask(&with(&base, std::slice::from_ref(&plain)), "10.0.0.1"),
        hop
    );
    for special in [
        Special::Multipath,
        Special::NextHopObject,
        Special::Encapsulated,
        Special::GatewayOfOtherFamily,
        Special::SourceSpecific,
    ] {
        let odd = Route {
            special: Some(special),
            ..plain.clone()
        };
        assert_eq!(
            ask(&with(&base, &[odd]), "10.0.0.1"),
            Answer::AskKernel,
            "{special:?}"
        );
    }
    let picky = Route {
        tos: 0x10,
        metric: 5,
        ..plain.clone()
    };
    assert_eq!(
        ask(&with(&base, &[plain.clone(), picky]), "10.0.0.1"),
        Answer::AskKernel
    );
    let rival = Route {
        gateway: None,
        ..plain.clone()
    };
    assert_eq!(
        ask(&with(&base, &[plain.clone(), rival.clone()]), "10.0.0.1"),
        Answer::AskKernel
    );
    let worse = Route { metric: 1, ..rival };
    assert_eq!(ask(&with(&base, &[worse, plain.clone()]), "10.0.0.1"), hop);
    let mut ruled = with(&base, &[plain]);
    ruled.apply(Event::PolicyRules(Family::V4, true));
    assert_eq!(ask(&ruled, "10.0.0.1"), Answer::AskKernel);
}

#[test]
fn an_interface_that_cannot_carry_packets_leaves_them_to_the_kernel() {
    let mut view = with(&links(), &[route("10.0.0.0/8", Some("10.0.0.254"), DOWN)]);
    known(&mut view, DOWN, "10.0.0.254");
    assert_eq!(ask(&view, "10.0.0.1"), Answer::AskKernel);
}

#[test]
fn a_trie_that_outgrows_its_limits_asks_the_kernel_and_never_answers_wrong() {
    let mut view = with(&links(), &[route("10.0.0.0/8", None, 1)]);
    let mut hops = Vec::new();
    for third in 0..40 {
        let address = format!("10.0.{third}.{}", third + 1);
        hops.push((address.clone(), known(&mut view, 1, &address)));
    }
    for limits in [
        Limits {
            nodes: 10,
            hops: 100,
            neighbours: 0,
        },
        Limits {
            nodes: 100,
            hops: 10,
            neighbours: 0,
        },
    ] {
        let trie = ReturnTrie::build_within(&view, &allowed(), Family::V4, limits);
        assert!(trie.nodes.len() <= limits.nodes + 1 && trie.hops.len() <= limits.hops);
        let answers: Vec<bool> = hops
            .iter()
            .map(
                |(address, hop)| match trie.lookup(address.parse().unwrap()) {
                    Answer::AskKernel => false,
                    answer @ (Answer::Local | Answer::Hop(_)) => {
                        assert_eq!(answer, Answer::Hop(*hop));
                        true
                    }
                },
            )
            .collect();
        assert!(
            answers.contains(&true) && answers.contains(&false),
            "{limits:?}"
        );
    }
}

#[test]
fn a_thousand_routes_and_neighbours_are_built_fast() {
    let mut view = with(&links(), &[route("10.0.0.0/8", None, 1)]);
    for n in 0..1000_u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let gateway = format!("10.0.{high}.{low}");
        known(&mut view, 1, &gateway);
        let far = route(&format!("172.{}.{low}.0/24", 16 + high), Some(&gateway), 1);
        view.apply(Event::Route(far, Placement::Last));
    }
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(build(&view, Family::V4));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "1,000 routes and 1,000 neighbours: {:?} (median of 9)",
        times[4]
    );
    // Loose enough for an unoptimised build on a busy machine.
    assert!(times[4].as_millis() < 250, "{times:?}");
    assert_eq!(disagreement(&build(&view, Family::V4), &view), None);
}

#[test]
fn a_hop_carries_the_smaller_of_the_routes_and_the_interfaces_mtu() {
    for (prefix, gateway, address) in [
        ("10.0.0.0/8", "10.9.9.9", "10.0.0.1"),
        ("2001:db8::/32", "fe80::9", "2001:db8::1"),
    ] {
        for (of_link, of_route, expected) in [
            (1500, None, 1500),
            (1500, Some(1400), 1400),
            (1500, Some(9000), 1500),
            (65_536, None, 65_535),
            (70_000, Some(66_000), 65_535),
            (0, None, 0),
            (0, Some(1300), 1300),
        ] {
            for through in [Some(gateway), None] {
                let far = Route {
                    mtu: of_route,
                    ..route(prefix, through, 1)
                };
                let mut view = with(&links(), &[far]);
                let mut link = view.links[&1].clone();
                link.mtu = of_link;
                view.apply(Event::Link(1, link));
                known(&mut view, 1, through.unwrap_or(address));
                let Answer::Hop(hop) = ask(&view, address) else {
                    panic!("no hop to {address} through {through:?}");
                };
                assert_eq!(hop.mtu, expected, "{of_link} {of_route:?} {through:?}");
            }
        }
    }
}

#[test]
fn an_on_link_ipv6_host_is_beside_the_trie_and_only_by_the_interface_of_its_route() {
    let mut view = with(&links(), &[route("2001:db8::/64", None, 1)]);
    let address: IpAddr = "2001:db8::9".parse().unwrap();
    known(&mut view, 2, "2001:db8::9");
    let trie = build(&view, Family::V6);
    assert_eq!(trie.lookup(address), Answer::AskKernel);
    assert!(trie.neighbours.is_empty());
    let hop = known(&mut view, 1, "2001:db8::9");
    let trie = build(&view, Family::V6);
    assert_eq!(trie.lookup(address), Answer::Hop(hop));
    assert_eq!(
        trie.neighbours,
        [("2001:db8::9".parse().unwrap(), hop)].into()
    );
    assert!(trie.hops.is_empty());
    assert_eq!(ask(&view, "2001:db8::a"), Answer::AskKernel);
}

#[test]
fn ipv6_prefixes_of_every_length_end_where_they_should() {
    for length in 3..=128_u8 {
        let prefix: ipnet::IpNet = format!("2001:db8:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa/{length}")
            .parse()
            .unwrap();
        let mut view = with(
            &links(),
            &[route(&prefix.trunc().to_string(), Some("fe80::1"), 1)],
        );
        let hop = Answer::Hop(known(&mut view, 1, "fe80::1"));
        let trie = build(&view, Family::V6);
        let (first, last) = (bits(prefix.network()), bits(prefix.broadcast()));
        for (at, expected) in [
            (first - 1, Answer::AskKernel),
            (first, hop),
            (last, hop),
            (last + 1, Answer::AskKernel),
        ] {
            assert_eq!(trie.lookup(Family::V6.address(at)), expected, "{prefix}");
        }
        let levels = usize::from(length.saturating_sub(9) / 8);
        // Besides, the unspecified address has all of them.
        assert_eq!(trie.nodes.len(), 1 + levels + 14, "{prefix}");
    }
}

#[test]
fn link_local_clients_are_left_to_the_kernel_and_multicasts_are_local_whatever_routes_cover_them() {
    let mut view = with(
        &links(),
        &[
            route("::/0", Some("fe80::1"), 1),
            route("fe80::/64", None, 1),
            local("fe80::2/128"),
            local("2001:db8::2/128"),
            route("ff00::/8", Some("fe80::1"), 1),
        ],
    );
    let hop = Answer::Hop(known(&mut view, 1, "fe80::1"));
    for (address, expected) in [
        ("::", Answer::Local),
        ("::2", hop),
        ("2001:db8::1", hop),
        ("2001:db8::2", Answer::Local),
        ("fe7f:ffff::1", hop),
        ("fe80::1", Answer::AskKernel),
        ("fe80::2", Answer::AskKernel),
        ("febf:ffff::1", Answer::AskKernel),
        ("fec0::1", hop),
        ("feff:ffff::1", hop),
        ("ff00::", Answer::Local),
        ("ff02::1", Answer::Local),
        ("ffff:ffff::1", Answer::Local),
    ] {
        assert_eq!(ask(&view, address), expected, "{address}");
    }
}

#[test]
fn policy_rules_of_one_family_leave_the_other_alone() {
    let mut view = with(
        &links(),
        &[
            route("0.0.0.0/0", Some("10.0.0.1"), 1),
            route("::/0", Some("fe80::1"), 1),
        ],
    );
    let hop = Answer::Hop(known(&mut view, 1, "10.0.0.1"));
    let hop6 = Answer::Hop(known(&mut view, 1, "fe80::1"));
    assert_eq!((ask(&view, "1.1.1.1"), ask(&view, "2000::1")), (hop, hop6));
    view.apply(Event::PolicyRules(Family::V6, true));
    assert_eq!(
        (ask(&view, "1.1.1.1"), ask(&view, "2000::1")),
        (hop, Answer::AskKernel)
    );
}

#[test]
fn the_parts_of_the_families_among_the_hops_do_not_overlap() {
    let [one, other] = Family::BOTH.map(hop_indices);
    assert_eq!((one.start, one.end, other.end), (0, other.start, MAX_HOPS));
    assert!(one.len() > other.len() && !other.is_empty());
}
