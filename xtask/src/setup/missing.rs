//! The error for what a machine lacks and this task cannot install, with the commands that do it.

use std::{error::Error, fmt};

use super::facts::Facts;

/// Installs what the second kind of toolchain needs.
pub(crate) const NIGHTLY_COMMAND: &str =
    "rustup toolchain install nightly --profile minimal --component rust-src";

/// What is missing, and the commands that help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    root: bool,
    apt: bool,
    problems: Vec<String>,
    packages: Vec<&'static str>,
    alternative: Option<String>,
}

impl Missing {
    /// No compiler for the eBPF program: neither the two `packages`, because of `obstacle`, nor
    /// rustup.
    pub(super) fn compiler(facts: &Facts, packages: [&'static str; 2], obstacle: &str) -> Self {
        Self {
            root: facts.root,
            apt: facts.apt.is_some(),
            problems: vec![format!(
                "the eBPF program needs a Rust compiler with a core library for BPF; {obstacle}, \
                 and rustup, which could install a nightly with rust-src, was not found"
            )],
            packages: packages.to_vec(),
            alternative: Some(format!(
                "in place of {}, install rustup (https://rustup.rs) and run:\n    {NIGHTLY_COMMAND}",
                packages.join(" and ")
            )),
        }
    }

    /// The programs of the lab that `facts` reports missing.
    pub(super) fn programs(facts: &Facts) -> Self {
        let obstacle = match (&facts.apt, facts.root) {
            (None, _) => "this machine has no apt to install it with",
            (Some(_), false) => "installing it needs root",
            (Some(apt), true) if apt.failed => "apt failed to install it (see above)",
            (Some(_), true) => "apt knows no such package",
        };
        Self {
            root: facts.root,
            apt: facts.apt.is_some(),
            problems: facts
                .missing_programs
                .iter()
                .map(|program| {
                    format!(
                        "the lab calls `{}` (Debian package {}); {obstacle}",
                        program.name, program.package
                    )
                })
                .collect(),
            packages: facts
                .missing_programs
                .iter()
                .map(|program| program.package)
                .collect(),
            alternative: None,
        }
    }

    /// Both at once, so that one command mends both.
    #[must_use]
    pub(super) fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        self.packages.extend(other.packages);
        self.alternative = self.alternative.or(other.alternative);
        self
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "this machine lacks something the task needs:")?;
        for problem in &self.problems {
            writeln!(f, "  - {problem}")?;
        }
        if self.apt {
            write!(
                f,
                "Run this, then the task again:\n    {}",
                apt_command(self.root, &self.packages)
            )?;
        } else {
            write!(
                f,
                "Install what your distribution has in place of Debian's {}, then run the task again",
                self.packages.join(", ")
            )?;
        }
        if let Some(alternative) = &self.alternative {
            write!(f, "\nOr, {alternative}")?;
        }
        Ok(())
    }
}

impl Error for Missing {}

/// The command that installs packages, for a person to type.
pub(crate) fn apt_command(root: bool, packages: &[&str]) -> String {
    let sudo = if root { "" } else { "sudo " };
    format!(
        "{sudo}apt-get update && {sudo}apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}
