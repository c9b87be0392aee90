//! Where the agent and the BPF object are that a lab runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"),
        PathBuf::from,
    )
}

/// The agent.
///
/// # Errors
///
/// It has not been built.
pub(super) fn program() -> Result<PathBuf> {
    let path = std::env::var_os("REDIRECTOR_BIN").map_or_else(
        || target_directory().join("release/redirector"),
        PathBuf::from,
    );
    ensure!(
        path.is_file(),
        "there is no agent at {}; build it with `cargo xtask build` or name another in REDIRECTOR_BIN",
        path.display()
    );
    fs::canonicalize(&path).with_context(|| format!("can't resolve {}", path.display()))
}

/// The agent and the BPF object of another version, made by the feature `next-layout`.
///
/// # Errors
///
/// They have not been built.
pub(super) fn next_version() -> Result<(PathBuf, PathBuf)> {
    let directory = std::env::var_os("REDIRECTOR_NEXT")
        .map_or_else(|| target_directory().join("next"), PathBuf::from);
    let find = |name: &str| {
        let path = directory.join(name);
        fs::canonicalize(&path).with_context(|| {
            format!(
                "there is no {}; build it with `cargo xtask build --next` or name another directory in REDIRECTOR_NEXT",
                path.display()
            )
        })
    };
    Ok((find("redirector")?, find("redirector.o")?))
}

/// The BPF object; none when the agent has one inside, or finds its own.
pub(super) fn object() -> Option<PathBuf> {
    let path = std::env::var_os("REDIRECTOR_BPF_OBJECT").map_or_else(
        || target_directory().join("bpf/redirector.o"),
        PathBuf::from,
    );
    fs::canonicalize(path).ok()
}
