//! bpf-linker, built against the very LLVM that the compiler links.
//!
//! It reads the compiler's bitcode, which another LLVM may not understand. So there is one linker
//! per LLVM library under `target/bpf-tools`, and none from the path is used.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::{llvm::Llvm, plan::Toolchain};
use crate::{command, workspace};

const VERSION: &str = "0.13.0";

/// The LLVM majors that this bpf-linker has a feature for.
const LLVM_MAJORS: [u32; 3] = [21, 22, 23];

/// Returns the linker for a toolchain, building it if it is not there or no longer starts.
pub(super) fn ready(toolchain: &Toolchain) -> Result<PathBuf> {
    let llvm = Llvm::of(toolchain)?;
    let feature = feature(llvm.version.major)?;
    let directory = workspace::target().join("bpf-tools").join(format!(
        "bpf-linker-{VERSION}-{}",
        llvm.file_name().to_string_lossy()
    ));
    let linker = directory.join("bin/bpf-linker");
    if starts(&linker) {
        return Ok(linker);
    }
    eprintln!(
        "setup: building bpf-linker {VERSION} against {} (once, about a minute)",
        llvm.library.display()
    );
    let started = Instant::now();
    let prefix = directory.join("llvm");
    link_library(&llvm, &prefix)?;
    install(&directory, &prefix, &feature).context(
        "bpf-linker could not be built; it is fetched from crates.io, so this needs a network \
         (or a registry mirror) and a C compiler",
    )?;
    if !starts(&linker) {
        bail!(
            "{} was built, but `bpf-linker --version` fails; remove {} and try again",
            linker.display(),
            directory.display()
        );
    }
    eprintln!(
        "setup: bpf-linker built in {:.0} s",
        started.elapsed().as_secs_f32()
    );
    Ok(linker)
}

fn feature(llvm_major: u32) -> Result<String> {
    if !LLVM_MAJORS.contains(&llvm_major) {
        bail!(
            "the compiler uses LLVM {llvm_major}, and bpf-linker {VERSION} knows only {LLVM_MAJORS:?}; \
             use a compiler with one of those (Debian's rustc-web, or another nightly)"
        );
    }
    Ok(format!("llvm-{llvm_major}"))
}

fn starts(linker: &Path) -> bool {
    command::output(
        Command::new(linker)
            .arg("--version")
            .env_remove("LD_LIBRARY_PATH"),
    )
    .is_ok()
}

/// Makes `PREFIX/lib` with the library under its own name, which the loader asks for, and under
/// the plain one, which the build asks for. bpf-linker gets this directory as its rpath.
fn link_library(llvm: &Llvm, prefix: &Path) -> Result<()> {
    let directory = prefix.join("lib");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("could not remove {}", directory.display()))?;
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    for name in [llvm.file_name(), "libLLVM.so".as_ref()] {
        let link = directory.join(name);
        symlink(&llvm.library, &link)
            .with_context(|| format!("could not create the link {}", link.display()))?;
    }
    Ok(())
}

fn install(directory: &Path, prefix: &Path, feature: &str) -> Result<()> {
    command::run(
        workspace::cargo()
            // Elsewhere this workspace's own settings would apply to the linker.
            .current_dir("/")
            .env("CARGO_TARGET_DIR", directory.join("build"))
            .env("LLVM_PREFIX", prefix)
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env_remove("LD_LIBRARY_PATH")
            .args(["install", "bpf-linker", "--version", VERSION])
            .args(["--locked", "--quiet", "--no-default-features"])
            .args(["--features", feature, "--force", "--root"])
            .arg(directory),
    )?;
    let build = directory.join("build");
    fs::remove_dir_all(&build).with_context(|| format!("could not remove {}", build.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_follows_the_llvm_of_the_compiler() {
        assert_eq!(feature(22).expect("22 is known"), "llvm-22");
    }

    #[test]
    fn an_llvm_that_the_linker_does_not_know_is_refused_by_number() {
        let error = feature(24).expect_err("24 is unknown").to_string();
        assert!(error.contains("LLVM 24"), "{error}");
        assert!(error.contains("[21, 22, 23]"), "{error}");
    }

    #[test]
    fn a_linker_that_is_not_there_does_not_start() {
        assert!(!starts(Path::new("/no/such/bpf-linker")));
    }
}
