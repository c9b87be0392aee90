//! What the doctor says.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It cannot be told from here.
    Unknown,
    /// It works, less well than it could, or not in every case.
    Warning,
    /// Clients are not served, or not all of them.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, a word for programs.
    pub check: &'static str,
    /// Of whom: an interface, an address, a node; empty for the host.
    pub of: String,
    /// How bad it is.
    pub level: Level,
    /// For people.
    pub text: String,
    /// What mends it.
    pub mend: Option<Mend>,
}

/// A command that mends something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mend {
    /// Where to run it: `here`, or at which node.
    pub at: String,
    /// The command.
    pub command: String,
}

impl Finding {
    fn new(
        level: Level,
        check: &'static str,
        of: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            check,
            of: of.into(),
            level,
            text: text.into(),
            mend: None,
        }
    }

    pub(super) fn ok(check: &'static str, of: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, of, text)
    }

    pub(super) fn unknown(
        check: &'static str,
        of: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self::new(Level::Unknown, check, of, text)
    }

    pub(super) fn warning(
        check: &'static str,
        of: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, check, of, text)
    }

    pub(super) fn problem(
        check: &'static str,
        of: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self::new(Level::Problem, check, of, text)
    }

    pub(super) fn here(self, command: impl Into<String>) -> Self {
        self.at("here", command)
    }

    pub(super) fn at(self, at: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            mend: Some(Mend {
                at: at.into(),
                command: command.into(),
            }),
            ..self
        }
    }
}

/// How many findings are of this level.
pub fn count(findings: &[Finding], level: Level) -> usize {
    let of_level = findings.iter().filter(|finding| finding.level == level);
    of_level.count()
}

/// The findings for people.
pub fn text(findings: &[Finding]) -> String {
    let width = |of: fn(&Finding) -> usize| findings.iter().map(of).max().unwrap_or(0);
    let check_width = width(|finding| finding.check.len());
    let of_width = width(|finding| finding.of.chars().count()).min(32);
    let mut text = String::new();
    for finding in findings {
        let Finding {
            check,
            of,
            level,
            text: words,
            mend,
        } = finding;
        text += &format!("{level:<8} {check:<check_width$} {of:<of_width$} {words}\n");
        if let Some(Mend { at, command }) = mend {
            text += &format!("         mend it, {at}: {command}\n");
        }
    }
    text
}

/// The findings for programs.
pub fn json(findings: &[Finding]) -> serde_json::Value {
    serde_json::json!({
        "problems": count(findings, Level::Problem),
        "warnings": count(findings, Level::Warning),
        "findings": findings,
    })
}
