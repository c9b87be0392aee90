//! Rounds: what was measured of each variant in turn, and what that says.

use serde::{Deserialize, Serialize};

/// A middle value with what it varied between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median of the rounds.
    pub median: f64,
    /// The first quartile.
    pub low: f64,
    /// The third quartile.
    pub high: f64,
}

impl Spread {
    /// Of these values, one of each round; values that are no numbers are left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let last = sorted.len().saturating_sub(1);
            sorted
                .get((last * quarter + 2) / 4)
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self {
            median: at(2),
            low: at(1),
            high: at(3),
        }
    }

    /// Of the ratios of two variants, each round by itself.
    pub fn of_ratios(these: &[f64], those: &[f64]) -> Self {
        Self::of(these.iter().zip(those).map(|(this, that)| this / that))
    }

    /// The distance of the quartiles, relative to the median.
    pub fn relative(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_quartiles_are_beside_it() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // A machine that is ten times slower in the second round does not matter.
        let spread = Spread::of_ratios(&[2.0, 20.0, 2.0], &[1.0, 10.0, 1.0]);
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 2.0, 2.0));
        // Taken of medians the same rounds would say something else.
        let uneven = Spread::of_ratios(&[1.0, 2.0, 30.0], &[1.0, 20.0, 3.0]);
        assert_eq!(uneven.median, 1.0);
    }

    #[test]
    fn nothing_measured_is_no_number() {
        assert!(Spread::of([]).median.is_nan());
        assert!(Spread::of([f64::NAN]).median.is_nan());
    }
}
