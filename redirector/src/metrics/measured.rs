//! What the agent itself measures, apart from what the data path counts.

use std::collections::BTreeMap;
use std::time::Duration;

/// Upper bounds of the classes of [`Timings`], in seconds; one more class has no bound.
pub const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// How long something took, in classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// How often in each class; the last one has no bound.
    pub counts: [u64; BOUNDS.len() + 1],
    /// All together, in seconds.
    pub sum: f64,
}

impl Timings {
    /// Takes one in.
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let class = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[class] += 1;
        self.sum += seconds;
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What is checked, as far as metrics tell checks apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probed {
    /// The pool.
    pub pool: String,
    /// The node.
    pub node: String,
}

/// The checks of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probes {
    /// How long they took.
    pub took: Timings,
    /// How often each result was seen, by the kind of the check that decided and the word for what it saw.
    pub results: BTreeMap<(&'static str, &'static str), u64>,
}

/// How full a map of the data path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What it holds.
    pub map: &'static str,
    /// Entries in use, as of the agent's last round.
    pub used: u64,
    /// Entries that there is room for.
    pub max: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The checks; of nodes that are checked, so their number is bounded by the configuration.
    pub probes: BTreeMap<Probed, Probes>,
    /// How long it took to work out what the maps should hold, where that may be something else than before.
    pub rebuilt: Timings,
    /// How long it took to bring the maps up to date, where something was to be written.
    pub applied: Timings,
    /// How often that failed.
    pub apply_failures: u64,
    /// Whether the maps hold what they should.
    pub is_applied: bool,
    /// How full the maps are.
    pub fills: Vec<Fill>,
}

impl Measured {
    /// Takes in a check's result.
    pub fn probed(&mut self, probed: Probed, result: (&'static str, &'static str), took: Duration) {
        let probes = self.probes.entry(probed).or_default();
        probes.took.add(took);
        *probes.results.entry(result).or_default() += 1;
    }

    /// Takes in an attempt to bring the maps up to date, which `wrote` something or failed.
    pub fn applied(&mut self, wrote: bool, succeeded: bool, took: Duration) {
        self.is_applied = succeeded;
        if wrote {
            self.applied.add(took);
        }
        if !succeeded {
            self.apply_failures += 1;
        }
    }

    /// Forgets what is not checked any more.
    pub fn keep(&mut self, still: impl Fn(&Probed) -> bool) {
        self.probes.retain(|probed, _| still(probed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_class_whose_bound_it_does_not_exceed() {
        for (millis, class) in [
            (0.0, 0),
            (0.5, 0),
            (0.6, 1),
            (1.0, 1),
            (2500.0, 11),
            (2501.0, 12),
        ] {
            let mut timings = Timings::default();
            timings.add(Duration::from_secs_f64(millis / 1000.0));
            assert_eq!(timings.counts[class], 1, "{millis} ms: {timings:?}");
            assert_eq!(timings.count(), 1);
        }
    }

    #[test]
    fn nodes_that_are_not_checked_any_more_are_forgotten() {
        let mut measured = Measured::default();
        for node in ["a", "b"] {
            let probed = Probed {
                pool: "p".to_owned(),
                node: node.to_owned(),
            };
            measured.probed(probed, ("tcp", "ok"), Duration::from_millis(1));
        }
        measured.keep(|probed| probed.node == "b");
        let left: Vec<_> = measured.probes.keys().map(|probed| &probed.node).collect();
        assert_eq!(left, ["b"]);
    }
}
