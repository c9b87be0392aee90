//! Random views, and an oracle that looks at every route.

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// The answer by looking at every route, once per address.
fn oracle(view: &NetView, allowed: &BTreeSet<u32>, address: IpAddr) -> Answer {
    if view.policy_rules.contains(&Family::of(address)) {
        return Answer::AskKernel;
    }
    if address.is_multicast() || address.is_unspecified() {
        return Answer::Local;
    }
    match address {
        IpAddr::V4(address) if address.is_broadcast() => return Answer::Local,
        IpAddr::V6(address) if address.is_unicast_link_local() => return Answer::AskKernel,
        IpAddr::V4(_) | IpAddr::V6(_) => {}
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
                mtu: u16::try_from(route.mtu.unwrap_or(link.mtu).min(link.mtu)).unwrap(),
                ..NextHop::default()
            })
        }),
        _ => Answer::AskKernel,
    }
}

/// Few distinct bytes, so that prefixes nest, collide, and cover neighbours.
fn some_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(0_u8),
        Just(10),
        Just(127),
        Just(128),
        Just(255),
        any::<u8>()
    ]
}

fn some_address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => (
            prop_oneof![4 => Just(10_u8), 1 => some_byte(), 1 => Just(224_u8)],
            some_byte(),
            some_byte(),
            some_byte(),
        )
            .prop_map(|(a, b, c, d)| [a, b, c, d].into())
            .boxed(),
        Family::V6 => (
            prop_oneof![
                6 => Just([0x20, 0x01]),
                1 => [some_byte(), some_byte()],
                1 => Just([0xfe, 0x80]),
                1 => Just([0xff, 0x02]),
            ],
            // Most differ only at one place.
            2..16_usize,
            proptest::array::uniform14(prop_oneof![8 => Just(0), 1 => some_byte()]),
            some_byte(),
        )
            .prop_map(|(lead, at, rest, byte)| {
                let mut octets = [0; 16];
                octets[..2].copy_from_slice(&lead);
                octets[2..].copy_from_slice(&rest);
                octets[at] = byte;
                octets.into()
            })
            .boxed(),
    }
}

