//! Builds the eBPF programs, apart from every host build.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::elf;
use crate::{
    command,
    setup::{BPF_TARGET, Toolchain, Tools},
    workspace,
};

/// The binaries of the crate end in this; what is left is the name of the object.
const SUFFIX: &str = "-ebpf";

/// Builds every binary `<name>-ebpf` of the crate to `target/bpf/<name>.o`.
pub(crate) fn build(tools: &Tools) -> Result<()> {
    eprintln!("building the eBPF program");
    command::run(cargo(tools, "build").arg("--bins"))
        .context("the eBPF program could not be built")?;
    let object = workspace::bpf_object();
    let directory = object.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    for (binary, name) in binaries()? {
        publish(&binary, &directory.join(name).with_extension("o"))?;
    }
    ensure!(
        object.is_file(),
        "the crate redirector-ebpf has no binary redirector{SUFFIX}, so there is no {}",
        object.display()
    );
    Ok(())
}

/// Builds the program of the next version to `directory` and says where it is.
pub(crate) fn build_next(tools: &Tools, directory: &Path) -> Result<PathBuf> {
    eprintln!("building the eBPF program of another version");
    let name = format!("redirector{SUFFIX}");
    command::run(cargo(tools, "build").args(["--bin", &name, "--features", "next-layout"]))
        .context("the eBPF program of another version could not be built")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    let object = directory.join("redirector.o");
    publish(&built().join(name), &object)?;
    Ok(object)
}

/// Checks the eBPF programs, as their own compiler sees them, with warnings as errors.
pub(crate) fn check(tools: &Tools) -> Result<()> {
    for name in ["redirector", "bench", "traffic"] {
        command::run(
            cargo(tools, "rustc")
                .args(["--quiet", "--bin", &format!("{name}{SUFFIX}")])
                .args(["--", "-Dwarnings"]),
        )
        .with_context(|| format!("the eBPF program {name} has warnings"))?;
    }
    Ok(())
}

/// The BPF build keeps its own target directory: its compiler is not the one of host builds.
fn target_directory() -> PathBuf {
    workspace::target().join("bpf-build")
}

fn cargo(tools: &Tools, subcommand: &str) -> Command {
    let mut cargo = match &tools.toolchain {
        Toolchain::Distribution { rustc } => {
            let mut cargo = workspace::cargo();
            // aya-ebpf alone needs unstable features, for its inline assembly. Setting the variable to 1 would
            // open them to every crate, and make aya's build scripts ask for build-std.
            cargo
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "aya_ebpf")
                .arg(subcommand);
            cargo
        }
        Toolchain::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup
                .current_dir(workspace::root())
                .args(["run", "nightly", "cargo", subcommand])
                .args(["-Z", "build-std=core"])
                .env_remove("RUSTC")
                .env_remove("CARGO");
            rustup
        }
    };
    cargo
        .args(["--release", "--package", "redirector-ebpf"])
        .args(["--target", BPF_TARGET])
        .env("CARGO_TARGET_DIR", target_directory())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&tools.linker))
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("LD_LIBRARY_PATH");
    cargo
}

/// The flags of the compiler, in cargo's encoding, which allows spaces in the linker's path.
fn flags(linker: &Path) -> String {
    [
        // BTF is made from the debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Every supported kernel has the 32-bit instructions of v3, and allows unaligned loads
        // from packets on the machines that have them.
        "-Ctarget-cpu=v3".to_owned(),
        "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
        // The feature is called unstable once for each crate, in a warning that has no lint of its own. What the
        // compiler has to say about this workspace is heard in `check`, which overrides this. As an option
        // of the linker the feature would come too late for the optimiser, and packets would be slower.
        "-Awarnings".to_owned(),
        format!("-Clinker={}", linker.display()),
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
    ]
    .join("\x1f")
}

/// Where binaries are built.
fn built() -> PathBuf {
    target_directory().join(BPF_TARGET).join("release")
}

/// The built binaries and the names of their objects.
fn binaries() -> Result<Vec<(PathBuf, String)>> {
    let directory = built();
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("could not list {}", directory.display()))?;
    let mut binaries = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("could not list {}", directory.display()))?
            .path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
        if let Some(name) = name {
            binaries.push((path.clone(), name.to_owned()));
        }
    }
    Ok(binaries)
}

/// Copies a binary that has BTF to its place. An unchanged object keeps its time stamp, so that
/// the agent is not rebuilt for nothing.
fn publish(binary: &Path, object: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("could not read {}", binary.display()))?;
    let has_btf = elf::has_section(&bytes, ".BTF")
        .with_context(|| format!("{} is not what the BPF linker makes", binary.display()))?;
    ensure!(
        has_btf,
        "{} has no .BTF section, which the kernel needs to type its maps; was it built with \
         debug information and `--btf`?",
        binary.display()
    );
    if fs::read(object).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    fs::write(object, bytes).with_context(|| format!("could not write {}", object.display()))?;
    eprintln!("built {}", object.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linker_path_with_spaces_stays_one_flag() {
        let flags = flags(Path::new("/a b/bpf-linker"));
        let linker: Vec<_> = flags
            .split('\x1f')
            .filter(|flag| flag.starts_with("-Clinker="))
            .collect();
        assert_eq!(linker, ["-Clinker=/a b/bpf-linker"]);
    }
}
