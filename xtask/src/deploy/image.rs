//! The container image: the agent and its libraries, on nothing.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{VERSION, sources};
use crate::{
    build, command,
    setup::{self, Program},
    workspace,
};

/// Directories that are mounted over.
const MOUNTED: [&str; 4] = ["etc/redirector", "run/redirector", "sys/fs/bpf", "tmp"];

/// Builds the agent and the image `redirector:VERSION` of it.
pub(crate) fn image() -> Result<String> {
    setup::program(Program::Buildah)?;
    setup::program(Program::Strip)?;
    build::agent()?;
    let context = workspace::target().join("image");
    if context.exists() {
        fs::remove_dir_all(&context)
            .with_context(|| format!("could not remove {}", context.display()))?;
    }
    let root = context.join("root");
    for directory in MOUNTED
        .map(|name| root.join(name))
        .iter()
        .chain([&root.join("usr/sbin")])
    {
        fs::create_dir_all(directory)
            .with_context(|| format!("could not create {}", directory.display()))?;
    }
    let program = root.join("usr/sbin/redirector");
    command::run(
        Command::new("strip")
            .arg("-o")
            .args([&program, &workspace::agent()]),
    )?;
    for library in command::libraries(&[workspace::agent()])? {
        let place = root.join(library.strip_prefix("/").unwrap_or(&library));
        let directory = place.parent().unwrap_or(&root);
        fs::create_dir_all(directory)
            .and_then(|()| fs::copy(&library, &place).map(drop))
            .with_context(|| format!("could not copy {}", library.display()))?;
    }
    let file = sources().join("container").join("Containerfile");
    let name = format!("redirector:{VERSION}");
    // Files and layers of the same contents make the same image, whenever it is built.
    command::run(
        Command::new("buildah")
            .args([
                "bud",
                "--quiet",
                "--isolation",
                "chroot",
                "--timestamp",
                "0",
            ])
            .args(["--tag", &name, "--file"])
            .args([&file, &context]),
    )?;
    eprintln!("built the image {name}");
    Ok(name)
}

/// Writes the image to a file that every container engine reads.
pub(super) fn save(name: &str, to: &Path) -> Result<()> {
    command::run(
        Command::new("buildah")
            .args(["push", "--quiet", name])
            .arg(format!("oci-archive:{}:{name}", to.display())),
    )
}
