//! The package for Debian, and its life in a clean Debian.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{Claim, VERSION, tested, tools};
use crate::{
    build, command,
    setup::{self, Program},
    user, workspace,
};

/// Names the release of Debian that packages are built on, and so tested in.
const RELEASE: &str = "/etc/os-release";
/// What that has besides the least.
const INCLUDE: &str = "--include=systemd,systemd-sysv,dbus,iproute2,procps";
const SHELLS: [(&str, &str); 3] = [
    ("bash", "redirector"),
    ("zsh", "_redirector"),
    ("fish", "redirector.fish"),
];

/// Builds the package of the agent that was just built, not of one without the data path in it, as a file.
pub(super) fn build(to: &Path, version: &str) -> Result<()> {
    let agent = workspace::agent();
    let more = agent.with_file_name("package");
    if more.exists() {
        fs::remove_dir_all(&more)
            .with_context(|| format!("could not remove {}", more.display()))?;
    }
    let manuals = more.join("man");
    fs::create_dir_all(&manuals)
        .with_context(|| format!("could not create {}", manuals.display()))?;
    command::run(Command::new(&agent).arg("man").arg(&manuals))?;
    // Without the time, so that the same pages make the same package.
    command::run(
        Command::new("gzip")
            .args(["--best", "--no-name", "--recursive"])
            .arg(&manuals),
    )?;
    for (shell, name) in SHELLS {
        let text = command::output(Command::new(&agent).args(["completions", shell]))?;
        let file = more.join(name);
        fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))?;
    }
    command::run(
        Command::new(tools::cargo_deb()?)
            .current_dir(workspace::root())
            .args(["--package", "redirector", "--no-build"])
            .args(["--deb-version", version, "--output"])
            .arg(to)
            .env("CARGO_TARGET_DIR", workspace::target()),
    )
}

/// Installed, run, upgraded and removed in a clean Debian with real Dante nodes beside it.
pub(super) fn claims() -> Result<Vec<Claim>> {
    ensure!(
        user::is_root()?,
        "packages are installed as root: sudo env \"PATH=$PATH\" cargo xtask test --deploy"
    );
    build::agent()?;
    let home = workspace::target().join("deploy");
    fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
    let debian = debian(&home)?;
    let (package, next) = (home.join("redirector.deb"), home.join("next.deb"));
    build(&package, VERSION)?;
    build(&next, &format!("{VERSION}+next"))?;
    Ok(vec![tested(
        "the package is installed, serves, is upgraded without loss and goes without residue",
        "deploy_package",
        &[
            ("REDIRECTOR_DEBIAN", debian.into()),
            ("REDIRECTOR_PACKAGE", package.into()),
            ("REDIRECTOR_NEXT_PACKAGE", next.into()),
        ],
    )])
}

/// A clean Debian of the release that this machine has, kept from run to run.
fn debian(home: &Path) -> Result<PathBuf> {
    let root = home.join("debian");
    if root.is_dir() {
        return Ok(root);
    }
    for program in [Program::Mmdebstrap, Program::Nspawn] {
        setup::program(program)?;
    }
    let release =
        fs::read_to_string(RELEASE).with_context(|| format!("could not read {RELEASE}"))?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.with_context(|| format!("{RELEASE} names no release of Debian"))?;
    let unfinished = home.join("unfinished");
    command::run(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", INCLUDE, suite])
            .arg(&unfinished)
            .args(sources()?),
    )?;
    fs::rename(&unfinished, &root)
        .with_context(|| format!("could not move {}", unfinished.display()))?;
    Ok(root)
}

/// Where this machine has its packages from.
fn sources() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = [
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/debian.sources",
    ]
    .map(PathBuf::from)
    .into();
    found.retain(|file| file.is_file());
    ensure!(
        !found.is_empty(),
        "there is neither /etc/apt/sources.list nor /etc/apt/sources.list.d/debian.sources to have a Debian from"
    );
    Ok(found)
}
