//! `cargo xtask tidy`: format, lints and the rules of the house.

mod rules;
mod source;

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    build, command,
    setup::{self, Need},
    workspace,
};

type Check = fn() -> Result<()>;

/// Runs every check, also after one has failed; returns whether all passed.
pub(crate) fn run() -> bool {
    let checks: [(&str, Check); 4] = [
        ("rules of the house", house_rules),
        ("format", format),
        ("lints", lints),
        ("lints of the eBPF program", ebpf_lints),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        eprintln!("== {name}");
        if let Err(error) = check() {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        println!("tidy");
    } else {
        println!("not tidy: {}", failed.join(", "));
    }
    failed.is_empty()
}

fn house_rules() -> Result<()> {
    let listed = command::output(Command::new("git").current_dir(workspace::root()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))
    .context("the rules of the house apply to the files that git knows")?;
    let mut breaches = Vec::new();
    for name in listed.split_terminator('\0') {
        let path = workspace::root().join(name);
        if !path.is_file() {
            continue;
        }
        breaches.extend(rules::breaches_of_name(name));
        let bytes = fs::read(&path).with_context(|| format!("could not read {name}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            breaches.extend(rules::breaches_of_text(name, &text));
        }
    }
    breaches.dedup();
    anyhow::ensure!(breaches.is_empty(), "{}", breaches.join("\n"));
    Ok(())
}

fn format() -> Result<()> {
    command::run(workspace::cargo().args(["fmt", "--all", "--check"]))
        .context("`cargo fmt --all` formats")
}

fn lints() -> Result<()> {
    command::run(
        workspace::cargo()
            .args(["clippy", "--workspace", "--exclude", "redirector-ebpf"])
            .args(["--all-targets", "--all-features", "--quiet"])
            .args(["--", "-Dwarnings"]),
    )
}

/// Clippy belongs to the compiler of host builds, which has no core library for BPF, so it reads the programs
/// as if they were for the host: without unwinding, which only release builds do without. What is for BPF
/// alone, its own compiler checks.
fn ebpf_lints() -> Result<()> {
    command::run(
        workspace::cargo()
            .args(["clippy", "--package", "redirector-ebpf", "--bins"])
            .args(["--release", "--quiet", "--", "-Dwarnings"]),
    )?;
    build::check_object(&setup::ready(Need::Build)?)
}
