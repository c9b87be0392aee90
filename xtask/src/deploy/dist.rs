//! Everything of a release, in `target/dist`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{VERSION, image, package, sources, tools};
use crate::{build, command, workspace};

/// Makes tarball, package, image and chart, with their checksums and the licences of all that is built in.
pub(crate) fn dist() -> Result<()> {
    build::agent()?;
    let dist = workspace::target().join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)
            .with_context(|| format!("could not remove {}", dist.display()))?;
    }
    fs::create_dir_all(&dist).with_context(|| format!("could not create {}", dist.display()))?;
    licences(&dist.join("LICENCES.txt"))?;
    tarball(&dist)?;
    package::build(&dist, VERSION)?;
    let name = image()?;
    image::save(&name, &dist.join(format!("redirector-{VERSION}-image.tar")))?;
    command::run(
        Command::new(tools::helm()?)
            .arg("package")
            .arg(sources().join("chart"))
            .arg("--destination")
            .arg(&dist),
    )?;
    let sums = command::output(
        Command::new("sh")
            .args(["-c", "sha256sum -- *"])
            .current_dir(&dist),
    )?;
    fs::write(dist.join("SHA256SUMS"), &sums).context("could not write the checksums")?;
    print!("{sums}");
    eprintln!("the release is in {}", dist.display());
    Ok(())
}

/// Name, version and licence of every crate in the agent.
fn licences(to: &Path) -> Result<()> {
    let tree = command::output(
        workspace::cargo()
            .args(["tree", "--package", "redirector", "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}\t{l}"]),
    )?;
    let mut lines: Vec<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.contains("(/"))
        .collect();
    lines.sort_unstable();
    lines.dedup();
    fs::write(to, lines.join("\n") + "\n")
        .with_context(|| format!("could not write {}", to.display()))
}

fn tarball(dist: &Path) -> Result<()> {
    let triple = workspace::host_triple()?;
    let name = format!("redirector-{VERSION}-{triple}");
    let tree = dist.join(&name);
    let files: [(PathBuf, &str); 10] = [
        (workspace::root().join("LICENSE"), "LICENSE"),
        (workspace::root().join("README.md"), "README.md"),
        (dist.join("LICENCES.txt"), "LICENCES.txt"),
        (
            workspace::root().join("redirector/examples/socksbalance.toml"),
            "redirector.toml",
        ),
        (
            sources().join("systemd/redirector.service"),
            "redirector.service",
        ),
        (
            sources().join("keepalived/keepalived.conf"),
            "keepalived.conf",
        ),
        (
            sources().join("keepalived/redirector.nft"),
            "redirector.nft",
        ),
        (sources().join("bird/relay.conf"), "bird-relay.conf"),
        (sources().join("bird/router.conf"), "bird-router.conf"),
        (
            sources().join("bird/redirector-announce"),
            "redirector-announce",
        ),
    ];
    fs::create_dir_all(&tree).with_context(|| format!("could not create {}", tree.display()))?;
    command::run(
        Command::new("strip")
            .arg("-o")
            .args([&tree.join("redirector"), &workspace::agent()]),
    )?;
    for (from, to) in files {
        fs::copy(&from, tree.join(to))
            .with_context(|| format!("could not copy {}", from.display()))?;
    }
    // The same files make the same archive.
    command::run(
        Command::new("tar")
            .args([
                "--create",
                "--gzip",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--mtime=@0",
            ])
            .args([
                "--numeric-owner",
                "--file",
                &format!("{name}.tar.gz"),
                &name,
            ])
            .current_dir(dist),
    )?;
    fs::remove_dir_all(&tree).with_context(|| format!("could not remove {}", tree.display()))
}
