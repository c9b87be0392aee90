//! Round-robin: the order in which nodes take turns.
//!
//! A node of weight 2 has two turns where one of weight 1 has one, and they are spread out: by turns each node gains its
//! weight, and the one that has gained most takes the turn and pays the sum of all weights (nginx's "smooth weighted
//! round-robin"). The data path goes through the slots one after the other, so they hold as many turns as there are.

use redirector_common::abi::SLOTS;

use super::rendezvous::Candidate;

/// The backend of each turn; 0 everywhere when there are no candidates. The nodes' order is that of their identities, so
/// that two relays have the same table.
pub(super) fn turns(candidates: &[Candidate]) -> Vec<u16> {
    let mut nodes: Vec<(&Candidate, i64)> = candidates.iter().map(|one| (one, 0)).collect();
    nodes.sort_unstable_by_key(|(one, _)| one.identity);
    let whole: i64 = candidates.iter().map(|one| i64::from(one.weight)).sum();
    let mut turns = Vec::with_capacity(SLOTS);
    while turns.len() < SLOTS {
        for (one, gained) in &mut nodes {
            *gained += i64::from(one.weight);
        }
        // The first of the richest.
        let richest = nodes.iter_mut().rev().max_by_key(|(_, gained)| *gained);
        let Some((one, gained)) = richest else {
            return vec![0; SLOTS];
        };
        *gained -= whole;
        turns.push(one.backend);
        if nodes.iter().all(|(_, gained)| *gained == 0) {
            break;
        }
    }
    let round = turns;
    round.iter().copied().cycle().take(SLOTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(weights: &[u32]) -> Vec<Candidate> {
        (1..)
            .zip(weights)
            .map(|(number, weight)| Candidate {
                backend: u16::from(number),
                identity: [10, 0, 1, number].into(),
                weight: *weight,
            })
            .collect()
    }

    #[test]
    fn nodes_of_the_same_weight_take_turns_in_the_order_of_their_addresses() {
        let mut three = nodes(&[5, 5, 5]);
        three.reverse();
        let all = turns(&three);
        assert_eq!(all.len(), SLOTS);
        assert_eq!(all[..7], [1, 2, 3, 1, 2, 3, 1]);
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_heavier_node_has_more_turns_and_not_all_at_once() {
        assert_eq!(turns(&nodes(&[4, 1, 1]))[..6], [1, 1, 2, 1, 3, 1]);
        let all = turns(&nodes(&[1000, 999, 1]));
        let of = |backend| all.iter().filter(|turn| **turn == backend).count();
        assert_eq!(of(3), SLOTS / 2000 + usize::from(of(3) > SLOTS / 2000));
        assert!(of(1).abs_diff(of(2)) < SLOTS / 500, "{} {}", of(1), of(2));
    }

    #[test]
    fn without_nodes_nobody_has_a_turn() {
        assert_eq!(turns(&[]), vec![0; SLOTS]);
    }
}
