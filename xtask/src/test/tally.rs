//! Counts tests from what the test programs report.

/// How many tests passed, failed and were ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    /// The tests that ran.
    pub(crate) fn executed(self) -> u64 {
        self.passed + self.failed
    }

    /// Adds the counts of a line if it is the result line of a test program.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some(counts) = line
            .strip_prefix("test result: ")
            .and_then(|result| result.split_once(". "))
            .map(|(_verdict, counts)| counts)
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s",
        ] {
            tally.add_line(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 43,
                failed: 2,
                ignored: 1
            }
        );
        assert_eq!(tally.executed(), 45);
    }

    #[test]
    fn other_lines_count_nothing() {
        let mut tally = Tally::default();
        for line in [
            "test tally::tests::result ... ok",
            "test result: ",
            " test result: ok. 3 passed; 0 failed",
            "12 passed, 3 failed",
        ] {
            tally.add_line(line);
        }
        assert_eq!(tally, Tally::default());
    }
}
