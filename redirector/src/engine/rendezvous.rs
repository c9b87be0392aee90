//! Weighted rendezvous hashing: each slot goes to the node with the best score for it.
//!
//! A node's score for a slot depends on nothing but the key, the slot, and the node's address and weight; where the
//! configuration has a name in place of an address, on the name, so that no slot moves when the address changes.
//! So a node that leaves gives up its own slots and moves no others, and one that joins takes only its
//! share; the order of the nodes, their number and their history do not matter, and two relays with the
//! same key and pool have the same table. The weighted score is `-ln(u) / weight` for a pseudo-random `u`,
//! smallest wins (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005).
//!
//! A table of 256 nodes takes millions of scores, so [`Rendezvous`] remembers the ones in use: redirects of one
//! pool share theirs, and a node that comes or goes costs the scores that it takes part in, not all of them.

mod score;

use std::{net::IpAddr, sync::Arc, thread};

use redirector_common::abi::SLOTS;
use sha2::{Digest as _, Sha256};

use self::score::{Contender, Scale};
use crate::config;

/// What a node is known by to the hash, on this relay and any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Its address.
    Address(IpAddr),
    /// The name of its host, or the one that outlives its address, wherever it is: the first half of its SHA-256
    /// (FIPS 180-4).
    Name([u64; 2]),
}

impl Identity {
    /// Of a node of the configuration, which is at `address` at the moment.
    pub fn of(node: &config::Node, address: IpAddr) -> Self {
        match node.lasting_name() {
            None => Self::Address(address),
            Some(host) => {
                let digest = Sha256::digest(host.as_str());
                let half = |at: usize| {
                    let bytes = digest[at..].first_chunk();
                    u64::from_be_bytes(bytes.copied().unwrap_or_default())
                };
                Self::Name([half(0), half(8)])
            }
        }
    }
}

impl<A: Into<IpAddr>> From<A> for Identity {
    fn from(address: A) -> Self {
        Self::Address(address.into())
    }
}

/// A node that may own slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its entry in the map of backends.
    pub backend: u16,
    /// What it is known by to the hash.
    pub identity: Identity,
    /// Its share, relative to the others' weights.
    pub weight: u32,
}

/// The backend of each slot; 0 everywhere when there are no candidates.
///
/// The redirect's port takes no part, so a client meets the same node by whichever redirect of a pool.
pub fn winners(key: [u64; 2], candidates: &[Candidate]) -> Vec<u16> {
    Owners::compute(key, nodes_of(candidates)).backends(candidates)
}

/// The tables in use, each computed once.
#[derive(Clone)]
pub struct Rendezvous {
    key: [u64; 2],
    known: Vec<Arc<Owners>>,
}

impl Rendezvous {
    /// Nothing computed yet.
    pub fn new(key: [u64; 2]) -> Self {
        Self {
            key,
            known: Vec::new(),
        }
    }

    /// The owners of the slots among `candidates`. They are remembered for as long as somebody holds them.
    pub fn owners(&mut self, candidates: &[Candidate]) -> Arc<Owners> {
        let nodes = nodes_of(candidates);
        let found = self.known.iter().find(|known| known.nodes == nodes);
        if let Some(known) = found {
            return Arc::clone(known);
        }
        let nearest = self
            .known
            .iter()
            .filter(|known| known.scale() == Scale::of(&nodes))
            .map(|known| (known.differences(&nodes), known))
            .min_by_key(|(differences, _)| *differences);
        let owners = Arc::new(match nearest {
            Some((differences, known)) if differences <= nodes.len() / 4 => {
                known.changed_to(self.key, nodes)
            }
            Some(_) | None => Owners::compute(self.key, nodes),
        });
        self.known.push(Arc::clone(&owners));
        owners
    }

    /// Forgets the tables that nobody holds.
    pub fn forget_unused(&mut self) {
        self.known.retain(|known| Arc::strong_count(known) > 1);
    }
}

/// A node as the hash knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    identity: Identity,
    weight: u32,
}

/// The nodes of the candidates in the order of their identities, with weight 1 where all weigh the same.
fn nodes_of(candidates: &[Candidate]) -> Vec<Node> {
    let mut nodes: Vec<Node> = candidates
        .iter()
        .map(|candidate| Node {
            identity: candidate.identity,
            weight: candidate.weight,
        })
        .collect();
    nodes.sort_unstable();
    if Scale::of(&nodes) == Scale::Equal {
        for node in &mut nodes {
            node.weight = 1;
        }
    }
    nodes
}

/// Slots that are computed at a time: their scores fit a processor's nearest cache.
const BLOCK: usize = 1024;

/// From so many nodes on a table is worth threads.
const MANY_NODES: usize = 32;

/// Which node each slot belongs to.
pub struct Owners {
    /// In the order of their identities.
    nodes: Vec<Node>,
    /// Index of the node, for each slot; empty when there are no nodes.
    slots: Vec<u16>,
}

