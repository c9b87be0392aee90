//! What apt says about packages.

use std::{collections::BTreeMap, process::Command};

use crate::command;

/// A package as apt knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// The installed version.
    pub(crate) installed: Option<String>,
    /// The version that `apt-get install` would install.
    pub(crate) candidate: Option<String>,
}

/// What apt knows of the packages that were asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packages {
    /// Whether this run has already fetched the package lists.
    pub(crate) lists_refreshed: bool,
    /// Whether apt has failed to install something in this run.
    pub(crate) failed: bool,
    /// The known packages by name.
    pub(crate) known: BTreeMap<String, Package>,
}

impl Packages {
    /// Asks apt about `names`; `None` on a machine without apt.
    pub(crate) fn ask(names: &[&str]) -> Option<Self> {
        if !command::is_installed("apt-get") {
            return None;
        }
        let policy = command::output_if_any(
            Command::new("apt-cache")
                .env("LC_ALL", "C")
                .arg("policy")
                .args(names),
        )?;
        Some(Self {
            known: parse_policy(&policy),
            ..Self::default()
        })
    }

    /// The version that an installation would bring.
    pub(crate) fn candidate(&self, name: &str) -> Option<&str> {
        self.known.get(name)?.candidate.as_deref()
    }

    /// Whether the package is installed.
    pub(crate) fn is_installed(&self, name: &str) -> bool {
        self.known
            .get(name)
            .is_some_and(|package| package.installed.is_some())
    }
}

fn parse_policy(policy: &str) -> BTreeMap<String, Package> {
    let mut known = BTreeMap::new();
    let mut current: Option<&mut Package> = None;
    for line in policy.lines() {
        if let Some(name) = line
            .strip_suffix(':')
            .filter(|name| !name.starts_with(char::is_whitespace))
        {
            current = Some(known.entry(name.to_owned()).or_default());
        } else if let (Some(package), Some((key, value))) =
            (current.as_deref_mut(), line.trim().split_once(": "))
        {
            let value = (value != "(none)").then(|| value.to_owned());
            match key {
                "Installed" => package.installed = value,
                "Candidate" => package.candidate = value,
                _ => {}
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
rustc-web:
  Installed: (none)
  Candidate: 1.96.0+dfsg1-1~deb12u2
  Version table:
     1.96.0+dfsg1-1~deb12u2 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
ethtool:
  Installed: 1:6.1-1
  Candidate: 1:6.1-1
  Version table:
 *** 1:6.1-1 500
        100 /var/lib/dpkg/status
libstd-rust-dev-bpf:
  Installed: (none)
  Candidate: (none)
  Version table:
";

    #[test]
    fn candidates_and_installed_versions_are_read() {
        let packages = Packages {
            known: parse_policy(POLICY),
            ..Packages::default()
        };
        assert_eq!(
            packages.candidate("rustc-web"),
            Some("1.96.0+dfsg1-1~deb12u2")
        );
        assert!(!packages.is_installed("rustc-web"));
        assert_eq!(packages.candidate("ethtool"), Some("1:6.1-1"));
        assert!(packages.is_installed("ethtool"));
    }

    #[test]
    fn a_package_without_a_version_is_neither_installed_nor_a_candidate() {
        let packages = Packages {
            known: parse_policy(POLICY),
            ..Packages::default()
        };
        for name in ["libstd-rust-dev-bpf", "never-heard-of"] {
            assert_eq!(packages.candidate(name), None, "{name}");
            assert!(!packages.is_installed(name), "{name}");
        }
    }
}
