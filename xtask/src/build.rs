//! `cargo xtask build`: the BPF object, then the agent that carries it.

mod elf;
mod object;

use std::process::Command;

use anyhow::Result;

use crate::{
    command,
    setup::{self, Need},
    workspace,
};

pub(crate) use object::check as check_object;

/// Makes this machine ready for `need` and builds everything.
pub(crate) fn all(need: Need) -> Result<()> {
    let tools = setup::ready(need)?;
    object::build(&tools)?;
    command::run(release_cargo().args(["build", "--release", "--package", "redirector"]))?;
    eprintln!("built {}", workspace::agent().display());
    Ok(())
}

/// Builds a binary of the tests package against the object that [`all`] made.
pub(crate) fn test_binary(name: &str) -> Result<()> {
    command::run(
        release_cargo()
            .args(["build", "--release", "--package", "redirector-tests"])
            .args(["--bin", name]),
    )
}

/// Cargo for release builds, all of which embed the BPF object; a build without it would rebuild
/// the agent each time the two alternate.
fn release_cargo() -> Command {
    let mut cargo = workspace::cargo();
    cargo.env("REDIRECTOR_BPF_OBJECT", workspace::bpf_object());
    cargo
}
