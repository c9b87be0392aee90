use std::time::Instant;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::{
    super::{
        routes::{Placement, Special},
        view::{Event, Link, Neighbour, NeighbourState},
    },
    *,
};

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
    let address: Ipv4Addr = address.parse().unwrap();
    let destination = mac(ifindex, address.octets()[3]);
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
    }
}

fn with(view: &NetView, routes: &[Route]) -> NetView {
    let mut view = view.clone();
    for route in routes {
        view.apply(Event::Route(route.clone(), Placement::Last));
    }
    view
}

fn ask(view: &NetView, address: &str) -> Answer {
    ReturnTrie::build(view, &allowed()).lookup(address.parse().unwrap())
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
        Special::MtuLimited,
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
    ruled.apply(Event::PolicyRules(true));
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
        },
        Limits {
            nodes: 100,
            hops: 10,
        },
    ] {
        let trie = ReturnTrie::build_within(&view, &allowed(), limits);
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

/// The answer by looking at every route, once per address.
fn oracle(view: &NetView, allowed: &BTreeSet<u32>, address: Ipv4Addr) -> Answer {
    if view.policy_rules {
        return Answer::AskKernel;
    }
    if address.is_multicast() || address.is_broadcast() || address.is_unspecified() {
        return Answer::Local;
    }
    let matching: Vec<&Route> = view
        .routes
        .iter()
        .filter(|route| route.prefix.contains(&address) && route.table != Table::Default)
        .collect();
    let Some(longest) = matching.iter().map(|route| route.prefix.prefix_len()).max() else {
        return Answer::AskKernel;
    };
    let at_longest = |table: Table| -> Vec<&Route> {
        let both = |route: &&&Route| route.prefix.prefix_len() == longest && route.table == table;
        matching.iter().filter(both).copied().collect()
    };
    let mut best = at_longest(Table::Local);
    if best.is_empty() {
        if matching.iter().any(|route| route.table == Table::Local) {
            return Answer::AskKernel;
        }
        best = at_longest(Table::Main);
    }
    if best.iter().any(|route| route.tos != 0) {
        return Answer::AskKernel;
    }
    let ours = |route: &Route| {
        [RouteKind::Local, RouteKind::Broadcast, RouteKind::Multicast].contains(&route.kind)
    };
    if best.iter().all(|route| ours(route)) {
        return Answer::Local;
    }
    let metric = best.iter().map(|route| route.metric).min().unwrap();
    best.retain(|route| route.metric == metric);
    let [route] = best[..] else {
        return Answer::AskKernel;
    };
    if route.special.is_some() || route.ifindex.is_none() {
        return Answer::AskKernel;
    }
    if ours(route) {
        return Answer::Local;
    }
    let ifindex = route.ifindex.unwrap();
    let next = route.gateway.unwrap_or(address);
    let link = &view.links[&ifindex];
    let destination = view
        .neighbours
        .get(&(ifindex, next))
        .and_then(Neighbour::usable_mac);
    match (
        route.kind == RouteKind::Unicast,
        allowed.contains(&ifindex),
        link.usable(),
    ) {
        (true, true, true) => destination.map_or(Answer::AskKernel, |destination| {
            Answer::Hop(NextHop {
                destination,
                source: link.mac.unwrap(),
                ifindex,
            })
        }),
        _ => Answer::AskKernel,
    }
}

/// Few distinct bytes, so that prefixes nest, collide, and cover neighbours.
fn some_address() -> impl Strategy<Value = Ipv4Addr> {
    let byte = || {
        prop_oneof![
            Just(0_u8),
            Just(10),
            Just(127),
            Just(128),
            Just(255),
            any::<u8>()
        ]
    };
    (
        prop_oneof![4 => Just(10_u8), 1 => byte(), 1 => Just(224_u8)],
        byte(),
        byte(),
        byte(),
    )
        .prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d))
}

fn some_length() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(0_u8),
        Just(8),
        Just(15),
        Just(16),
        Just(17),
        Just(23),
        Just(24),
        Just(25),
        Just(32),
        0..=32_u8
    ]
}

fn some_gateway() -> impl Strategy<Value = Ipv4Addr> {
    (1..=4_u8).prop_map(|last| Ipv4Addr::new(10, 0, 0, last))
}

