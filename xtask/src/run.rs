//! `cargo xtask run` and `cargo xtask bench`: builds, then runs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf, absolute},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    build, command,
    setup::{self, Program},
    user, workspace,
};

/// Brings up the lab in network namespaces and shows it.
pub(crate) fn lab(arguments: &[OsString]) -> Result<()> {
    build::with_tests()?;
    exec_as_root(&workspace::release_binary("lab"), arguments)
}

/// Runs the agent on this host.
pub(crate) fn agent(config: &Path, arguments: &[OsString]) -> Result<()> {
    let config = absolute(config)
        .with_context(|| format!("could not make {} an absolute path", config.display()))?;
    build::agent()?;
    let mut all: Vec<OsString> = vec!["run".into(), "--config".into(), config.into()];
    all.extend_from_slice(arguments);
    exec_as_root(&workspace::agent(), &all)
}

/// Runs the benches.
pub(crate) fn bench(json: Option<&Path>, quick: bool, arguments: &[OsString]) -> Result<()> {
    build::with_tests()?;
    for rival in [Program::Haproxy, Program::Iptables] {
        if let Err(error) = setup::program(rival) {
            eprintln!("bench: {error:#}; the report will say what is missing");
        }
    }
    let mut all: Vec<OsString> = Vec::new();
    if let Some(json) = json {
        let json = absolute(json)
            .with_context(|| format!("could not make {} an absolute path", json.display()))?;
        all.extend(["--json".into(), json.into()]);
    }
    if quick {
        all.push("--quick".into());
    }
    all.extend_from_slice(arguments);
    exec_as_root(&workspace::release_binary("bench"), &all)
}

/// Takes the pictures that the README shows.
pub(crate) fn screenshots() -> Result<()> {
    build::with_tests()?;
    setup::ready(setup::Need::Lab)?;
    let figures = workspace::root().join("tests/figures");
    let arguments = ["--directory".into(), figures.into()];
    exec_as_root(&workspace::release_binary("screenshots"), &arguments)
}

/// Replaces this process by `program`, which needs root to load the eBPF program. Only that runs
/// through sudo; what is built belongs to the user who builds.
fn exec_as_root(program: &Path, arguments: &[OsString]) -> Result<()> {
    let variables: [(&str, PathBuf); 4] = [
        ("REDIRECTOR_BPF_OBJECT", workspace::bpf_object()),
        (
            "REDIRECTOR_BENCH_OBJECT",
            workspace::bpf_object().with_file_name("bench.o"),
        ),
        ("REDIRECTOR_BENCH_REPORT", workspace::target().join("bench")),
        ("REDIRECTOR_BIN", workspace::agent()),
    ];
    let mut command = if user::is_root()? {
        let mut command = Command::new(program);
        command.envs(variables);
        command
    } else {
        eprintln!(
            "{} needs root to load the eBPF program; asking sudo",
            program.display()
        );
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        for (name, value) in variables {
            let mut assignment = OsString::from(name);
            assignment.push("=");
            assignment.push(value);
            sudo.arg(assignment);
        }
        sudo.arg(program);
        sudo
    };
    command::exec(command.args(arguments))
}
