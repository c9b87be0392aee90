//! `cargo xtask build`: the BPF object, then the agent that carries it.

mod elf;
mod object;

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command,
    setup::{self, Need},
    workspace,
};

pub(crate) use object::check as check_object;

/// Makes this machine ready for it and builds the BPF object.
pub(crate) fn bpf_object() -> Result<()> {
    object::build(&setup::ready(Need::Build)?)
}

/// Builds the BPF object and the agent.
pub(crate) fn agent() -> Result<()> {
    bpf_object()?;
    command::run(release_cargo().args(["--package", "redirector"]))?;
    eprintln!("built {}", workspace::agent().display());
    Ok(())
}

/// Makes this machine ready for the lab and builds the BPF object, the agent, the lab and the benches. The
/// agent goes with the others: built by itself, with other features of its dependencies, it would be built
/// twice.
pub(crate) fn with_tests() -> Result<()> {
    object::build(&setup::ready(Need::Lab)?)?;
    command::run(release_cargo().args([
        "--package",
        "redirector",
        "--package",
        "redirector-tests",
    ]))?;
    eprintln!("built {}", workspace::agent().display());
    Ok(())
}

/// Builds the agent and the object of another version, for the tests of upgrades. What they have in common with this one is not
/// built twice: they are built in the same place, where [`with_tests`] then puts this version back.
pub(crate) fn next_version() -> Result<()> {
    let directory = workspace::next_version();
    let object = object::build_next(&setup::ready(Need::Lab)?, &directory)?;
    let mut cargo = release_cargo();
    // With all packages of `with_tests`, of which only the agent is built, so that dependencies have the same features.
    cargo
        .args(["--package", "redirector", "--package", "redirector-tests"])
        .args([
            "--bin",
            "redirector",
            "--features",
            "redirector/next-layout",
        ])
        .env("REDIRECTOR_BPF_OBJECT", object);
    command::run(&mut cargo)?;
    let agent = directory.join("redirector");
    // Not over one that may be running.
    let draft = directory.join("redirector.new");
    fs::copy(workspace::agent(), &draft)
        .and_then(|_| fs::rename(&draft, &agent))
        .with_context(|| format!("could not put the agent to {}", agent.display()))?;
    eprintln!("built {}", agent.display());
    Ok(())
}

/// Cargo for release builds, all of which embed the BPF object; a build without it would rebuild
/// the agent each time the two alternate.
fn release_cargo() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release"]);
    cargo.env("REDIRECTOR_BPF_OBJECT", workspace::bpf_object());
    cargo
}