prop_compose! {
    fn some_route()(
        address in some_address(),
        length in some_length(),
        gateway in proptest::option::of(some_gateway()),
        ifindex in 1..=DOWN,
        metric in 0..3_u32,
        tos in prop_oneof![12 => Just(0_u8), 1 => Just(0x10)],
        table in prop_oneof![6 => Just(Table::Main), 2 => Just(Table::Local), 1 => Just(Table::Default)],
        kind in prop_oneof![
            8 => Just(RouteKind::Unicast),
            1 => Just(RouteKind::Blackhole),
            1 => Just(RouteKind::Throw),
            1 => Just(RouteKind::Local),
        ],
        special in prop_oneof![12 => Just(None), 1 => Just(Some(Special::Multipath))],
    ) -> Route {
        let (kind, gateway) = match table {
            Table::Local => (RouteKind::Local, None),
            Table::Main | Table::Default => (kind, gateway),
        };
        let prefix = Ipv4Net::new(address, length).unwrap().trunc();
        let ifindex = Some(ifindex);
        Route { table, prefix, kind, metric, tos, gateway, ifindex, source: None, special }
    }
}

prop_compose! {
    fn some_view()(
        routes in proptest::collection::vec(some_route(), 0..40),
        neighbours in proptest::collection::vec(
            (prop_oneof![some_address(), some_gateway()], 1..=DOWN, 0..4_u8, any::<bool>()), 0..40
        ),
        policy_rules in prop_oneof![20 => Just(false), 1 => Just(true)],
    ) -> NetView {
        let mut view = with(&links(), &routes);
        for (address, ifindex, last, alive) in neighbours {
            let state = if alive { NeighbourState::Stale } else { NeighbourState::Failed };
            let neighbour = Neighbour { mac: Some(mac(ifindex, last)), state, managed: false };
            view.apply(Event::Neighbour(ifindex, address, neighbour));
        }
        view.apply(Event::PolicyRules(policy_rules));
        view
    }
}

/// Both sides of every border in the view, where mistakes would be.
fn probes(view: &NetView) -> Vec<Ipv4Addr> {
    let routes = view.routes.iter().flat_map(|route| {
        [
            route.prefix.network().to_bits(),
            route.prefix.broadcast().to_bits(),
        ]
    });
    let neighbours = view.neighbours.keys().map(|(_, address)| address.to_bits());
    let fixed = [0, 0xe000_0000, 0xefff_ffff, u32::MAX];
    routes
        .chain(neighbours)
        .chain(fixed)
        .flat_map(|bits| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)])
        .map(Ipv4Addr::from_bits)
        .collect()
}

fn disagreement(trie: &ReturnTrie, view: &NetView) -> Option<Ipv4Addr> {
    probes(view)
        .into_iter()
        .find(|at| trie.lookup(*at) != oracle(view, &allowed(), *at))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_answers_as_a_walk_over_all_routes_does(
        view in some_view(),
        more in proptest::collection::vec(some_address(), 50),
    ) {
        let trie = ReturnTrie::build(&view, &allowed());
        for at in probes(&view).into_iter().chain(more) {
            prop_assert_eq!(trie.lookup(at), oracle(&view, &allowed(), at), "{}", at);
        }
    }

    #[test]
    fn the_order_of_insertion_does_not_matter(
        (routes, shuffled) in proptest::collection::vec(some_route(), 0..40)
            .prop_flat_map(|routes| (Just(routes.clone()), Just(routes).prop_shuffle())),
        gateways in proptest::collection::vec((some_gateway(), 1..=2_u32), 0..8),
    ) {
        let mut base = links();
        for (address, ifindex) in gateways {
            known(&mut base, ifindex, &address.to_string());
        }
        let one = ReturnTrie::build(&with(&base, &routes), &allowed());
        let other = ReturnTrie::build(&with(&base, &shuffled), &allowed());
        prop_assert!(one == other);
    }

    #[test]
    fn a_cramped_trie_says_less_but_nothing_else(
        view in some_view(),
        nodes in 0..8_usize,
        hops in 0..4_usize,
    ) {
        let trie = ReturnTrie::build_within(&view, &allowed(), Limits { nodes, hops });
        for at in probes(&view) {
            let answer = trie.lookup(at);
            prop_assert!(
                answer == Answer::AskKernel || answer == oracle(&view, &allowed(), at), "{}", at
            );
        }
    }
}

#[test]
fn the_oracle_notices_a_trie_that_forgets_a_more_specific_route() {
    let mut base = with(&links(), &[route("10.0.0.0/8", Some("10.0.0.1"), 1)]);
    known(&mut base, 1, "10.0.0.1");
    let forgetful = ReturnTrie::build(&base, &allowed());
    assert_eq!(disagreement(&forgetful, &base), None);
    let view = with(&base, &[refusing("10.7.0.0/30")]);
    assert_eq!(
        disagreement(&forgetful, &view),
        Some(Ipv4Addr::new(10, 7, 0, 0))
    );
    assert_eq!(
        disagreement(&ReturnTrie::build(&view, &allowed()), &view),
        None
    );
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
            std::hint::black_box(ReturnTrie::build(&view, &allowed()));
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
    assert_eq!(
        disagreement(&ReturnTrie::build(&view, &allowed()), &view),
        None
    );
}
