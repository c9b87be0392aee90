use std::{collections::BTreeSet, net::Ipv4Addr, time::Instant};

use proptest::prelude::*;

use super::{
    super::{
        routes::{Placement, Route, RouteKind, Table},
        trie::Answer,
        view::{Event, Link, Neighbour, NeighbourState, NetView},
    },
    *,
};

const JUNK_NODE: TrieNode = TrieNode {
    entries: [TRIE_FIRST_HOP; 256],
};

/// The maps as the kernel holds them; what was never written is junk.
#[derive(Clone)]
struct Maps {
    root: Box<TrieRoot>,
    nodes: Vec<TrieNode>,
    hops: Vec<NextHop>,
}

impl Maps {
    fn new() -> Self {
        Self {
            root: TrieStore::new().root,
            nodes: vec![JUNK_NODE; MAX_TRIE_NODES as usize],
            hops: vec![NextHop::default(); MAX_HOPS as usize],
        }
    }

    fn lookup(&self, address: Ipv4Addr) -> Answer {
        let [a, b, c, d] = address.octets();
        let mut entry = self.root.entries[usize::from(a) << 8 | usize::from(b)];
        for octet in [c, d] {
            if let Refers::Child(index) = classify(entry) {
                entry = self.nodes[usize::from(index)].entries[usize::from(octet)];
            }
        }
        match classify(entry) {
            Refers::Hop(index) => Answer::Hop(self.hops[usize::from(index)]),
            Refers::Nothing if entry == TRIE_LOCAL => Answer::Local,
            Refers::Nothing => Answer::AskKernel,
            Refers::Child(index) => panic!("a fourth level below node {index}"),
        }
    }

    fn adopt(&self) -> Result<TrieStore, BrokenTrie> {
        TrieStore::adopt(
            &self.root,
            |index| self.nodes.get(usize::from(index)).copied(),
            |index| self.hops.get(usize::from(index)).copied(),
        )
    }
}

/// Makes the writes one by one, and returns the first at which a reader of the old root would see
/// something else than before.
fn write(maps: &mut Maps, update: &Update, watched: &[Ipv4Addr]) -> Option<usize> {
    let before: Vec<Answer> = watched.iter().map(|at| maps.lookup(*at)).collect();
    let same = |maps: &Maps| {
        watched
            .iter()
            .map(|at| maps.lookup(*at))
            .eq(before.iter().copied())
    };
    let mut broken = None;
    let mut step = 0;
    for (index, node) in &update.node_writes {
        maps.nodes[usize::from(*index)] = *node;
        step += 1;
        broken = broken.or((!same(maps)).then_some(step));
    }
    for (index, hop) in &update.hop_writes {
        maps.hops[usize::from(*index)] = *hop;
        step += 1;
        broken = broken.or((!same(maps)).then_some(step));
    }
    if let Some(root) = &update.root {
        maps.root.clone_from(root);
    }
    broken
}

fn view(routes: &[(u8, u8, u8)], macs: &[(u8, u8)]) -> NetView {
    let mut view = NetView::default();
    let link = Link {
        name: "eth0".into(),
        mac: Some([2; 6]),
        up: true,
        carrier: true,
        mtu: 1500,
        ..Link::default()
    };
    view.apply(Event::Link(1, link));
    let far = routes.iter().map(|(octet, length, gateway)| {
        let prefix = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(172, 16, *octet, *octet), *length);
        (prefix.trunc(), Some(Ipv4Addr::new(10, 0, 0, *gateway)))
    });
    for (prefix, gateway) in far.chain([("10.0.0.0/24".parse().unwrap(), None)]) {
        let route = Route {
            table: Table::Main,
            prefix,
            kind: RouteKind::Unicast,
            metric: 0,
            tos: 0,
            gateway,
            ifindex: Some(1),
            source: None,
            special: None,
        };
        view.apply(Event::Route(route, Placement::Replace));
    }
    for (host, mac) in macs {
        let state = NeighbourState::Reachable;
        let neighbour = Neighbour {
            mac: Some([2, 0, 0, 0, 0, *mac]),
            state,
            managed: false,
        };
        view.apply(Event::Neighbour(
            1,
            Ipv4Addr::new(10, 0, 0, *host),
            neighbour,
        ));
    }
    view
}

fn build(view: &NetView) -> ReturnTrie {
    ReturnTrie::build(view, &BTreeSet::from([1]))
}

fn watched() -> Vec<Ipv4Addr> {
    let far = (0..=255)
        .step_by(3)
        .map(|octet| Ipv4Addr::new(172, 16, octet, octet));
    let near = (0..16).map(|host| Ipv4Addr::new(10, 0, 0, host));
    far.chain(near).collect()
}

type Step = (Vec<(u8, u8, u8)>, Vec<(u8, u8)>);