impl Owners {
    /// The backend of each slot. `candidates` are those that the owners were computed for, in whichever order, with
    /// whichever entries in the map of backends.
    pub fn backends(&self, candidates: &[Candidate]) -> Vec<u16> {
        if self.slots.is_empty() {
            return vec![0; SLOTS];
        }
        let mut sorted: Vec<_> = candidates
            .iter()
            .map(|candidate| (candidate.identity, candidate.backend))
            .collect();
        sorted.sort_unstable();
        let backend = |index: &u16| sorted[usize::from(*index)].1;
        self.slots.iter().map(backend).collect()
    }

    fn scale(&self) -> Scale {
        Scale::of(&self.nodes)
    }

    fn compute(key: [u64; 2], nodes: Vec<Node>) -> Self {
        if nodes.is_empty() {
            return Self {
                nodes,
                slots: Vec::new(),
            };
        }
        let scale = Scale::of(&nodes);
        let contenders = score::contenders(key, &nodes);
        let mut slots = vec![0; SLOTS];
        let fill = |first: usize, part: &mut [u16]| {
            for (at, block) in part.chunks_mut(BLOCK).enumerate() {
                score::contest(scale, &contenders, first + at * BLOCK, block);
            }
        };
        let threads = if nodes.len() < MANY_NODES {
            1
        } else {
            thread::available_parallelism().map_or(1, usize::from)
        };
        let share = SLOTS.div_ceil(threads).next_multiple_of(BLOCK);
        let mut parts = (0..).step_by(share).zip(slots.chunks_mut(share));
        thread::scope(|scope| {
            let mine = parts.next();
            for (first, part) in parts {
                scope.spawn(move || fill(first, part));
            }
            if let Some((first, part)) = mine {
                fill(first, part);
            }
        });
        Self { nodes, slots }
    }

    /// How many nodes are in one of the lists only, or weigh something else there.
    fn differences(&self, nodes: &[Node]) -> usize {
        let missing = |of: &[Node], among: &[Node]| {
            let mut nodes = of.iter();
            nodes
                .by_ref()
                .filter(|node| among.binary_search(node).is_err())
                .count()
        };
        missing(&self.nodes, nodes) + missing(nodes, &self.nodes)
    }

