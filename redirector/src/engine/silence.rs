//! Down is not dead.
//!
//! A failed check says that a node takes no new connections. Its established ones may be fine: an
//! overloaded node, or one whose canary is gone, still serves them. The data path counts what is sent to
//! and heard from each node; a node that is sent packets and says nothing is dead.

use std::time::{Duration, Instant};

/// Packets since ever, as the data path counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent to the node and needing an answer: lone acknowledgements and resets may come in any number
    /// from clients that have nothing more to say.
    pub asked: u64,
    /// Heard from it.
    pub heard: u64,
}

/// Watches one node.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// Counters when it was last heard.
    since: Traffic,
    /// When there were enough unanswered packets after that.
    unanswered_since: Option<Instant>,
}

/// Unanswered packets that make silence: one or two may have been lost on the way.
const PACKETS: u64 = 3;

/// How long that many must have gone unanswered. Longer than most round trips and a delayed
/// acknowledgement, shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(1);

impl Silence {
    /// Starts watching.
    pub fn new(traffic: Traffic) -> Self {
        Self {
            since: traffic,
            unanswered_since: None,
        }
    }

    /// Takes the counters as they are `at` some time; whether the node is silent while it is spoken to.
    pub fn observe(&mut self, traffic: Traffic, at: Instant) -> bool {
        if traffic.heard != self.since.heard {
            *self = Self::new(traffic);
            return false;
        }
        if traffic.asked.saturating_sub(self.since.asked) < PACKETS {
            return false;
        }
        // Not from the first one on: had that been lost long ago, a burst of two more would be taken for
        // silence before the node could answer it.
        let since = *self.unanswered_since.get_or_insert(at);
        at.duration_since(since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the node is silent after each of these observations: milliseconds, asked, heard.
    fn silent(observations: &[(u64, u64, u64)]) -> Vec<bool> {
        let start = Instant::now();
        let mut silence = Silence::new(Traffic::default());
        observations
            .iter()
            .map(|(millis, asked, heard)| {
                let traffic = Traffic {
                    asked: *asked,
                    heard: *heard,
                };
                silence.observe(traffic, start + Duration::from_millis(*millis))
            })
            .collect()
    }

    #[test]
    fn a_node_that_is_spoken_to_and_does_not_answer_is_silent() {
        let seen = silent(&[(0, 2, 0), (250, 3, 0), (1000, 4, 0), (1250, 4, 0)]);
        assert_eq!(seen, [false, false, false, true]);
    }

    #[test]
    fn a_node_that_nobody_speaks_to_is_not_silent() {
        assert_eq!(silent(&[(0, 0, 0), (60_000, 0, 0)]), [false, false]);
    }

    #[test]
    fn one_answer_ends_the_silence() {
        let seen = silent(&[(0, 5, 0), (2000, 9, 0), (2100, 9, 1), (2200, 10, 1)]);
        assert_eq!(seen, [false, true, false, false]);
    }

    #[test]
    fn two_lost_packets_are_not_silence_however_long_ago() {
        assert_eq!(silent(&[(0, 2, 0), (9000, 2, 0)]), [false, false]);
    }

    #[test]
    fn a_node_has_time_to_answer_a_burst_even_after_a_packet_lost_long_ago() {
        let seen = silent(&[(0, 1, 0), (9000, 3, 0), (9250, 3, 1)]);
        assert_eq!(seen, [false, false, false]);
    }
}
