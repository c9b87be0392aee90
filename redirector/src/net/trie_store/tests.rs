use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use proptest::prelude::*;
use redirector_common::abi::MAX_HOPS;

use super::{
    super::{
        routes::{Placement, route},
        trie::Answer,
        view::{Event, Link, Neighbour, NeighbourState, NetView},
    },
    *,
};
use crate::family::bits;

const JUNK_NODE: TrieNode = TrieNode {
    entries: [TRIE_FIRST_HOP; 256],
};

/// The maps as the kernel holds them; what was never written is junk.
#[derive(Clone)]
struct Maps {
    family: Family,
    root: Box<TrieRoot>,
    nodes: Vec<TrieNode>,
    hops: Vec<NextHop>,
}

impl Maps {
    fn new(family: Family) -> Self {
        Self {
            family,
            root: empty_root(),
            nodes: vec![JUNK_NODE; MAX_TRIE_NODES as usize],
            hops: vec![NextHop::default(); MAX_HOPS as usize],
        }
    }

    fn lookup(&self, address: IpAddr) -> Answer {
        let [a, b, rest @ ..] = bits(address).to_be_bytes();
        let mut entry = self.root.entries[usize::from(a) << 8 | usize::from(b)];
        for octet in rest {
            if let Refers::Child(index) = classify(entry) {
                entry = self.nodes[usize::from(index)].entries[usize::from(octet)];
            }
        }
        match classify(entry) {
            Refers::Hop(index) => Answer::Hop(self.hops[usize::from(index)]),
            Refers::Nothing if entry == TRIE_LOCAL => Answer::Local,
            Refers::Nothing => Answer::AskKernel,
            Refers::Child(index) => panic!("more levels than an address below node {index}"),
        }
    }

    fn adopt(&self) -> Result<TrieStore, BrokenTrie> {
        TrieStore::adopt(
            self.family,
            &self.root,
            |index| self.nodes.get(usize::from(index)).copied(),
            |index| self.hops.get(usize::from(index)).copied(),
        )
    }
}

/// Makes the writes one by one, and returns the first at which a reader of the old root would see
/// something else than before.
fn write(maps: &mut Maps, update: &Update, watched: &[IpAddr]) -> Option<usize> {
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

/// Far networks by octet, prefix length in the last 16 bits of what differs, and gateway; and hosts of
/// the near network by their last octet.
fn view(family: Family, routes: &[(u8, u8, u8)], macs: &[(u8, u8)]) -> NetView {
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
    for (octet, length, gateway) in routes {
        let length = match family {
            Family::V4 => *length,
            Family::V6 => *length + 96,
        };
        let prefix = ipnet::IpNet::new_assert(far(family, *octet), length);
        let gateway = near(family, *gateway).to_string();
        let route = route(&prefix.trunc().to_string(), Some(&gateway), 1);
        view.apply(Event::Route(route, Placement::Replace));
    }
    let on_link = match family {
        Family::V4 => "10.0.0.0/24",
        Family::V6 => "2001:db8::/64",
    };
    view.apply(Event::Route(route(on_link, None, 1), Placement::Replace));
    for (host, mac) in macs {
        let state = NeighbourState::Reachable;
        let neighbour = Neighbour {
            mac: Some([2, 0, 0, 0, 0, *mac]),
            state,
            managed: false,
        };
        view.apply(Event::Neighbour(1, near(family, *host), neighbour));
    }
    view
}

fn far(family: Family, octet: u8) -> IpAddr {
    match family {
        Family::V4 => [172, 16, octet, octet].into(),
        Family::V6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0xac10, u16::from(octet) * 0x101].into(),
    }
}

fn near(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 0, host].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into(),
    }
}

fn build(view: &NetView, family: Family) -> ReturnTrie {
    ReturnTrie::build(view, &BTreeSet::from([1]), family)
}

fn build4(routes: &[(u8, u8, u8)], macs: &[(u8, u8)]) -> ReturnTrie {
    build(&view(Family::V4, routes, macs), Family::V4)
}

fn watched(family: Family) -> Vec<IpAddr> {
    let far = (0..=255).step_by(3).map(|octet| far(family, octet));
    let near = (0..16).map(|host| near(family, host));
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
    fn a_reader_sees_the_old_trie_or_the_new_one_through_any_history(
        history in some_history(),
        family in prop_oneof![Just(Family::V4), Just(Family::V6)],
    ) {
        let (mut store, mut maps) = (TrieStore::new(family), Maps::new(family));
        for (routes, macs) in history {
            let mut trie = build(&view(family, &routes, &macs), family);
            // They are in a map of their own.
            trie.neighbours.clear();
            let update = store.plan(&trie);
            prop_assert!(!update.degraded);
            prop_assert_eq!(write(&mut maps, &update, &watched(family)), None);
            store.commit(update);
            for at in watched(family) {
                prop_assert_eq!(maps.lookup(at), trie.lookup(at), "{}", at);
            }
            prop_assert!(maps.adopt() == Ok(store.clone()));
        }
    }
}

