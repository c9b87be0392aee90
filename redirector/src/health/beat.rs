//! When checks begin, so that the agent wakes up once for those of several nodes.

use std::time::Duration;

use tokio::time::Instant;

/// Checks begin at multiples of so small a part of their interval, so that those of several nodes are made in one go: to
/// wake up for one takes longer than the check.
const BEATS: u32 = 50;

/// But at multiples of this at the most.
const LONGEST_BEAT: Duration = Duration::from_millis(100);

/// The beat nearest to `at`, for checks that are made every `interval`.
pub(super) fn on_beat(at: Instant, origin: Instant, interval: Duration) -> Instant {
    let beat = (interval / BEATS).min(LONGEST_BEAT);
    let since = at.saturating_duration_since(origin) + beat / 2;
    let beyond = since.as_nanos().checked_rem(beat.as_nanos());
    let beyond = beyond.and_then(|beyond| u64::try_from(beyond).ok());
    beyond.map_or(at, |beyond| origin + since - Duration::from_nanos(beyond))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn checks_of_many_targets_fall_on_few_beats_and_each_keeps_its_interval() {
        let origin = Instant::now();
        let interval = Duration::from_secs(5);
        let mut beats = BTreeSet::new();
        for number in 0..256 {
            // A little late, as every check is.
            let start = origin + interval.mul_f64(f64::from(number) / 256.0);
            let first = on_beat(start, origin, interval);
            let late = Duration::from_micros(700);
            let second = on_beat(first + late + interval, origin, interval);
            assert_eq!(second - first, interval);
            assert!(first.max(start) - first.min(start) <= LONGEST_BEAT / 2);
            beats.insert(first);
        }
        assert_eq!(beats.len(), 51);
    }

    #[test]
    fn a_short_interval_has_short_beats_and_none_at_all_does_no_harm() {
        let origin = Instant::now();
        let at = origin + Duration::from_micros(12_400);
        let nearest = on_beat(at, origin, Duration::from_millis(50));
        assert_eq!(nearest - origin, Duration::from_millis(12));
        assert_eq!(on_beat(at, origin, Duration::ZERO), at);
    }
}
