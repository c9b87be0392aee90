//! The health of one target, from the results of its checks.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::Timing;

/// What is believed about a target.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Not checked yet; gets no clients.
    #[default]
    Unknown,
    /// Gets clients.
    Up,
    /// Gets no new clients.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// How many results in a row it takes to change one's mind; 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes that bring a target that is down up.
    pub rise: u32,
    /// Failures that take a target that is up down.
    pub fall: u32,
}

impl From<Timing> for Thresholds {
    fn from(timing: Timing) -> Self {
        Self {
            rise: timing.rise,
            fall: timing.fall,
        }
    }
}

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was believed before.
    pub from: Health,
    /// What is believed now; never [`Health::Unknown`].
    pub to: Health,
}

/// Follows the results of one target's checks.
///
/// The first result is taken at once: at the start nothing is known, and waiting would leave the
/// clients without nodes. Later ones need `rise` successes or `fall` failures in a row.
#[derive(Clone, Debug)]
pub struct Tracker {
    thresholds: Thresholds,
    health: Health,
    since: Instant,
    /// Results in a row that contradict `health`.
    against: u32,
    checks: u64,
    checks_up: u64,
}

impl Tracker {
    /// A target of which nothing is known at `at`.
    pub fn new(thresholds: Thresholds, at: Instant) -> Self {
        Self {
            thresholds,
            health: Health::Unknown,
            since: at,
            against: 0,
            checks: 0,
            checks_up: 0,
        }
    }

    /// Takes in the result of a check that ended at `at`; says when it changes the health.
    pub fn observe(&mut self, success: bool, at: Instant) -> Option<Change> {
        let (seen, needed) = match (self.health, success) {
            (Health::Unknown, true) => (Health::Up, 1),
            (Health::Unknown, false) => (Health::Down, 1),
            (Health::Down, true) => (Health::Up, self.thresholds.rise),
            (Health::Up, false) => (Health::Down, self.thresholds.fall),
            (Health::Up, true) | (Health::Down, false) => (self.health, u32::MAX),
        };
        let from = self.health;
        self.against = if seen == from {
            0
        } else {
            self.against.saturating_add(1)
        };
        let changed = seen != from && self.against >= needed;
        if changed {
            self.health = seen;
            self.since = at;
            self.against = 0;
        }
        self.checks += 1;
        self.checks_up += u64::from(self.health == Health::Up);
        changed.then_some(Change { from, to: seen })
    }

    /// Applies other thresholds to the results to come; the health stays.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Whether the last results contradict what is believed, and are too few yet to change it.
    pub fn is_undecided(&self) -> bool {
        self.against > 0
    }

    /// What is believed now.
    pub fn health(&self) -> Health {
        self.health
    }

    /// When that began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Number of checks whose results were taken in.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// Share of the checks after which the target was up, in percent; `None` before the first one.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a percentage shows two decimals"
    )]
    pub fn availability(&self) -> Option<f64> {
        (self.checks > 0).then(|| self.checks_up as f64 * 100.0 / self.checks as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The health after each result, `T` for success and up, `F` for failure and down.
    fn follow(rise: u32, fall: u32, results: &str) -> String {
        let mut tracker = Tracker::new(Thresholds { rise, fall }, Instant::now());
        let mut at = tracker.since();
        results
            .chars()
            .map(|result| {
                at += Duration::from_secs(1);
                let before = tracker.health();
                let change = tracker.observe(result == 'T', at);
                assert_eq!(change.is_some(), tracker.health() != before);
                assert_eq!(tracker.since() == at, change.is_some());
                if tracker.health() == Health::Up {
                    'T'
                } else {
                    'F'
                }
            })
            .collect()
    }

    #[test]
    fn a_change_needs_its_number_of_results_in_a_row() {
        for (rise, fall, results, health) in [
            (1, 1, "FTFTTF", "FTFTTF"),
            (1, 3, "FFTFTFFFFFTF", "FFTTTTTFFFTT"),
            (3, 1, "TTFTFTTTTTFT", "TTFFFFFTTTFF"),
            (3, 3, "FFFTFTFFFFFTFTTTTT", "FFFFFFFFFFFFFFFTTT"),
        ] {
            assert_eq!(
                follow(rise, fall, results),
                health,
                "rise {rise}, fall {fall}"
            );
        }
    }

    #[test]
    fn nothing_is_known_before_the_first_check() {
        let start = Instant::now();
        let tracker = Tracker::new(Thresholds { rise: 1, fall: 1 }, start);
        assert_eq!(
            (tracker.health(), tracker.since()),
            (Health::Unknown, start)
        );
        assert_eq!((tracker.availability(), tracker.checks()), (None, 0));
    }

    #[test]
    fn the_first_result_is_taken_at_once_whatever_the_thresholds() {
        assert_eq!(follow(9, 9, "T"), "T");
        assert_eq!(follow(9, 9, "F"), "F");
    }

    #[test]
    fn availability_is_the_share_of_checks_that_left_the_target_up() {
        let now = Instant::now();
        let mut tracker = Tracker::new(Thresholds { rise: 1, fall: 2 }, now);
        for (success, expected) in [
            (true, 100.0),
            (false, 100.0),
            (false, 200.0 / 3.0),
            (false, 50.0),
        ] {
            tracker.observe(success, now);
            assert!((tracker.availability().unwrap() - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn new_thresholds_keep_the_health_and_count_for_the_next_result() {
        let now = Instant::now();
        let mut tracker = Tracker::new(Thresholds { rise: 1, fall: 5 }, now);
        tracker.observe(true, now);
        tracker.observe(false, now);
        tracker.set_thresholds(Thresholds { rise: 1, fall: 2 });
        assert_eq!(tracker.health(), Health::Up);
        let change = tracker.observe(false, now);
        assert_eq!(
            change,
            Some(Change {
                from: Health::Up,
                to: Health::Down
            })
        );
    }

    proptest! {
        /// The oracle looks at the whole history each time.
        #[test]
        fn health_is_what_the_last_long_enough_row_says(
            rise in 1..5_u32, fall in 1..5_u32, results in "[TF]{1,40}",
        ) {
            let mut expected = String::new();
            let mut current = ' ';
            let letters: Vec<char> = results.chars().collect();
            for end in 1..=letters.len() {
                let last = letters[end - 1];
                let row = letters[..end].iter().rev().take_while(|c| **c == last).count();
                let needed = if last == 'T' { rise } else { fall } as usize;
                if current == ' ' || row >= needed {
                    current = last;
                }
                expected.push(current);
            }
            prop_assert_eq!(follow(rise, fall, &results), expected);
        }
    }
}
