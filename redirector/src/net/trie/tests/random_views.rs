//! Random views, and an oracle that looks at every route.

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;

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
                mtu: 0,
                reserved: 0,
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

pub(super) fn disagreement(trie: &ReturnTrie, view: &NetView) -> Option<Ipv4Addr> {
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