fn some_length(family: Family) -> BoxedStrategy<u8> {
    match family {
        Family::V4 => prop_oneof![
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
        .boxed(),
        Family::V6 => prop_oneof![
            Just(0_u8),
            Just(16),
            Just(32),
            Just(47),
            Just(48),
            Just(49),
            Just(64),
            Just(127),
            Just(128),
            0..=128_u8
        ]
        .boxed(),
    }
}

fn some_gateway(family: Family) -> impl Strategy<Value = IpAddr> {
    (1..=4_u8).prop_map(move |last| match family {
        Family::V4 => [10, 0, 0, last].into(),
        Family::V6 => format!("fe80::{last}").parse().unwrap(),
    })
}

fn some_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

prop_compose! {
    fn some_route(family: Family)(
        address in some_address(family),
        length in some_length(family),
        gateway in proptest::option::of(some_gateway(family)),
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
        mtu in prop_oneof![4 => Just(None), 1 => Just(Some(1400)), 1 => Just(Some(9000))],
        special in prop_oneof![12 => Just(None), 1 => Just(Some(Special::Multipath))],
    ) -> Route {
        let (kind, gateway) = match table {
            Table::Local => (RouteKind::Local, None),
            Table::Main | Table::Default => (kind, gateway),
        };
        let prefix = IpNet::new(address, length).unwrap().trunc();
        let ifindex = Some(ifindex);
        Route { table, prefix, kind, metric, tos, gateway, ifindex, source: None, mtu, special }
    }
}

prop_compose! {
    fn some_view_of(family: Family)(
        routes in proptest::collection::vec(some_route(family), 0..40),
        strangers in proptest::collection::vec(some_route(other(family)), 0..4),
        neighbours in proptest::collection::vec(
            (
                prop_oneof![some_address(family), some_gateway(family)],
                1..=DOWN,
                0..4_u8,
                any::<bool>(),
            ),
            0..40
        ),
        policy_rules in prop_oneof![20 => Just(false), 1 => Just(true)],
    ) -> (Family, NetView) {
        let mut view = with(&with(&links(), &routes), &strangers);
        for (address, ifindex, last, alive) in neighbours {
            let state = if alive { NeighbourState::Stale } else { NeighbourState::Failed };
            let neighbour = Neighbour { mac: Some(mac(ifindex, last)), state, managed: false };
            view.apply(Event::Neighbour(ifindex, address, neighbour));
        }
        view.apply(Event::PolicyRules(family, policy_rules));
        (family, view)
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn some_view() -> impl Strategy<Value = (Family, NetView)> {
    some_family().prop_flat_map(some_view_of)
}

/// Both sides of every border in the view, where mistakes would be.
fn probes(view: &NetView, family: Family) -> Vec<IpAddr> {
    let routes = view
        .routes
        .iter()
        .flat_map(|route| [bits(route.prefix.network()), bits(route.prefix.broadcast())]);
    let neighbours = view.neighbours.keys().map(|(_, address)| bits(*address));
    let fixed = [
        "0.0.0.0",
        "224.0.0.0",
        "239.255.255.255",
        "fe80::",
        "febf:ffff::",
    ]
    .map(|text| bits(text.parse().unwrap()));
    let one = 1 << (128 - family.width());
    routes
        .chain(neighbours)
        .chain(fixed)
        .chain([u128::MAX])
        .flat_map(|bits| [bits.wrapping_sub(one), bits, bits.wrapping_add(one)])
        .map(|bits| family.address(bits))
        .collect()
}

pub(super) fn disagreement(trie: &ReturnTrie, view: &NetView) -> Option<IpAddr> {
    probes(view, trie.family)
        .into_iter()
        .find(|at| trie.lookup(*at) != oracle(view, &allowed(), *at))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_answers_as_a_walk_over_all_routes_does(
        ((family, view), more) in some_view().prop_flat_map(|(family, view)| {
            let more = proptest::collection::vec(some_address(family), 50);
            (Just((family, view)), more)
        }),
    ) {
        let trie = build(&view, family);
        for at in probes(&view, family).into_iter().chain(more) {
            prop_assert_eq!(trie.lookup(at), oracle(&view, &allowed(), at), "{}", at);
        }
    }

    #[test]
    fn the_order_of_insertion_does_not_matter(
        (family, routes, shuffled, gateways) in some_family().prop_flat_map(|family| {
            let routes = proptest::collection::vec(some_route(family), 0..40);
            let gateways = proptest::collection::vec((some_gateway(family), 1..=2_u32), 0..8);
            (routes, gateways).prop_flat_map(move |(routes, gateways)| {
                (Just(family), Just(routes.clone()), Just(routes).prop_shuffle(), Just(gateways))
            })
        }),
    ) {
        let mut base = links();
        for (address, ifindex) in gateways {
            known(&mut base, ifindex, &address.to_string());
        }
        let one = build(&with(&base, &routes), family);
        let other = build(&with(&base, &shuffled), family);
        prop_assert!(one == other);
    }

    #[test]
    fn a_cramped_trie_says_less_but_nothing_else(
        (family, view) in some_view(),
        nodes in 0..20_usize,
        hops in 0..4_usize,
        neighbours in 0..3_usize,
    ) {
        let limits = Limits { nodes, hops, neighbours };
        let trie = ReturnTrie::build_within(&view, &allowed(), family, limits);
        prop_assert!(trie.nodes.len() <= nodes + 1 && trie.hops.len() <= hops);
        prop_assert!(trie.neighbours.len() <= neighbours);
        for at in probes(&view, family) {
            let answer = trie.lookup(at);
            prop_assert!(
                answer == Answer::AskKernel || answer == oracle(&view, &allowed(), at), "{}", at
            );
        }
    }
}

#[test]
fn the_oracle_notices_a_trie_that_forgets_a_more_specific_route() {
    for (wide, gateway, refused) in [
        ("10.0.0.0/8", "10.0.0.1", "10.7.0.0/30"),
        ("2001:db8::/32", "fe80::1", "2001:db8:7::/126"),
    ] {
        let mut base = with(&links(), &[route(wide, Some(gateway), 1)]);
        known(&mut base, 1, gateway);
        let first: IpNet = refused.parse().unwrap();
        let family = Family::of(first.addr());
        let forgetful = build(&base, family);
        assert_eq!(disagreement(&forgetful, &base), None);
        let view = with(&base, &[refusing(refused)]);
        assert_eq!(disagreement(&forgetful, &view), Some(first.addr()));
        assert_eq!(disagreement(&build(&view, family), &view), None);
    }
}

#[test]
fn the_oracle_notices_a_forgotten_neighbour_and_a_mistaken_mtu() {
    let mut view = with(&links(), &[route("2001:db8::/64", None, 1)]);
    known(&mut view, 1, "2001:db8::9");
    let trie = build(&view, Family::V6);
    assert_eq!(disagreement(&trie, &view), None);
    let at = Some("2001:db8::9".parse().unwrap());
    let mut forgetful = trie.clone();
    forgetful.neighbours.clear();
    assert_eq!(disagreement(&forgetful, &view), at);
    let mut mistaken = trie;
    for hop in mistaken.neighbours.values_mut() {
        hop.mtu += 1;
    }
    assert_eq!(disagreement(&mistaken, &view), at);
}
