//! Carries out the steps of the plan.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{
    missing::{NIGHTLY_COMMAND, apt_command},
    plan::{BIRD, DANTE, Step},
};
use crate::command;

/// The package of `HAProxy`, whose own service must not be left running.
pub(super) const HAPROXY: &str = "haproxy";

/// Says what it does and why, and does it.
pub(super) fn carry_out(step: &Step, reason: &str) -> Result<()> {
    eprintln!("setup: {step} ({reason})");
    match step {
        Step::RefreshPackageLists => refresh_package_lists(),
        Step::InstallPackages(packages) => {
            install_packages(packages).with_context(|| {
                format!("to install them by hand: {}", apt_command(true, packages))
            })?;
            if packages.contains(&DANTE) {
                silence("danted", DANTE)?;
            }
            if packages.contains(&BIRD) {
                silence("bird", BIRD)?;
            }
            if packages.contains(&HAPROXY) {
                silence("haproxy", HAPROXY)?;
            }
            Ok(())
        }
        Step::InstallNightly | Step::AddRustSrc => {
            let mut words = NIGHTLY_COMMAND.split_whitespace();
            let mut rustup = Command::new(words.next().unwrap_or("rustup"));
            rustup.args(words);
            if *step == Step::AddRustSrc {
                // An update of the toolchain is not asked for, and would change the compiler.
                rustup = Command::new("rustup");
                rustup.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
            }
            command::run(&mut rustup).with_context(|| {
                format!(
                    "{reason}; rustup could not help either. With a network, run: {NIGHTLY_COMMAND}"
                )
            })
        }
    }
}

fn refresh_package_lists() -> Result<()> {
    command::run(apt_get().arg("update"))
}

/// Lists that are older than the mirror name files it no longer has; fetching them is the remedy.
fn install_packages(packages: &[&str]) -> Result<()> {
    let install = || {
        command::run(
            apt_get()
                .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
                .args(packages),
        )
    };
    install().or_else(|first| {
        eprintln!("setup: {first:#}; trying again with new package lists");
        refresh_package_lists()?;
        install()
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-qq",
        "-o",
        "DPkg::Lock::Timeout=120",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    command
}

/// The lab and the benches run their own; a server that listens on this host was not asked for.
fn silence(service: &str, package: &str) -> Result<()> {
    eprintln!("setup: stopping and disabling the {service} service that came with {package}");
    if Path::new("/run/systemd/system").is_dir() {
        return command::run(Command::new("systemctl").args(["disable", "--now", service]));
    }
    command::run(Command::new(format!("/etc/init.d/{service}")).arg("stop"))?;
    command::run(Command::new("update-rc.d").args([service, "disable"]))
}