fn some_history() -> impl Strategy<Value = Vec<Step>> {
    let routes = proptest::collection::vec((any::<u8>(), 12..=32_u8, 1..6_u8), 0..12);
    let macs = proptest::collection::vec((1..8_u8, 1..4_u8), 0..8);
    proptest::collection::vec((routes, macs), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_sees_the_old_trie_or_the_new_one_through_any_history(history in some_history()) {
        let (mut store, mut maps) = (TrieStore::new(), Maps::new());
        for (routes, macs) in history {
            let trie = build(&view(&routes, &macs));
            let update = store.plan(&trie);
            prop_assert!(!update.degraded);
            prop_assert_eq!(write(&mut maps, &update, &watched()), None);
            store.commit(update);
            for at in watched() {
                prop_assert_eq!(maps.lookup(at), trie.lookup(at), "{}", at);
            }
            prop_assert!(maps.adopt() == Ok(store.clone()));
        }
    }
}

#[test]
fn a_store_that_does_not_know_what_is_in_use_would_be_noticed() {
    let mut maps = Maps::new();
    let first = TrieStore::new().plan(&build(&view(&[(9, 24, 1)], &[(1, 1)])));
    assert_eq!(write(&mut maps, &first, &watched()), None);
    let ignorant = TrieStore::new().plan(&build(&view(&[(9, 24, 2)], &[(2, 2)])));
    assert!(write(&mut maps, &ignorant, &watched()).is_some());
}

#[test]
fn an_unchanged_trie_writes_nothing() {
    let trie = build(&view(&[(9, 24, 1), (200, 30, 2)], &[(1, 1), (2, 2)]));
    let mut store = TrieStore::new();
    let update = store.plan(&trie);
    assert!(update.root.is_some());
    store.commit(update);
    let again = store.plan(&trie);
    assert!(again.root.is_none() && again.node_writes.is_empty() && again.hop_writes.is_empty());
}

#[test]
fn a_change_below_one_node_rewrites_only_the_way_to_it() {
    let routes: Vec<_> = (0..100).map(|octet| (octet, 28, 1)).collect();
    let mut store = TrieStore::new();
    store.commit(store.plan(&build(&view(&routes, &[(1, 1), (5, 5)]))));
    let update = store.plan(&build(&view(&routes, &[(1, 1), (5, 6)])));
    // The third and the second level above 10.0.0.5.
    assert_eq!((update.node_writes.len(), update.hop_writes.len()), (2, 1));
}

#[test]
fn nodes_and_hops_of_earlier_tries_are_used_again() {
    let mut store = TrieStore::new();
    let mut highest = (0, 0);
    for round in 0..200_u8 {
        let update = store.plan(&build(&view(&[(round, 25, 1)], &[(1, round)])));
        for (index, _) in &update.node_writes {
            highest.0 = highest.0.max(*index);
        }
        for (index, _) in &update.hop_writes {
            highest.1 = highest.1.max(*index);
        }
        store.commit(update);
    }
    assert!(highest.0 < 16 && highest.1 < 4, "{highest:?}");
}

#[test]
fn too_little_room_degrades_to_asking_the_kernel() {
    let mut store = TrieStore::new();
    // All but one of the hops are in use, as an adopted trie might have it.
    for index in 0..u16::try_from(MAX_HOPS).unwrap() - 1 {
        store.hops.insert(
            index,
            NextHop {
                ifindex: 77,
                ..NextHop::default()
            },
        );
    }
    let trie = build(&view(&[], &[(1, 1), (2, 2)]));
    let update = store.plan(&trie);
    assert!(update.degraded);
    let mut maps = Maps::new();
    write(&mut maps, &update, &watched());
    let answers: Vec<Answer> = [1, 2]
        .map(|host| maps.lookup(Ipv4Addr::new(10, 0, 0, host)))
        .into();
    assert_eq!(
        answers,
        [trie.lookup(Ipv4Addr::new(10, 0, 0, 1)), Answer::AskKernel]
    );
    store.commit(update);
    assert!(!store.plan(&trie).degraded);
}

#[test]
fn junk_is_not_adopted() {
    let mut maps = Maps::new();
    maps.root.entries[7] = TRIE_CHILD;
    assert_eq!(maps.adopt(), Err(BrokenTrie::Node(0)));
    maps.root.entries[7] = TRIE_CHILD | 4096;
    assert_eq!(maps.adopt(), Err(BrokenTrie::Node(4096)));
    maps.root.entries[7] = TRIE_CHILD | 1;
    maps.nodes[1].entries[0] = TRIE_CHILD | 2;
    maps.nodes[2].entries[0] = TRIE_CHILD | 3;
    assert_eq!(maps.adopt(), Err(BrokenTrie::Depth(2)));
    maps.nodes[2].entries[0] = TRIE_CHILD - 1;
    assert_eq!(
        maps.adopt(),
        Err(BrokenTrie::Hop(TRIE_CHILD - 1 - TRIE_FIRST_HOP))
    );
    maps.nodes[2].entries[0] = TRIE_ASK_KERNEL;
    assert_eq!(maps.adopt().map(|store| store.used()), Ok((2, 1)));
}

#[test]
fn planning_is_fast() {
    let routes: Vec<_> = (0..=255).map(|octet| (octet, 28, 1)).collect();
    let mut store = TrieStore::new();
    store.commit(store.plan(&build(&view(&routes, &[(1, 1), (5, 5)]))));
    let changed = build(&view(&routes, &[(1, 1), (5, 6)]));
    let start = Instant::now();
    let update = store.plan(&changed);
    println!(
        "planning one change among {:?} nodes and hops: {:?}",
        store.used(),
        start.elapsed()
    );
    assert!(update.root.is_some());
}
