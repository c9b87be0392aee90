//! Where things are: the paths that the tasks share.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::command;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the root of the workspace")
}

/// The target directory of every host build; also the home of the BPF object and its tools.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The BPF object that `cargo xtask build` makes.
pub(crate) fn bpf_object() -> PathBuf {
    target().join("bpf").join("redirector.o")
}

/// The agent that `cargo xtask build` makes.
pub(crate) fn agent() -> PathBuf {
    release_binary("redirector")
}

/// Where the version after this one is put, for the tests of upgrades: the agent and its object.
pub(crate) fn next_version() -> PathBuf {
    target().join("next")
}

/// A binary of a release build.
pub(crate) fn release_binary(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// The machine that host builds are for, as the compiler names it.
pub(crate) fn host_triple() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("`rustc -vV` does not say which machine it is for")?
        .to_owned())
}

/// The cargo that runs this task, at the root of the workspace, for host builds.
///
/// Flags and compilers meant for the BPF build do not reach it, and its target directory is the
/// workspace's own so that the paths above hold.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(cargo_program());
    cargo
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target())
        .env_remove("REDIRECTOR_BPF_OBJECT");
    cargo
}

/// The program that [`cargo`] runs.
pub(crate) fn cargo_program() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
