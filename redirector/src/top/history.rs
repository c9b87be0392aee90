//! Totals become rates.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Rates that are kept of each total.
const KEPT: usize = 256;

/// What was known of one total.
struct Series {
    total: u64,
    at: Instant,
    rates: VecDeque<u64>,
}

/// The rates of totals, by name.
#[derive(Default)]
pub(super) struct History {
    series: HashMap<String, Series>,
}

impl History {
    /// Takes in what a total stands at.
    pub(super) fn note(&mut self, name: &str, total: u64, at: Instant) {
        let Some(series) = self.series.get_mut(name) else {
            let series = Series {
                total,
                at,
                rates: VecDeque::new(),
            };
            self.series.insert(name.to_owned(), series);
            return;
        };
        let millis = at.saturating_duration_since(series.at).as_millis();
        if millis == 0 {
            return;
        }
        // A total that fell has begun anew.
        let grown = total.checked_sub(series.total).unwrap_or(total);
        let rate = u128::from(grown) * 1000 / millis;
        series
            .rates
            .push_front(u64::try_from(rate).unwrap_or(u64::MAX));
        series.rates.truncate(KEPT);
        (series.total, series.at) = (total, at);
    }

    /// Units per second now; none before the second note.
    pub(super) fn rate(&self, name: &str) -> Option<u64> {
        self.series.get(name)?.rates.front().copied()
    }

    /// The rates, the newest one first.
    pub(super) fn rates(&self, name: &str) -> Vec<u64> {
        let series = self.series.get(name);
        series.map_or_else(Vec::new, |series| series.rates.iter().copied().collect())
    }

    /// Forgets totals that were not noted at this time.
    pub(super) fn keep(&mut self, at: Instant) {
        self.series.retain(|_, series| series.at == at);
    }
}
