//! What the guest said, as a table.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::{Result, bail};

use crate::test::Tally;

/// What a guest has said.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The kernel's own name.
    release: String,
    tally: Tally,
    /// Programs of tests that ended with another status than 0, or modules that could not be loaded.
    trouble: Vec<String>,
    /// Instructions that the verifier looked at, by program; kernels before 5.16 don't tell.
    instructions: BTreeMap<String, Option<u64>>,
    running: Option<String>,
    over: bool,
}

impl Heard {
    /// Takes in one line of the console. What guests and tests tell of themselves may follow what firmware and the test
    /// runner have left on the line.
    pub(super) fn add_line(&mut self, line: &str) {
        self.tally.add_line(line);
        let told = line.find('@').map_or("", |at| &line[at..]);
        let mut words = told.split_whitespace();
        match words.next() {
            Some("@kernel") => self.release = words.collect(),
            Some("@begin") => self.running = words.next().map(str::to_owned),
            Some("@trouble") => self.trouble.push(words.collect::<Vec<_>>().join(" ")),
            Some("@end") => {
                self.running = None;
                if let (Some(tests), Some(status)) = (words.next(), words.next())
                    && status != "0"
                {
                    self.trouble.push(format!("{tests} ended with {status}"));
                }
            }
            Some("@over") => self.over = true,
            Some("@instructions") => {
                if let (Some(program), Some(count)) = (words.next(), words.next()) {
                    self.instructions
                        .insert(program.to_owned(), count.parse().ok());
                }
            }
            Some(_) | None => {}
        }
    }

    /// Whether the guest came to the end of its tests.
    pub(super) fn must_be_over(&self) -> Result<()> {
        match &self.running {
            _ if self.over => Ok(()),
            Some(tests) => bail!("it was in {tests}"),
            None => bail!("it had begun no test"),
        }
    }
}

/// What became of a kernel.
#[derive(Debug)]
pub(super) struct Report {
    name: &'static str,
    heard: Heard,
    broken: Option<String>,
    time: Duration,
}

impl Report {
    pub(super) fn new(name: &'static str, heard: Result<Heard>, time: Duration) -> Self {
        let (heard, mut broken) = match heard {
            Ok(heard) => (heard, None),
            Err(error) => (Heard::default(), Some(format!("{error:#}"))),
        };
        if !heard.trouble.is_empty() {
            broken = Some(heard.trouble.join("; "));
        } else if broken.is_none() && heard.tally.executed() == 0 {
            broken = Some("executed no test".to_owned());
        }
        Self {
            name,
            heard,
            broken,
            time,
        }
    }

    pub(super) fn passed(&self) -> u64 {
        self.heard.tally.passed
    }

    /// What is broken beyond single tests counts as one more.
    pub(super) fn failed(&self) -> u64 {
        let failed = self.heard.tally.failed;
        failed + u64::from(failed == 0 && self.broken.is_some())
    }

    pub(super) fn is_well(&self) -> bool {
        self.failed() == 0
    }
}

/// The table for the terminal.
pub(super) fn table(reports: &[Report]) -> String {
    let mut text = "kernel    passed  failed      time  release\n".to_owned();
    for report in reports {
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "{:<8}{:>8}{:>8}{:>8.0} s  {}",
            report.name,
            report.passed(),
            report.failed(),
            report.time.as_secs_f32(),
            report.heard.release
        );
        if let Some(broken) = &report.broken {
            let _ = write!(text, "  {broken}");
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&instructions(reports));
    text
}

/// Instructions verified, programs down and kernels across.
fn instructions(reports: &[Report]) -> String {
    let mut text = "| program |".to_owned();
    for report in reports {
        let _ = write!(text, " {} |", report.heard.release);
    }
    text.push_str("\n|---|");
    text.push_str(&"--:|".repeat(reports.len()));
    text.push('\n');
    let mut programs: Vec<&String> = reports
        .iter()
        .flat_map(|report| report.heard.instructions.keys())
        .collect();
    programs.sort();
    programs.dedup();
    for program in programs {
        let _ = write!(text, "| `{program}` |");
        for report in reports {
            match report.heard.instructions.get(program) {
                Some(Some(count)) => {
                    let _ = write!(text, " {count} |");
                }
                Some(None) => text.push_str(" not told |"),
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text
}

/// The table for the tree.
pub(super) fn document(reports: &[Report]) -> String {
    let mut text = "# Kernels\n\n\
        The data path loads, attaches in native mode and serves clients of real Dante nodes in a small lab on each of \
        these, and passes the kernel tier on all but the first, where `BPF_PROG_TEST_RUN` is not told by which interface \
        a frame came in. All in virtual machines (emulated: the times are of the tests there, not of packets). Made by \
        `cargo xtask test --kernels --record`.\n\n\
        | kernel | tests passed | failed | seconds |\n|---|--:|--:|--:|\n"
        .to_owned();
    for report in reports {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} |",
            report.heard.release,
            report.passed(),
            report.failed(),
            report.time.as_secs_f32()
        );
    }
    text.push_str(
        "\nInstructions that the verifier looked at before it accepted each program; 1,000,000 is the limit, and \
         kernels before 5.16 don't tell.\n\n",
    );
    text.push_str(&instructions(reports));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Heard {
        let mut heard = Heard::default();
        for line in lines {
            heard.add_line(line);
        }
        heard
    }

    const GOOD: [&str; 6] = [
        "\u{1b}c\u{1b}[?7l\u{1b}[2J@kernel 5.10.0-32-cloud-amd64",
        "@begin kernel_budget",
        "test every_program_is_accepted ... @instructions ipv4 308089",
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        "@end kernel_budget 0",
        "@over",
    ];

    #[test]
    fn a_guest_that_went_through_is_well() {
        let heard = heard(&GOOD);
        assert!(heard.must_be_over().is_ok());
        let report = Report::new("5.10", Ok(heard), Duration::from_secs(9));
        assert!(report.is_well());
        assert_eq!(report.passed(), 3);
        let table = table(&[report]);
        for told in ["| 5.10.0-32-cloud-amd64 |", "| `ipv4` | 308089 |"] {
            assert!(table.contains(told), "{table}");
        }
    }

    #[test]
    fn a_program_of_tests_that_died_is_not_well_although_no_test_failed() {
        let lines = GOOD.map(|line| {
            if line.starts_with("@end") {
                "@end kernel_budget 134"
            } else {
                line
            }
        });
        let report = Report::new("5.10", Ok(heard(&lines)), Duration::ZERO);
        assert_eq!(report.failed(), 1);
    }

    #[test]
    fn a_guest_that_ended_early_is_named_with_what_it_was_in() {
        let error = heard(&GOOD[..3]).must_be_over().expect_err("it is not");
        assert!(error.to_string().contains("kernel_budget"), "{error}");
    }

    #[test]
    fn a_guest_that_ran_nothing_is_not_well() {
        let report = Report::new("5.10", Ok(heard(&["@over"])), Duration::ZERO);
        assert!(!report.is_well());
    }
}