#[test]
fn a_store_that_does_not_know_what_is_in_use_would_be_noticed() {
    let mut maps = Maps::new(Family::V4);
    let first = TrieStore::new(Family::V4).plan(&build4(&[(9, 24, 1)], &[(1, 1)]));
    assert_eq!(write(&mut maps, &first, &watched(Family::V4)), None);
    let ignorant = TrieStore::new(Family::V4).plan(&build4(&[(9, 24, 2)], &[(2, 2)]));
    assert!(write(&mut maps, &ignorant, &watched(Family::V4)).is_some());
}

#[test]
fn an_unchanged_trie_writes_nothing() {
    let trie = build4(&[(9, 24, 1), (200, 30, 2)], &[(1, 1), (2, 2)]);
    let mut store = TrieStore::new(Family::V4);
    let update = store.plan(&trie);
    assert!(update.root.is_some());
    store.commit(update);
    let again = store.plan(&trie);
    assert!(again.root.is_none() && again.node_writes.is_empty() && again.hop_writes.is_empty());
}

#[test]
fn a_change_below_one_node_rewrites_only_the_way_to_it() {
    let routes: Vec<_> = (0..100).map(|octet| (octet, 28, 1)).collect();
    let mut store = TrieStore::new(Family::V4);
    store.commit(store.plan(&build4(&routes, &[(1, 1), (5, 5)])));
    let update = store.plan(&build4(&routes, &[(1, 1), (5, 6)]));
    // The third and the second level above 10.0.0.5.
    assert_eq!((update.node_writes.len(), update.hop_writes.len()), (2, 1));
}

#[test]
fn nodes_and_hops_of_earlier_tries_are_used_again() {
    let mut store = TrieStore::new(Family::V4);
    let mut highest = (0, 0);
    for round in 0..200_u8 {
        let update = store.plan(&build4(&[(round, 25, 1)], &[(1, round)]));
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
    let mut store = TrieStore::new(Family::V4);
    // All but one of the hops are in use, as an adopted trie might have it.
    for index in hop_indices(Family::V4).skip(1) {
        store.hops.insert(
            u16::try_from(index).unwrap(),
            NextHop {
                ifindex: 77,
                ..NextHop::default()
            },
        );
    }
    let trie = build4(&[], &[(1, 1), (2, 2)]);
    let update = store.plan(&trie);
    assert!(update.degraded);
    let mut maps = Maps::new(Family::V4);
    write(&mut maps, &update, &watched(Family::V4));
    let answers: Vec<Answer> = [1, 2]
        .map(|host| maps.lookup(near(Family::V4, host)))
        .into();
    assert_eq!(
        answers,
        [trie.lookup(near(Family::V4, 1)), Answer::AskKernel]
    );
    store.commit(update);
    assert!(!store.plan(&trie).degraded);
}

#[test]
fn junk_is_not_adopted() {
    let mut maps = Maps::new(Family::V4);
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
    let mut store = TrieStore::new(Family::V4);
    store.commit(store.plan(&build4(&routes, &[(1, 1), (5, 5)])));
    let changed = build4(&routes, &[(1, 1), (5, 6)]);
    let start = Instant::now();
    let update = store.plan(&changed);
    println!(
        "planning one change among {:?} nodes and hops: {:?}",
        store.used(),
        start.elapsed()
    );
    assert!(update.root.is_some());
}

#[test]
fn the_hops_of_ipv6_stay_within_its_part_of_the_map() {
    let mut store = TrieStore::new(Family::V6);
    for round in 0..20_u8 {
        let view = view(
            Family::V6,
            &[(round, 25, 1), (round + 20, 25, 2)],
            &[(1, round), (2, 99)],
        );
        let update = store.plan(&build(&view, Family::V6));
        assert!(!update.hop_writes.is_empty());
        for (index, _) in &update.hop_writes {
            assert!(
                hop_indices(Family::V6).contains(&(*index).into()),
                "{index}"
            );
        }
        store.commit(update);
    }
    let mut maps = Maps::new(Family::V6);
    maps.root.entries[7] = TRIE_FIRST_HOP;
    assert_eq!(maps.adopt(), Err(BrokenTrie::Hop(0)), "a hop of IPv4");
}

#[test]
fn an_ipv6_trie_has_fifteen_levels_and_no_more() {
    let mut maps = Maps::new(Family::V6);
    maps.root.entries[7] = TRIE_CHILD | 1;
    for level in 1..=14_u16 {
        maps.nodes[usize::from(level)].entries = [TRIE_ASK_KERNEL; 256];
        maps.nodes[usize::from(level)].entries[9] = TRIE_CHILD | (level + 1);
    }
    assert_eq!(maps.adopt(), Err(BrokenTrie::Depth(14)));
    maps.nodes[14].entries[9] = TRIE_NEIGHBOUR;
    assert_eq!(maps.adopt().map(|store| store.used()), Ok((14, 0)));
}
