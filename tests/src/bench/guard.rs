//! Whether the program has become slower, or faster, than it is known to be: ratios against the floor, which differ
//! little between machines of one kind, and no times, which do.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Results, forwarding::Variant, rounds::Spread};

/// A ratio that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The median.
    pub ratio: f64,
    /// The lowest of its rounds.
    pub low: f64,
    /// The highest of its rounds.
    pub high: f64,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Guard {
    /// The processor that it was measured on.
    pub processor: String,
    /// The kernel.
    pub kernel: String,
    /// The commit.
    pub commit: String,
    /// Costs as multiples of the floor, by name.
    pub costs: BTreeMap<String, Kept>,
}

/// What two runs of the same program on the same machine differ by, even where each by itself is steady.
const SLACK: f64 = 0.05;

impl Guard {
    /// What these results say.
    pub fn of(results: &Results) -> Self {
        let mut costs = BTreeMap::new();
        if let Some(report) = &results.per_packet {
            for figure in &report.figures {
                let kept = Kept {
                    ratio: figure.times_floor,
                    low: figure.spread.0,
                    high: figure.spread.1,
                };
                costs.insert(format!("one packet: {}", figure.name), kept);
            }
        }
        if let Some(report) = &results.forwarding {
            for case in report.cases() {
                for variant in [Variant::OneArmed, Variant::Native] {
                    let (Some(own), Some(limit)) = (
                        report.nanos(case, variant),
                        report.nanos(case, variant.limit()),
                    ) else {
                        continue;
                    };
                    let rounds: Vec<f64> = own
                        .iter()
                        .zip(limit)
                        .map(|(own, limit)| own / limit)
                        .collect();
                    let kept = Kept {
                        ratio: Spread::of(rounds.iter().copied()).median,
                        low: rounds.iter().copied().fold(f64::INFINITY, f64::min),
                        high: rounds.iter().copied().fold(0.0, f64::max),
                    };
                    costs.insert(
                        format!("forwarding: {}, {}", variant.name(), case.name()),
                        kept,
                    );
                }
            }
        }
        let environment = &results.environment;
        Self {
            processor: environment.cpu.clone(),
            kernel: environment.kernel.clone(),
            commit: environment.commit.clone(),
            costs,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It can't be read, or is something else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}; `--keep {0}` writes it", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no guard", path.display()))
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("cannot write down the guard")?;
        let text = format!(
            "# Costs in multiples of the floor, with the lowest and the highest of the rounds. Written by\n\
             # `cargo xtask bench -- --keep FILE`, compared with by `cargo xtask bench -- --guard FILE`.\n{text}"
        );
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What `now` has that is beyond what is kept here, one line each with both numbers; ratios that only one of them
    /// knows are told, too, but for those of sections that `now` has not measured at all.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let section = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
        let measured: Vec<String> = now.costs.keys().map(|name| section(name)).collect();
        let mut changes = Vec::new();
        for (name, kept) in &self.costs {
            match now.costs.get(name) {
                Some(found) => changes.extend(kept.change(name, found)),
                None if measured.contains(&section(name)) => {
                    changes.push(format!("{name}: kept as {:.2}, not measured", kept.ratio));
                }
                None => {}
            }
        }
        let new = now
            .costs
            .iter()
            .filter(|(name, _)| !self.costs.contains_key(*name));
        changes.extend(
            new.map(|(name, found)| format!("{name}: measured as {:.2}, not kept", found.ratio)),
        );
        changes
    }
}

impl Kept {
    fn change(&self, name: &str, found: &Self) -> Option<String> {
        let (low, high) = (self.low * (1.0 - SLACK), self.high * (1.0 + SLACK));
        let word = if found.ratio > high {
            "slower"
        } else if found.ratio < low {
            "faster"
        } else {
            return None;
        };
        Some(format!(
            "{name}: {word}, {:.2} × floor, kept as {:.2} ({low:.2} to {high:.2})",
            found.ratio, self.ratio
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(costs: &[(&str, f64, f64, f64)]) -> Guard {
        let costs = costs.iter().map(|(name, ratio, low, high)| {
            let kept = Kept {
                ratio: *ratio,
                low: *low,
                high: *high,
            };
            ((*name).to_owned(), kept)
        });
        Guard {
            processor: String::new(),
            kernel: String::new(),
            commit: String::new(),
            costs: costs.collect(),
        }
    }

    #[test]
    fn a_ratio_within_the_kept_spread_is_no_change() {
        let kept = guard(&[("a: x", 3.0, 2.8, 3.3)]);
        for ratio in [2.7, 3.0, 3.4] {
            let now = guard(&[("a: x", ratio, ratio, ratio)]);
            assert_eq!(kept.changes(&now), Vec::<String>::new(), "{ratio}");
        }
    }

    #[test]
    fn a_ratio_beyond_it_is_told_with_both_numbers() {
        let kept = guard(&[("a: x", 3.0, 2.8, 3.3)]);
        let now = guard(&[("a: x", 3.6, 3.5, 3.7)]);
        let told = "a: x: slower, 3.60 × floor, kept as 3.00 (2.66 to 3.46)";
        assert_eq!(kept.changes(&now), [told]);
        let now = guard(&[("a: x", 2.0, 2.0, 2.0)]);
        assert!(kept.changes(&now)[0].contains("faster, 2.00"));
    }

    #[test]
    fn what_only_one_of_them_knows_is_told_unless_its_section_was_left_out() {
        let kept = guard(&[
            ("a: x", 1.0, 1.0, 1.0),
            ("a: y", 1.0, 1.0, 1.0),
            ("b: z", 1.0, 1.0, 1.0),
        ]);
        let now = guard(&[("a: x", 1.0, 1.0, 1.0), ("a: new", 2.0, 2.0, 2.0)]);
        let told = [
            "a: y: kept as 1.00, not measured",
            "a: new: measured as 2.00, not kept",
        ];
        assert_eq!(kept.changes(&now), told);
    }

    #[test]
    fn the_file_reads_back_as_it_was_written() {
        let kept = guard(&[("a: x", 3.0, 2.8, 3.3)]);
        let text = toml::to_string(&kept).unwrap();
        let back: Guard = toml::from_str(&text).unwrap();
        assert_eq!(back.costs, kept.costs);
    }
}
