//! Slow start: a node that comes up gets its share step by step.
//!
//! Its weight grows, and a weight that grows takes slots and gives none, so no slot changes twice and no connection
//! moves.

use std::collections::BTreeMap;

use super::rendezvous::{Candidate, Identity};

/// Steps to the whole share. A power of two, so that the scores of nodes that are not rising, whose weights are multiplied
/// by it, compare to the last bit as they do otherwise.
const STEPS: u32 = 16;

/// The nodes of a redirect that are rising.
#[derive(Clone, Debug, Default)]
pub struct Ramp {
    /// By what a node is known by wherever it is, with the epoch when each began.
    rising: BTreeMap<Identity, u32>,
}

impl Ramp {
    /// Whether any node is rising.
    pub fn is_rising(&self) -> bool {
        !self.rising.is_empty()
    }

    /// The candidates with the weights that they have for now. Those that were not among the ones `before`, while others
    /// were, begin to rise, which takes them `over` seconds.
    pub fn weigh(
        &mut self,
        mut candidates: Vec<Candidate>,
        before: &[Candidate],
        over: u32,
        epoch: u32,
    ) -> Vec<Candidate> {
        let was = |identity: Identity| before.iter().any(|one| one.identity == identity);
        for candidate in &candidates {
            if over > 0 && !before.is_empty() && !was(candidate.identity) {
                self.rising.insert(candidate.identity, epoch);
            }
        }
        self.rising.retain(|identity, since| {
            epoch.saturating_sub(*since) < over
                && candidates.iter().any(|one| one.identity == *identity)
        });
        if self.rising.is_empty() {
            return candidates;
        }
        for candidate in &mut candidates {
            let since = self.rising.get(&candidate.identity);
            candidate.weight *= since.map_or(STEPS, |since| {
                let elapsed = u64::from(epoch.saturating_sub(*since));
                let step = 1 + elapsed * u64::from(STEPS - 1) / u64::from(over);
                u32::try_from(step).unwrap_or(STEPS)
            });
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rendezvous::winners;

    const KEY: [u64; 2] = [7, 11];

    fn nodes(backends: &[u16]) -> Vec<Candidate> {
        backends
            .iter()
            .map(|backend| Candidate {
                backend: *backend,
                identity: [10, 0, 1, u8::try_from(*backend).expect("few")].into(),
                weight: 1,
            })
            .collect()
    }

    #[test]
    fn a_node_that_comes_up_takes_slots_step_by_step_until_it_has_its_share() {
        let mut ramp = Ramp::default();
        let two = nodes(&[1, 2]);
        let mut table = winners(KEY, &two);
        let mut before = ramp.weigh(two.clone(), &[], 30, 100);
        assert_eq!(before, two, "the first nodes have nobody to spare");
        let mut shares = Vec::new();
        for epoch in 100..=130 {
            let now = ramp.weigh(nodes(&[1, 2, 3]), &before, 30, epoch);
            let next = winners(KEY, &now);
            for (was, is) in table.iter().zip(&next) {
                assert!(is == was || *is == 3, "a bystander moved");
            }
            shares.push(next.iter().filter(|owner| **owner == 3).count());
            (table, before) = (next, now);
        }
        assert!(shares.is_sorted());
        let whole = table.len() / 3;
        assert!(shares[0] < whole / 5, "{shares:?}");
        assert!(
            shares[15] > whole / 4 && shares[15] < 3 * whole / 4,
            "{shares:?}"
        );
        assert!(shares[30].abs_diff(whole) < whole / 20, "{shares:?}");
        assert_eq!(
            table,
            winners(KEY, &nodes(&[1, 2, 3])),
            "the table of any relay"
        );
        assert!(!ramp.is_rising());
    }

    #[test]
    fn a_node_that_leaves_and_comes_back_begins_anew() {
        let mut ramp = Ramp::default();
        let both = ramp.weigh(nodes(&[1, 2]), &nodes(&[1]), 30, 100);
        assert_eq!((both[0].weight, both[1].weight), (16, 1));
        let both = ramp.weigh(nodes(&[1, 2]), &both, 30, 129);
        assert_eq!((both[0].weight, both[1].weight), (16, 15));
        let one = ramp.weigh(nodes(&[1]), &both, 30, 129);
        let both = ramp.weigh(nodes(&[1, 2]), &one, 30, 129);
        assert_eq!((both[0].weight, both[1].weight), (16, 1));
    }

    #[test]
    fn a_node_whose_name_stands_for_another_address_goes_on_where_it_was() {
        let named = |backend| Candidate {
            backend,
            identity: Identity::Name([1, 2]),
            weight: 1,
        };
        let pool = |backend| [nodes(&[1]), vec![named(backend)]].concat();
        let mut ramp = Ramp::default();
        assert_eq!(ramp.weigh(pool(3), &pool(2), 30, 100), pool(3));
        let rising = ramp.weigh(pool(3), &nodes(&[1]), 30, 100);
        let moved = ramp.weigh(pool(4), &rising, 30, 129);
        assert_eq!((moved[1].backend, moved[1].weight), (4, 15));
    }

    #[test]
    fn without_slow_start_nobody_rises() {
        let mut ramp = Ramp::default();
        assert_eq!(
            ramp.weigh(nodes(&[1, 2]), &nodes(&[1]), 0, 100),
            nodes(&[1, 2])
        );
    }
}
