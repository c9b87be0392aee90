//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::ops::Range;

use crate::units::Counted;

/// Most problems that are kept; whoever has more of them wants to read the first ones.
const KEPT: usize = 100;

/// Most characters of a source line that a report shows.
const EXCERPT: usize = 120;

/// Something found wrong while reading: a place in the text, what is wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What is wrong with one value; whoever knows its place makes a [`Finding`] of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// A thing that is well written but that this version cannot do.
    pub(crate) fn not_yet(what: impl fmt::Display, help: impl Into<String>) -> Self {
        Self::new(format!("{what} is not supported yet")).help(help)
    }
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, at: Range<usize>, complaint: Complaint) {
        let Complaint { message, help } = complaint;
        self.0.push(Finding { at, message, help });
    }

    /// Keeps a good value, reports a bad one.
    pub(crate) fn check<T>(&mut self, at: Range<usize>, value: Result<T, Complaint>) -> Option<T> {
        value.map_err(|complaint| self.add(at, complaint)).ok()
    }
}

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where there is something to say.
    pub help: Option<String>,
    /// The offending line, or the part of a very long one.
    excerpt: String,
    /// The marks to write under it.
    marks: String,
}

/// Everything that is wrong in a configuration, in the order of the text. Its `Display` is the
/// report for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    name: String,
    list: Vec<Problem>,
    all: usize,
}

impl Problems {
    pub(crate) fn new(name: &str, text: &str, mut findings: Findings) -> Self {
        findings
            .0
            .sort_by_key(|finding| (finding.at.start, finding.at.end));
        let all = findings.0.len();
        findings.0.truncate(KEPT);
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let list = findings
            .0
            .into_iter()
            .map(|finding| locate(text, &starts, finding))
            .collect();
        Self {
            name: name.to_owned(),
            list,
            all,
        }
    }

    /// The first hundred problems, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.all
    }
}

fn locate(text: &str, starts: &[usize], finding: Finding) -> Problem {
    let at = floor(text, finding.at.start);
    let line = starts.partition_point(|start| *start <= at);
    let start = starts[line - 1];
    let source = text[start..].lines().next().unwrap_or_default();
    let before = text[start..at].chars().count();
    let marked = text[at..floor(text, finding.at.end.max(at))]
        .lines()
        .next()
        .unwrap_or_default();
    let (excerpt, marks) = excerpt(source, before, marked.chars().count());
    let Finding { message, help, .. } = finding;
    Problem {
        line,
        column: before + 1,
        message,
        help,
        excerpt,
        marks,
    }
}

/// The nearest character boundary at or before an offset.
fn floor(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset)
        .rev()
        .find(|offset| text.is_char_boundary(*offset))
        .unwrap_or_default()
}

/// The part of a line to show, and the marks under its `width` characters after `before`.
fn excerpt(source: &str, before: usize, width: usize) -> (String, String) {
    let length = source.chars().count();
    let first = if length > EXCERPT {
        before.saturating_sub(EXCERPT / 3)
    } else {
        0
    };
    // A control character would act on the terminal of whoever reads the report.
    let shown: String = source
        .chars()
        .skip(first)
        .take(EXCERPT)
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let mut marks: String = shown
        .chars()
        .take(before - first)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let room = (EXCERPT + first - before).max(1);
    marks.extend(std::iter::repeat_n('^', width.clamp(1, room)));
    (shown, marks)
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            let Problem {
                line,
                column,
                message,
                help,
                excerpt,
                marks,
            } = problem;
            let gutter = " ".repeat(line.to_string().len());
            writeln!(f, "{}:{line}:{column}: {message}", self.name)?;
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{line} | {excerpt}")?;
            writeln!(f, "{gutter} | {marks}")?;
            if let Some(help) = help {
                writeln!(f, "{gutter} = {help}")?;
            }
            writeln!(f)?;
        }
        if let Some(hidden @ 1..) = self.all.checked_sub(self.list.len()) {
            writeln!(f, "... and {} after these\n", Counted(hidden, "problem"))?;
        }
        write!(f, "{}: {}", self.name, Counted(self.all, "problem"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, at: Range<usize>) -> Problems {
        let mut findings = Findings::default();
        findings.add(at, Complaint::new("bad").help("do better"));
        Problems::new("f", text, findings)
    }

    #[test]
    fn the_report_shows_the_line_and_marks_the_place() {
        assert_eq!(
            report("a = 1\n\tb = 22 # c\n", 11..13).to_string(),
            "f:2:6: bad\n  |\n2 | \tb = 22 # c\n  | \t    ^^\n  = do better\n\nf: 1 problem"
        );
    }

    #[test]
    fn any_place_in_any_text_can_be_shown() {
        let long = "é".repeat(1000);
        for text in ["", "\n", "é\r\nü", "\u{1b}[31m", &long] {
            for start in 0..=text.len().min(400) + 1 {
                for end in [0, start, start + 1, usize::MAX] {
                    let report = report(text, start..end).to_string();
                    assert!(!report.contains('\u{1b}'));
                    assert!(report.lines().all(|line| line.chars().count() < 140));
                }
            }
        }
    }

    #[test]
    fn a_problem_at_the_very_end_is_on_the_last_line() {
        let report = report("a = 1\n", 6..6);
        assert_eq!((report.list[0].line, report.list[0].column), (2, 1));
    }
}
