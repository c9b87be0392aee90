//! The LLVM that a compiler links, which the BPF linker has to share.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{plan::Toolchain, version::Version};
use crate::command;

/// The LLVM of a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Llvm {
    /// Its version.
    pub(super) version: Version,
    /// The shared library that the compiler loads.
    pub(super) library: PathBuf,
}

impl Llvm {
    /// Finds the LLVM of the toolchain's compiler.
    pub(super) fn of(toolchain: &Toolchain) -> Result<Self> {
        let described = command::output(rustc(toolchain).arg("-vV"))?;
        let version = parse_version(&described).with_context(|| {
            format!("the compiler's `-vV` has no `LLVM version:` line:\n{described}")
        })?;
        let sysroot = command::output(rustc(toolchain).args(["--print", "sysroot"]))?;
        // `rustc` on the path may be rustup's proxy; the sysroot has the compiler itself.
        let compiler = Path::new(sysroot.trim()).join("bin/rustc");
        let loaded = command::output(Command::new("ldd").arg(&compiler))
            .context("could not learn which LLVM the compiler loads")?;
        let Some(library) = parse_library(&loaded) else {
            bail!(
                "{} loads no shared libLLVM, which bpf-linker would have to share; use a compiler \
                 from Debian or rustup",
                compiler.display()
            );
        };
        let library = library
            .canonicalize()
            .with_context(|| format!("could not resolve {}", library.display()))?;
        Ok(Self { version, library })
    }

    /// The name of the library's file, which carries its version and its maker's.
    pub(super) fn file_name(&self) -> &OsStr {
        self.library.file_name().unwrap_or_default()
    }
}

fn rustc(toolchain: &Toolchain) -> Command {
    let mut command = match toolchain {
        Toolchain::Distribution { rustc } => Command::new(rustc),
        Toolchain::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "rustc"]);
            rustup
        }
    };
    // `cargo run` sets it to the libraries of another compiler.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

fn parse_version(described: &str) -> Option<Version> {
    described
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(Version::parse)
}

fn parse_library(loaded: &str) -> Option<PathBuf> {
    loaded.lines().find_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let path = rest.split(" (").next()?;
        name.starts_with("libLLVM").then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_debian_compiler_is_found() {
        let loaded = "\tlinux-vdso.so.1 (0x00007fc8ec5dc000)\n\
            \tlibrustc_driver-ea0e99b300280386.so => /lib/librustc_driver-ea0e99b300280386.so (0x1)\n\
            \tlibLLVM.so.22.1 => /lib/x86_64-linux-gnu/libLLVM.so.22.1 (0x00007fc8dd800000)\n";
        assert_eq!(
            parse_library(loaded),
            Some("/lib/x86_64-linux-gnu/libLLVM.so.22.1".into())
        );
    }

    #[test]
    fn the_llvm_of_a_rustup_compiler_is_found() {
        let loaded = "\tlibLLVM.so.22.1-rust-1.97.0-nightly => \
            /home/a b/.rustup/bin/../lib/libLLVM.so.22.1-rust-1.97.0-nightly (0x1)\n";
        assert_eq!(
            parse_library(loaded),
            Some("/home/a b/.rustup/bin/../lib/libLLVM.so.22.1-rust-1.97.0-nightly".into())
        );
    }

    #[test]
    fn a_compiler_with_llvm_linked_in_has_no_library() {
        assert_eq!(parse_library("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
        assert_eq!(parse_library("\tlibLLVM.so.22.1 (0x1)\n"), None);
    }

    #[test]
    fn the_version_is_read_from_the_compilers_description() {
        let described = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(
            parse_version(described),
            Some(Version {
                major: 22,
                minor: 1
            })
        );
        assert_eq!(parse_version("rustc 1.96.0\nrelease: 1.96.0\n"), None);
    }
}
