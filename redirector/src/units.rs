//! Durations, byte counts and dates as people write and read them.

use std::fmt;
use std::time::Duration;

/// Units of a written duration, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Digits without a unit.
    #[error("has no unit")]
    NoUnit,
    /// Something else than digits and one of the units.
    #[error("is not a whole number and a unit")]
    Malformed,
    /// More milliseconds than 64 bits hold.
    #[error("is too long")]
    TooLong,
}

/// Reads a whole number followed by `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`DurationError`] says which part is wrong.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(DurationError::Malformed);
    }
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or(DurationError::Malformed)?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*scale))
        .map(Duration::from_millis)
        .ok_or(DurationError::TooLong)
}

/// A duration in the form that [`parse_duration`] reads, in the largest unit that is exact to the
/// millisecond.
pub fn exact(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (unit, scale) = UNITS
        .iter()
        .find(|(_, scale)| millis != 0 && millis.is_multiple_of(u128::from(*scale)))
        .unwrap_or(&UNITS[3]);
    format!("{}{unit}", millis / u128::from(*scale))
}

/// A duration for people: its two leading units, whole seconds at least, such as `3h 20m`.
pub fn rough(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, scale) in &UNITS[..4] {
        let count = rest / (scale / 1000);
        rest %= scale / 1000;
        if count > 0 || !parts.is_empty() {
            parts.push((count, unit));
        }
        if parts.len() == 2 {
            break;
        }
    }
    match parts.as_slice() {
        [] => "0s".to_owned(),
        [(count, unit)] | [(count, unit), (0, _)] => format!("{count}{unit}"),
        [(first, unit), (second, smaller), ..] => format!("{first}{unit} {second}{smaller}"),
    }
}

/// How long a check took: `3ms`, or `250us` below a millisecond.
pub fn took(duration: Duration) -> String {
    if duration < Duration::from_millis(1) {
        format!("{}us", duration.as_micros())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// A moment, given in milliseconds since 1970, as `2026-11-24T18:00:00.250Z`; the number where no calendar has it.
pub fn utc(millis: u64) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(|| millis.to_string(), |time| format!("{time:.3}"))
}

/// A count of bytes with a binary unit, such as `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let exponent = (count.ilog2() / 10) as usize;
    // Tenths are taken with integers: a float would round 1023.99 up to "1024.0 KiB".
    let tenths = (u128::from(count) * 10) >> (10 * exponent);
    format!("{}.{} {}", tenths / 10, tenths % 10, NAMES[exponent - 1])
}

/// `1 node`, `2 nodes`: a count with its noun, for nouns whose plural ends in `s`.
pub struct Counted<'a>(pub usize, pub &'a str);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_with_their_milliseconds() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_795_542_600_250), "2026-11-24T17:50:00.250Z");
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [
            ("200ms", 200),
            ("5s", 5000),
            ("0s", 0),
            ("90m", 5_400_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("5 s", 5000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        use DurationError::{Malformed, NoUnit, TooLong};
        for (text, error) in [
            ("5", NoUnit),
            ("", Malformed),
            ("s", Malformed),
            ("-5s", Malformed),
            ("1.5s", Malformed),
            ("5S", Malformed),
            ("5sec", Malformed),
            ("1h30m", Malformed),
            ("99999999999999999999s", TooLong),
            ("18446744073709551615d", TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_exact_duration_reads_back_as_itself() {
        for text in ["1ms", "1500ms", "5s", "90s", "7m", "25h", "1d", "0s"] {
            assert_eq!(exact(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn rough_durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (12_000, "3h 20m"),
            (86_400, "1d"),
            (90_061, "1d 1h"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn bytes_never_round_up_to_the_next_unit() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
