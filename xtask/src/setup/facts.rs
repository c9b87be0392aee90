//! What this machine has, as far as the choice of a toolchain depends on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{packages::Packages, plan, version::Version};
use crate::{command, user};

/// The BPF target with the byte order of this machine.
pub(crate) const BPF_TARGET: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};

/// Where Debian's compiler lies; a compiler elsewhere cannot use the packaged BPF core library.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// All that [`plan::next`] needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Whether this is root, who alone may install packages.
    pub(crate) root: bool,
    /// The distribution's compiler, if it has a core library for [`BPF_TARGET`].
    pub(crate) distribution: Option<Compiler>,
    /// rustup, if it is there.
    pub(crate) rustup: Option<Rustup>,
    /// apt, if it is there.
    pub(crate) apt: Option<Packages>,
    /// The programs from [`plan::LAB_PROGRAMS`] that are not there.
    pub(crate) missing_programs: Vec<plan::Program>,
}

/// A compiler and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The path of `rustc`.
    pub(crate) rustc: PathBuf,
    /// Its version.
    pub(crate) version: Version,
}

/// What rustup has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rustup {
    /// A nightly toolchain.
    pub(crate) nightly: bool,
    /// The sources of core for that toolchain.
    pub(crate) rust_src: bool,
}

impl Facts {
    /// Looks at this machine. Changes nothing.
    pub(crate) fn gather() -> Result<Self> {
        Ok(Self {
            root: user::is_root()?,
            distribution: distribution(Path::new(DISTRIBUTION_RUSTC)),
            rustup: rustup(),
            apt: Packages::ask(&plan::packages_of_interest()),
            missing_programs: plan::LAB_PROGRAMS
                .into_iter()
                .filter(|program| !command::is_installed(program.name))
                .collect(),
        })
    }
}

impl Facts {
    /// Whether fetching the package lists may still turn up something new.
    pub(crate) fn may_refresh_lists(&self) -> bool {
        self.root && self.apt.as_ref().is_some_and(|apt| !apt.lists_refreshed)
    }
}

fn distribution(rustc: &Path) -> Option<Compiler> {
    let sysroot = command::output_if_any(Command::new(rustc).args(["--print", "sysroot"]))?;
    let libraries = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(BPF_TARGET)
        .join("lib");
    let has_core = fs::read_dir(libraries)
        .ok()?
        .filter_map(Result::ok)
        .any(|entry| is_core_library(&entry.file_name().to_string_lossy()));
    if !has_core {
        return None;
    }
    let version = command::output_if_any(Command::new(rustc).arg("--version"))?;
    Some(Compiler {
        rustc: rustc.to_owned(),
        version: Version::parse(version.strip_prefix("rustc ")?)?,
    })
}

fn is_core_library(file_name: &str) -> bool {
    file_name.starts_with("libcore-")
        && Path::new(file_name)
            .extension()
            .is_some_and(|extension| extension == "rlib")
}

fn rustup() -> Option<Rustup> {
    command::output_if_any(Command::new("rustup").arg("--version"))?;
    let sysroot = command::output_if_any(
        Command::new("rustup")
            .env("RUSTUP_AUTO_INSTALL", "0")
            .args(["run", "nightly", "rustc", "--print", "sysroot"]),
    );
    let Some(sysroot) = sysroot else {
        return Some(Rustup::default());
    };
    Some(Rustup {
        nightly: true,
        rust_src: Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_compiled_core_counts_as_a_core_library() {
        assert!(is_core_library("libcore-8056e5e5b270ef4d.rlib"));
        for other in [
            "libcore-8056e5e5b270ef4d.rmeta",
            "liballoc-216f.rlib",
            "libcore.rlib",
        ] {
            assert!(!is_core_library(other), "{other}");
        }
    }

    #[test]
    fn a_compiler_that_is_not_there_is_no_compiler() {
        assert_eq!(distribution(Path::new("/no/such/rustc")), None);
    }
}
