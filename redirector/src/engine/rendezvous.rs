//! Weighted rendezvous hashing: each slot goes to the node with the best score for it.
//!
//! A node's score for a slot depends on nothing but the key, the slot, and the node's address and weight.
//! So a node that leaves gives up its own slots and moves no others, and one that joins takes only its
//! share; the order of the nodes, their number and their history do not matter, and two relays with the
//! same key and pool have the same table. The weighted score is `-ln(u) / weight` for a pseudo-random `u`,
//! smallest wins (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005).

use std::net::IpAddr;

use redirector_common::{abi::SLOTS, hash};

/// A node that may own slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its entry in the map of backends.
    pub backend: u16,
    /// Its address: what it is known by to the hash, on this relay and any other.
    pub address: IpAddr,
    /// Its share, relative to the others' weights.
    pub weight: u32,
}

/// The backend of each slot; 0 everywhere when there are no candidates.
///
/// The redirect's port takes no part, so a client meets the same node by whichever redirect of a pool.
pub fn winners(key: [u64; 2], candidates: &[Candidate]) -> Vec<u16> {
    // Scores must not be related to the hash that picks a client's slot.
    let key = [key[0] ^ 0x5245_4e44_455a_564f, key[1]];
    let weighted = candidates
        .iter()
        .any(|candidate| candidate.weight != candidates[0].weight);
    let mut best: Vec<(Score, u16)> = vec![(Score::WORST, 0); SLOTS];
    for candidate in candidates {
        let (shift, address) = match candidate.address {
            IpAddr::V4(address) => (32, u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let [high, low]: [u64; 2] = bytemuck::cast(address.octets());
                let (high, low) = (u64::from_be(high), u64::from_be(low));
                (48, hash::mix(key, hash::mix(key, high) ^ low))
            }
        };
        for (slot, best) in (0_u64..).zip(&mut best) {
            let draw = hash::mix(key, slot << shift ^ address);
            let score = Score::of(draw, weighted.then_some(candidate.weight));
            if score.beats(&best.0) {
                *best = (score, candidate.backend);
            }
        }
    }
    best.into_iter().map(|(_, backend)| backend).collect()
}

/// Among equal weights the draw itself decides, which saves the logarithm and orders them alike.
#[derive(Clone, Copy)]
struct Score {
    cost: f64,
    draw: u64,
}

impl Score {
    const WORST: Self = Self {
        cost: f64::INFINITY,
        draw: 0,
    };

    fn of(draw: u64, weight: Option<u32>) -> Self {
        let cost = weight.map_or(0.0, |weight| {
            // 53 bits make a double in the open interval (0, 1).
            #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
            let u = ((draw >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
            // `libm`, not the platform's logarithm: two relays must agree to the last bit.
            -libm::log(u) / f64::from(weight)
        });
        Self { cost, draw }
    }

    fn beats(&self, other: &Self) -> bool {
        self.cost < other.cost || (self.cost <= other.cost && self.draw > other.draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [7, 11];

    fn nodes(count: u8) -> Vec<Candidate> {
        (1..=count)
            .map(|n| Candidate {
                backend: u16::from(n),
                address: [10, 0, 1, n].into(),
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
                        address: address.into(),
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
    fn another_key_gives_another_table() {
        let (one, other) = (winners(KEY, &nodes(4)), winners([7, 12], &nodes(4)));
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same.abs_diff(SLOTS / 4) < SLOTS / 40, "{same}");
    }

    #[test]
    fn without_nodes_no_slot_has_an_owner() {
        assert!(winners(KEY, &[]).iter().all(|owner| *owner == 0));
    }
}
