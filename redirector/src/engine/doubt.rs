//! Passive health: what packets say about a node between two checks.
//!
//! The data path counts what clients ask of each node and what it answers. A node that stops answering is doubted within
//! two looks at these counters, and a doubt is a reason to check it at once. It is no more than that: anybody can send
//! packets that get no answer, so what takes a node down is still a failed check.

use std::time::{Duration, Instant};

use redirector_common::abi::BackendStats;

/// Why a node is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was asked something and has said nothing at all.
    Silent,
    /// Most attempts to connect were not accepted.
    Unanswered,
    /// It resets more connections than it accepts.
    Resetting,
}

impl Doubt {
    /// What is said of the node.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Silent => "does not answer what clients send",
            Self::Unanswered => "does not accept what clients open",
            Self::Resetting => "resets what clients open",
        }
    }
}

/// So many resets between two looks are more than what clients that hang up cause by the way.
const BURST: u64 = 5;

/// A node that stays in doubt is checked again after so long, then after twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Until it is so long.
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// Watches one node.
#[derive(Clone, Copy, Debug)]
pub struct Doubts {
    /// The counters at the last look and at the one before.
    last: BackendStats,
    earlier: BackendStats,
    /// When the node is not checked again before, and how long that pause is.
    pause: Option<(Instant, Duration)>,
}

impl Doubts {
    /// Starts watching.
    pub fn new(stats: BackendStats) -> Self {
        Self {
            last: stats,
            earlier: stats,
            pause: None,
        }
    }

    /// Takes the counters as they are `at` some time; says when the node is to be checked at once, and why.
    ///
    /// What was asked between the last two looks has had the time until now to be answered.
    pub fn observe(&mut self, now: BackendStats, at: Instant) -> Option<Doubt> {
        let Self {
            last,
            earlier,
            pause,
        } = *self;
        (self.last, self.earlier) = (now, last);
        let asked = |of: fn(&BackendStats) -> u64| of(&last).saturating_sub(of(&earlier));
        let heard = |of: fn(&BackendStats) -> u64| of(&now).saturating_sub(of(&earlier));
        let accepted = heard(|stats| stats.syn_acks);
        let resets = heard(|stats| stats.resets);
        let doubt = if asked(|stats| stats.asks) > 0 && heard(|stats| stats.reply_packets) == 0 {
            Doubt::Silent
        } else if asked(|stats| stats.syns) > 2 * accepted {
            Doubt::Unanswered
        } else if resets >= BURST && resets > accepted {
            Doubt::Resetting
        } else {
            // A pause that has begun is kept: whoever makes a node doubtful now and then gets no more checks by it.
            if pause.is_some_and(|(until, _)| at >= until) {
                self.pause = None;
            }
            return None;
        };
        let next = match pause {
            Some((until, _)) if at < until => return None,
            Some((_, length)) => (2 * length).min(LAST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.pause = Some((at + next, next));
        Some(doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: u64 = 100;

    /// SYNs, SYN-ACKs and resets since the look before.
    type Since = (u64, u64, u64);

    /// What is said at each of these looks.
    fn doubts(looks: &[Since]) -> Vec<Option<Doubt>> {
        let start = Instant::now();
        let mut stats = BackendStats::default();
        let mut doubts = Doubts::new(stats);
        (1..)
            .zip(looks)
            .map(|(count, (syns, syn_acks, resets))| {
                stats.syns += syns;
                stats.asks += syns;
                stats.syn_acks += syn_acks;
                stats.resets += resets;
                stats.reply_packets += syn_acks + resets;
                doubts.observe(stats, start + Duration::from_millis(count * LOOK))
            })
            .collect()
    }

    fn first(looks: &[Since]) -> Option<(usize, Doubt)> {
        let said = doubts(looks);
        said.iter()
            .enumerate()
            .find_map(|(look, doubt)| Some((look, (*doubt)?)))
    }

    #[test]
    fn a_node_that_answers_is_not_doubted_however_much_or_little_it_is_asked() {
        assert_eq!(
            first(&[(1, 1, 0), (0, 0, 0), (1000, 1000, 0), (0, 0, 0)]),
            None
        );
    }

    #[test]
    fn an_answer_may_come_as_late_as_the_look_after() {
        assert_eq!(
            first(&[(1, 0, 0), (0, 1, 0), (3, 0, 0), (3, 3, 0), (0, 3, 0)]),
            None
        );
    }

    #[test]
    fn one_syn_without_any_answer_is_enough_at_the_second_look() {
        assert_eq!(first(&[(1, 0, 0), (0, 0, 0)]), Some((1, Doubt::Silent)));
    }

    #[test]
    fn a_node_that_dies_among_answers_is_doubted_two_looks_later() {
        let seen = first(&[(9, 9, 0), (9, 5, 0), (9, 0, 0), (9, 0, 0)]);
        assert_eq!(seen, Some((3, Doubt::Silent)));
    }

    #[test]
    fn a_node_that_accepts_few_is_doubted_although_it_is_heard() {
        let seen = first(&[(10, 4, 0), (10, 0, 0)]);
        assert_eq!(seen, Some((1, Doubt::Unanswered)));
        assert_eq!(first(&[(10, 5, 0), (0, 0, 0)]), None, "half is enough");
    }

    #[test]
    fn a_node_that_refuses_is_doubted_and_so_is_one_that_resets_many() {
        assert_eq!(first(&[(1, 0, 1), (0, 0, 0)]), Some((1, Doubt::Unanswered)));
        assert_eq!(first(&[(0, 0, 5)]), Some((0, Doubt::Resetting)));
        assert_eq!(first(&[(0, 0, 2), (0, 0, 2), (0, 0, 2)]), None);
        assert_eq!(first(&[(6, 6, 6)]), None, "clients that hang up");
    }

    #[test]
    fn a_node_that_stays_in_doubt_is_checked_less_and_less_often() {
        let said = doubts(&[(1, 0, 0); 200]);
        let checks: Vec<usize> = said
            .iter()
            .enumerate()
            .filter_map(|(look, doubt)| doubt.map(|_| look))
            .collect();
        assert_eq!(checks[..6], [1, 4, 9, 19, 39, 79]);
        assert_eq!(checks[6..8], [119, 159]);
    }

    #[test]
    fn whoever_makes_a_node_doubtful_now_and_then_gets_no_more_checks_by_it() {
        let looks: Vec<Since> = (0..60)
            .map(|look| (u64::from(look % 3 == 0), 0, 0))
            .collect();
        let checks = doubts(&looks).iter().flatten().count();
        assert!(checks <= 20, "{checks} in six seconds");
    }
}
