//! The files of the guest: tests, agent, Dante and what they call, each with its libraries.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::TESTS;
use crate::{command, test, workspace};

/// The guest's first process.
const INIT: &str = include_str!("guest.sh");

/// What the lab and the tests call, from wherever this machine has it. The shell is Debian's: that of busybox runs its own
/// programs in place of those that are asked for.
const PROGRAMS: [&str; 6] = [SHELL, "ip", "ethtool", "nft", "setpriv", "danted"];
const SHELL: &str = "dash";

/// Text files that libraries look into.
const USERS: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/shadow", "root:*:::::::\nnobody:*:::::::\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

/// Packs all that is the same on every kernel; what it gives are archives for [`super::machine`].
pub(super) fn build(home: &Path) -> Result<Vec<PathBuf>> {
    let tree = home.join("root");
    if tree.exists() {
        fs::remove_dir_all(&tree)
            .with_context(|| format!("could not remove {}", tree.display()))?;
    }
    for directory in ["bin", "etc", "proc", "sys", "dev", "run", "tmp", "tests"] {
        let made = tree.join(directory);
        fs::create_dir_all(&made)
            .with_context(|| format!("could not create {}", made.display()))?;
    }
    for (name, text) in USERS {
        write(&tree.join(name), text.as_bytes(), 0o644)?;
    }
    write(&tree.join("init"), INIT.as_bytes(), 0o755)?;
    let busybox = command::find("busybox").context("busybox has just been installed")?;
    copy(&busybox, &tree.join("bin/busybox"))?;

    let mut with_libraries = Vec::new();
    for program in PROGRAMS {
        let found = command::find(program)
            .with_context(|| format!("there is no {program} for the guest"))?;
        // At its own place, so that what calls it by its whole name finds it.
        let place = tree.join(found.strip_prefix("/").unwrap_or(&found));
        copy(&found, &place)?;
        if program == SHELL {
            symlink(&found, tree.join("bin/sh")).context("could not link the guest's shell")?;
        }
        with_libraries.push(found);
    }
    for (name, binary) in binaries()? {
        let place = tree.join("tests").join(name);
        command::run(Command::new("strip").arg("-o").args([&place, &binary]))?;
        with_libraries.push(binary);
    }
    copy(&workspace::bpf_object(), &tree.join("tests/redirector.o"))?;
    for library in command::libraries(&with_libraries)? {
        copy(
            &library,
            &tree.join(library.strip_prefix("/").unwrap_or(&library)),
        )?;
    }
    let packed = home.join("root.cpio");
    pack(&tree, &packed)?;
    fs::remove_dir_all(&tree).with_context(|| format!("could not remove {}", tree.display()))?;
    Ok(vec![packed])
}

/// The agent, and the programs of the tests that the guest runs.
fn binaries() -> Result<Vec<(&'static str, PathBuf)>> {
    let built = test::binaries(&TESTS, &["kernel", "lab"])?;
    let mut all = vec![("redirector", workspace::agent())];
    for name in TESTS {
        let binary = built
            .get(name)
            .with_context(|| format!("cargo did not say where the tests {name} are"))?;
        all.push((name, binary.clone()));
    }
    Ok(all)
}

/// Packs a tree as the kernel wants it (`newc`).
pub(super) fn pack(tree: &Path, packed: &Path) -> Result<()> {
    command::run(
        Command::new("sh")
            .args([
                "-c",
                "find . | busybox cpio --create --quiet --format=newc > \"$1\"",
                "sh",
            ])
            .arg(packed)
            .current_dir(tree),
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("could not read {}", from.display()))?;
    write(to, &bytes, 0o755)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("could not write {}", path.display()))
}
