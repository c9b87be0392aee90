//! Active and passive nodes: which priority of a pool takes the clients.
//!
//! The nodes of one priority are a tier. The highest tier that has enough nodes up takes all clients. With `failback =
//! "never"` a tier that has them keeps them for as long as it has enough, whatever comes back above it.

use std::collections::BTreeMap;

use super::rendezvous::Candidate;
use crate::config::{Failback, Pool};

/// A node that may take clients, if its tier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Eligible {
    /// The node.
    pub candidate: Candidate,
    /// Its priority.
    pub priority: u32,
}

/// The tier that takes the clients, of those that the `eligible` nodes are in; none where there is no node. `current` is
/// the one that has them.
///
/// Where no tier has enough nodes the highest one that has any takes them: too few are better than none.
pub(super) fn choose(pool: &Pool, eligible: &[Eligible], current: Option<u32>) -> Option<u32> {
    let mut up: BTreeMap<u32, u32> = BTreeMap::new();
    for node in eligible {
        *up.entry(node.priority).or_default() += 1;
    }
    let is_enough = |tier: &u32| up.get(tier).is_some_and(|count| *count >= pool.min_active);
    let kept = current.filter(|tier| pool.failback == Failback::Never && is_enough(tier));
    let highest = || up.keys().rev().copied().find(is_enough);
    kept.or_else(highest)
        .or_else(|| up.last_key_value().map(|(tier, _)| *tier))
}

/// The nodes of a tier.
pub(super) fn members(eligible: &[Eligible], tier: Option<u32>) -> Vec<Candidate> {
    let mut members = Vec::new();
    for node in eligible {
        if Some(node.priority) == tier {
            members.push(node.candidate);
        }
    }
    members
}

/// The tier of the nodes that have most of these slots; none where none of them has any.
pub(super) fn of_slots(eligible: &[Eligible], owned: &BTreeMap<u16, u32>) -> Option<u32> {
    let mut slots: BTreeMap<u32, u32> = BTreeMap::new();
    for node in eligible {
        if let Some(count) = owned.get(&node.candidate.backend) {
            *slots.entry(node.priority).or_default() += count;
        }
    }
    let most = slots.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(tier, _)| tier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(min_active: u32, failback: &str) -> Pool {
        let text = format!(
            "interfaces = [\"eth0\"]\n[pool.a]\nnodes = [\"10.0.1.1\", \"10.0.1.2\"]\n\
             min-active = {min_active}\nfailback = \"{failback}\"\n\
             [redirect.a]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = {{ pool = \"a\", port = 1080 }}\n"
        );
        let config = crate::config::Config::parse("test", &text);
        config.expect("a configuration").pools.remove(0)
    }

    fn up(priorities: &[u32]) -> Vec<Eligible> {
        (1..)
            .zip(priorities)
            .map(|(backend, priority)| Eligible {
                candidate: Candidate {
                    backend,
                    identity: [10, 0, 1, 1].into(),
                    weight: 1,
                },
                priority: *priority,
            })
            .collect()
    }

    #[test]
    fn the_highest_tier_takes_the_clients_and_the_next_one_when_it_has_too_few_nodes() {
        let pool = pool(2, "auto");
        assert_eq!(choose(&pool, &up(&[9, 9, 5, 5, 1]), None), Some(9));
        assert_eq!(choose(&pool, &up(&[9, 5, 5, 1]), Some(9)), Some(5));
        assert_eq!(choose(&pool, &up(&[9, 9, 5, 5]), Some(5)), Some(9), "back");
    }

    #[test]
    fn without_failback_a_tier_keeps_the_clients_until_it_has_too_few_nodes() {
        let pool = pool(2, "never");
        assert_eq!(choose(&pool, &up(&[9, 9, 5, 5]), Some(5)), Some(5));
        assert_eq!(choose(&pool, &up(&[9, 9, 5]), Some(5)), Some(9));
        assert_eq!(choose(&pool, &up(&[9, 9, 5, 5]), None), Some(9));
    }

    #[test]
    fn too_few_nodes_are_better_than_none() {
        let pool = pool(2, "auto");
        assert_eq!(choose(&pool, &up(&[9, 5]), None), Some(9));
        assert_eq!(choose(&pool, &up(&[5]), Some(9)), Some(5));
        assert_eq!(choose(&pool, &[], Some(9)), None);
    }

    #[test]
    fn the_nodes_of_the_tier_are_its_members() {
        let ids = |tier| {
            let members = members(&up(&[9, 5, 9]), tier);
            members.iter().map(|one| one.backend).collect::<Vec<_>>()
        };
        assert_eq!(ids(Some(9)), [1, 3]);
        assert_eq!(ids(None), [0; 0]);
    }

    #[test]
    fn a_table_tells_which_tier_had_the_clients() {
        let owned = [(0, 7), (2, 100), (3, 60)].into();
        assert_eq!(of_slots(&up(&[9, 9, 5]), &owned), Some(9));
        assert_eq!(of_slots(&up(&[9]), &owned), None);
    }
}
