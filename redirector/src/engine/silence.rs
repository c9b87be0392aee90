//! Down is not dead.
//!
//! A failed check says that a node takes no new connections. Its established ones may be fine: an
//! overloaded node, or one whose canary is gone, still serves them. The data path counts what is sent to
//! and heard from each node; a node that is sent packets and says nothing is dead.

use std::time::{Duration, Instant};

/// Packets since ever, as the data path counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent to the node.
    pub sent: u64,
    /// Heard from it.
    pub heard: u64,
}

/// Watches one node.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// Counters when it was last heard.
    since: Traffic,
    /// When the first packet was sent after that.
    unanswered_since: Option<Instant>,
}

/// Unanswered packets that make silence: fewer may be acknowledgements that need no answer.
const PACKETS: u64 = 3;

/// How long they must have gone unanswered. Longer than most round trips and a delayed
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
        if traffic.sent == self.since.sent {
            return false;
        }
        let since = *self.unanswered_since.get_or_insert(at);
        traffic.sent - self.since.sent >= PACKETS && at.duration_since(since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_node_that_is_spoken_to_and_does_not_answer_is_silent() {
        let start = Instant::now();
        let mut silence = Silence::new(Traffic {
            sent: 10,
            heard: 10,
        });
        assert!(!silence.observe(
            Traffic {
                sent: 12,
                heard: 10
            },
            start
        ));
        assert!(!silence.observe(
            Traffic {
                sent: 14,
                heard: 10
            },
            after(start, 900)
        ));
        assert!(silence.observe(
            Traffic {
                sent: 14,
                heard: 10
            },
            after(start, 1000)
        ));
    }

    #[test]
    fn a_node_that_nobody_speaks_to_is_not_silent() {
        let start = Instant::now();
        let mut silence = Silence::new(Traffic {
            sent: 10,
            heard: 10,
        });
        assert!(!silence.observe(
            Traffic {
                sent: 10,
                heard: 10
            },
            after(start, 60_000)
        ));
    }

    #[test]
    fn one_answer_ends_the_silence() {
        let start = Instant::now();
        let mut silence = Silence::new(Traffic::default());
        assert!(!silence.observe(Traffic { sent: 5, heard: 0 }, start));
        assert!(!silence.observe(Traffic { sent: 9, heard: 1 }, after(start, 2000)));
        assert!(!silence.observe(Traffic { sent: 10, heard: 1 }, after(start, 2100)));
    }

    #[test]
    fn a_last_acknowledgement_that_needs_no_answer_is_not_silence() {
        let start = Instant::now();
        let mut silence = Silence::new(Traffic {
            sent: 10,
            heard: 10,
        });
        assert!(!silence.observe(
            Traffic {
                sent: 11,
                heard: 10
            },
            start
        ));
        assert!(!silence.observe(
            Traffic {
                sent: 11,
                heard: 10
            },
            after(start, 9000)
        ));
    }
}
