//! Whether the program has become slower, or faster, than it is known to be: ratios against the floor, which differ
//! little between machines of one [`Kind`], and no times, which do. Of each kind a file keeps its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Results, environment::Kind, forwarding::Variant, rounds::Spread};

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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Guard {
    /// What is kept of each kind of machine.
    #[serde(default, rename = "machine")]
    pub machines: Vec<Machine>,
}

/// What is kept of a kind of machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// Which kind.
    pub kind: Kind,
    /// The kernel.
    pub kernel: String,
    /// The commit.
    pub commit: String,
    /// Costs as multiples of the floor, by name.
    pub costs: BTreeMap<String, Kept>,
}

/// What two runs of the same program on the same machine differ by, even where each by itself is steady.
const SLACK: f64 = 0.05;

impl Machine {
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
            kind: environment.kind.clone(),
            kernel: environment.kernel.clone(),
            commit: environment.commit.clone(),
            costs,
        }
    }

    fn sections(&self) -> BTreeSet<String> {
        let names = self.costs.keys();
        names.map(|name| section(name).to_owned()).collect()
    }

    /// What `now` has that is beyond what is kept here, one line each with both numbers; ratios that only one of them
    /// knows are told, too, but for those of sections that `now` has not measured at all.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let measured = now.sections();
        let mut changes = Vec::new();
        for (name, kept) in &self.costs {
            match now.costs.get(name) {
                Some(found) => changes.extend(kept.change(name, found)),
                None if measured.contains(section(name)) => {
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

impl Guard {
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

    /// Takes up what was measured, in place of what is kept of that kind of machine. What was not measured stays.
    pub fn keep(&mut self, mut now: Machine) {
        let measured = now.sections();
        if let Some(before) = self.of_kind(&now.kind) {
            let others = before
                .costs
                .iter()
                .filter(|(name, _)| !measured.contains(section(name)));
            let others: Vec<_> = others.map(|(name, kept)| (name.clone(), *kept)).collect();
            now.costs.extend(others);
        }
        self.machines.retain(|machine| machine.kind != now.kind);
        self.machines.push(now);
    }

    /// What `now` has that is beyond what is kept of that kind of machine, one line each; or that nothing is.
    pub fn changes(&self, now: &Machine) -> Vec<String> {
        match self.of_kind(&now.kind) {
            Some(kept) => kept.changes(now),
            None => vec![format!(
                "nothing is kept of machines like this one, {}; `--keep` adds what is measured here",
                now.kind
            )],
        }
    }

    fn of_kind(&self, kind: &Kind) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.kind == *kind)
    }
}

/// What a cost was measured with.
fn section(name: &str) -> &str {
    name.split(':').next().unwrap_or_default()
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

    fn machine(costs: &[(&str, f64, f64, f64)]) -> Machine {
        let costs = costs.iter().map(|(name, ratio, low, high)| {
            let kept = Kept {
                ratio: *ratio,
                low: *low,
                high: *high,
            };
            ((*name).to_owned(), kept)
        });
        Machine {
            kind: Kind::default(),
            kernel: String::new(),
            commit: String::new(),
            costs: costs.collect(),
        }
    }

    #[test]
    fn a_ratio_within_the_kept_spread_is_no_change() {
        let kept = machine(&[("a: x", 3.0, 2.8, 3.3)]);
        for ratio in [2.7, 3.0, 3.4] {
            let now = machine(&[("a: x", ratio, ratio, ratio)]);
            assert_eq!(kept.changes(&now), Vec::<String>::new(), "{ratio}");
        }
    }

    #[test]
    fn a_ratio_beyond_it_is_told_with_both_numbers() {
        let kept = machine(&[("a: x", 3.0, 2.8, 3.3)]);
        let now = machine(&[("a: x", 3.6, 3.5, 3.7)]);
        let told = "a: x: slower, 3.60 × floor, kept as 3.00 (2.66 to 3.46)";
        assert_eq!(kept.changes(&now), [told]);
        let now = machine(&[("a: x", 2.0, 2.0, 2.0)]);
        assert!(kept.changes(&now)[0].contains("faster, 2.00"));
    }

    #[test]
    fn what_only_one_of_them_knows_is_told_unless_its_section_was_left_out() {
        let kept = machine(&[
            ("a: x", 1.0, 1.0, 1.0),
            ("a: y", 1.0, 1.0, 1.0),
            ("b: z", 1.0, 1.0, 1.0),
        ]);
        let now = machine(&[("a: x", 1.0, 1.0, 1.0), ("a: new", 2.0, 2.0, 2.0)]);
        let told = [
            "a: y: kept as 1.00, not measured",
            "a: new: measured as 2.00, not kept",
        ];
        assert_eq!(kept.changes(&now), told);
    }

    #[test]
    fn the_file_reads_back_as_it_was_written() {
        let mut kept = Guard::default();
        kept.keep(machine(&[("a: x", 3.0, 2.8, 3.3)]));
        kept.keep(elsewhere(&[("a: x", 2.0, 2.0, 2.0)]));
        let text = toml::to_string(&kept).unwrap();
        let back: Guard = toml::from_str(&text).unwrap();
        assert_eq!(back.machines.len(), 2);
        assert_eq!(back.machines[1].kind, kept.machines[1].kind);
        assert_eq!(back.machines[0].costs, kept.machines[0].costs);
    }

    fn elsewhere(costs: &[(&str, f64, f64, f64)]) -> Machine {
        let kind = Kind {
            processor: "another".to_owned(),
            mitigations: vec!["retbleed: untrained return thunk".to_owned()],
        };
        Machine {
            kind,
            ..machine(costs)
        }
    }

    #[test]
    fn each_kind_of_machine_is_held_against_its_own() {
        let mut kept = Guard::default();
        kept.keep(machine(&[("a: x", 3.0, 3.0, 3.0)]));
        let now = elsewhere(&[("a: x", 2.0, 2.0, 2.0)]);
        let told = kept.changes(&now);
        assert!(
            told.len() == 1 && told[0].contains("another (retbleed: untrained return thunk)"),
            "{told:?}"
        );
        kept.keep(now.clone());
        assert_eq!(kept.changes(&now), Vec::<String>::new());
        assert_eq!(kept.changes(&machine(&[("a: x", 2.0, 2.0, 2.0)])).len(), 1);
    }

    #[test]
    fn what_is_kept_anew_replaces_what_was_measured_again_and_nothing_else() {
        let mut kept = Guard::default();
        kept.keep(machine(&[
            ("a: x", 3.0, 3.0, 3.0),
            ("a: gone", 1.0, 1.0, 1.0),
            ("b: z", 1.0, 1.0, 1.0),
        ]));
        kept.keep(machine(&[("a: x", 2.0, 2.0, 2.0)]));
        let wanted = machine(&[("a: x", 2.0, 2.0, 2.0), ("b: z", 1.0, 1.0, 1.0)]);
        assert_eq!(kept.machines.len(), 1);
        assert_eq!(kept.machines[0].costs, wanted.costs);
    }
}