    /// The owners among `nodes`, of the same scale: where the owner is gone all contend, elsewhere only those
    /// that are new.
    fn changed_to(&self, key: [u64; 2], nodes: Vec<Node>) -> Self {
        let place = |node: &Node| {
            let index = nodes.binary_search(node).ok();
            index.and_then(|index| u16::try_from(index).ok())
        };
        let kept: Vec<Option<u16>> = self.nodes.iter().map(place).collect();
        let scale = Scale::of(&nodes);
        let contenders = score::contenders(key, &nodes);
        let new: Vec<Contender> = contenders
            .iter()
            .filter(|contender| {
                let node = &nodes[usize::from(contender.index)];
                self.nodes.binary_search(node).is_err()
            })
            .copied()
            .collect();
        let mut slots = vec![0; SLOTS];
        for (slot, (after, before)) in slots.iter_mut().zip(&self.slots).enumerate() {
            let owner = kept.get(usize::from(*before)).copied().flatten();
            *after = match owner {
                Some(owner) if new.is_empty() => owner,
                Some(owner) => {
                    let owner = &contenders[usize::from(owner)];
                    score::best(scale, std::iter::once(owner).chain(&new), slot)
                }
                None => score::best(scale, &contenders, slot),
            };
        }
        Self { nodes, slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [7, 11];

    /// Of the tables of 3 nodes, of 40, and of 40 of which two weigh more; computed by a program that shares no
    /// code with this one.
    const DIGESTS: [u64; 3] = [
        0xc366_aaa5_97c5_42aa,
        0x370a_a72b_eb10_bcd4,
        0x98df_854e_0d01_7281,
    ];

    fn nodes(count: u8) -> Vec<Candidate> {
        (1..=count)
            .map(|n| Candidate {
                backend: u16::from(n),
                identity: [10, 0, 1, n].into(),
                weight: 1,
            })
            .collect()
    }

    fn owned(slots: &[u16], backend: u16) -> usize {
        slots.iter().filter(|owner| **owner == backend).count()
    }

    #[test]
    fn a_node_that_leaves_moves_its_own_slots_only() {
        for count in 2..=16 {
            let all = nodes(count);
            let before = winners(KEY, &all);
            let after = winners(KEY, &all[1..]);
            for (before, after) in before.iter().zip(&after) {
                assert!(*before == 1 || before == after);
            }
        }
    }

    #[test]
    fn a_node_that_joins_takes_its_share_and_nothing_moves_between_the_others() {
        let before = winners(KEY, &nodes(7));
        let after = winners(KEY, &nodes(8));
        for (before, after) in before.iter().zip(&after) {
            assert!(*after == 8 || before == after);
        }
        assert!(owned(&after, 8).abs_diff(SLOTS / 8) < SLOTS / 8 / 20);
    }

    #[test]
    fn slots_are_shared_evenly() {
        for count in [3, 8, 16] {
            let slots = winners(KEY, &nodes(count));
            let mean = SLOTS / usize::from(count);
            for node in 1..=u16::from(count) {
                let share = owned(&slots, node);
                assert!(share.abs_diff(mean) < mean / 20, "{share} of {mean}");
            }
        }
    }

    #[test]
    fn nodes_of_ipv6_share_evenly_whichever_half_of_their_addresses_differs() {
        for position in [7, 15] {
            let all: Vec<_> = nodes(8)
                .into_iter()
                .map(|node| {
                    let mut address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                    address[position] = u8::try_from(node.backend).unwrap();
                    Candidate {
                        identity: address.into(),
                        ..node
                    }
                })
                .collect();
            let slots = winners(KEY, &all);
            for node in 1..=8 {
                let share = owned(&slots, node);
                assert!(share.abs_diff(SLOTS / 8) < SLOTS / 8 / 20, "{share}");
            }
            let fewer = winners(KEY, &all[1..]);
            for (before, after) in slots.iter().zip(&fewer) {
                assert!(*before == 1 || before == after);
            }
        }
    }

    #[test]
    fn weights_are_shares() {
        let mut all = nodes(4);
        all[2].weight = 3;
        let slots = winners(KEY, &all);
        let unit = SLOTS / 6;
        assert!(owned(&slots, 1).abs_diff(unit) < unit / 20);
        assert!(owned(&slots, 3).abs_diff(3 * unit) < unit / 10);
    }

    #[test]
    fn a_weight_that_grows_takes_slots_and_gives_none() {
        let mut all = nodes(4);
        all[2].weight = 2;
        let before = winners(KEY, &all);
        all[2].weight = 3;
        let after = winners(KEY, &all);
        for (before, after) in before.iter().zip(&after) {
            assert!(*after == 3 || before == after);
        }
    }

    #[test]
    fn equal_weights_give_the_same_table_whatever_they_are_and_whatever_the_order() {
        let ones = nodes(5);
        let mut fives: Vec<_> = ones
            .iter()
            .map(|node| Candidate { weight: 5, ..*node })
            .collect();
        fives.reverse();
        assert_eq!(winners(KEY, &ones), winners(KEY, &fives));
    }

    #[test]
    fn the_logarithm_and_the_shortcut_for_equal_weights_agree() {
        // A third node with another weight forces the logarithm; where it does not win, the first two
        // must share the slots as they do alone.
        let two = nodes(2);
        let mut three = nodes(3);
        three[2].weight = 2;
        let (plain, weighted) = (winners(KEY, &two), winners(KEY, &three));
        for (plain, weighted) in plain.iter().zip(&weighted) {
            assert!(*weighted == 3 || plain == weighted);
        }
    }

    #[test]
    fn the_tables_are_those_of_every_release() {
        // FNV-1a over the owners: a relay of this release and one of another must agree.
        let digest = |slots: Vec<u16>| {
            slots.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, owner| {
                (hash ^ u64::from(*owner)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        let mut weighted = nodes(40);
        weighted[3].weight = 5;
        weighted[7].weight = 2;
        let digests = [nodes(3), nodes(40), weighted].map(|nodes| digest(winners(KEY, &nodes)));
        assert_eq!(digests, DIGESTS);
    }

    #[test]
    fn another_key_gives_another_table() {
        let (one, other) = (winners(KEY, &nodes(4)), winners([7, 12], &nodes(4)));
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same.abs_diff(SLOTS / 4) < SLOTS / 40, "{same}");
    }

    #[test]
    fn a_table_that_follows_changes_is_the_table_that_is_computed_anew() {
        let weigh = |weights: &[u32]| {
            let weighted = nodes(40).into_iter().zip(weights.iter().cycle());
            weighted
                .map(|(node, weight)| Candidate {
                    weight: *weight,
                    ..node
                })
                .collect::<Vec<_>>()
        };
        for weights in [&[1][..], &[1, 2, 3]] {
            let all = weigh(weights);
            let mut rendezvous = Rendezvous::new(KEY);
            let mut held = rendezvous.owners(&all);
            let mut heavier = all.clone();
            heavier[5].weight += 1;
            for now in [
                &all[1..],
                &all[2..],
                &all[..],
                &all[..33],
                &all[3..38],
                &heavier,
                &all,
            ] {
                held = rendezvous.owners(now);
                rendezvous.forget_unused();
                assert_eq!(rendezvous.known.len(), 1);
                assert_eq!(held.backends(now), winners(KEY, now));
            }
            assert_eq!(held.nodes.len(), 40);
        }
    }

    #[test]
    fn redirects_of_a_pool_share_their_table_whatever_their_backends() {
        let one = nodes(5);
        let other: Vec<_> = one
            .iter()
            .rev()
            .map(|node| Candidate {
                backend: node.backend + 100,
                ..*node
            })
            .collect();
        let mut rendezvous = Rendezvous::new(KEY);
        let first = rendezvous.owners(&one);
        let second = rendezvous.owners(&other);
        assert!(Arc::ptr_eq(&first, &second));
        let (first, second) = (first.backends(&one), second.backends(&other));
        assert!(first.iter().zip(second).all(|(a, b)| a + 100 == b));
    }

    #[test]
    fn without_nodes_no_slot_has_an_owner() {
        assert!(winners(KEY, &[]).iter().all(|owner| *owner == 0));
    }
}
