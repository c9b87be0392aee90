//! Files in which an agent keeps something for the next one.

// Foreign bytes are read below: nothing here may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};

/// Longest file that is read, in bytes.
const MAX_SIZE: u64 = 4 << 20;

/// Reads what was kept; none where nothing was.
///
/// # Errors
/// There is a file that does not hold it.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let shown = path.display();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot open {shown}"))?,
    };
    let mut text = String::new();
    file.take(MAX_SIZE)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{shown} does not hold what an agent keeps; remove it"))
}

/// Refuses files of other versions.
///
/// # Errors
/// It is another one.
pub(super) fn require_version(path: &Path, version: u32, known: u32) -> anyhow::Result<()> {
    anyhow::ensure!(
        version == known,
        "{} is of version {version}, and this agent knows {known}; remove it",
        path.display()
    );
    Ok(())
}

/// Keeps something, all of it or what was there before.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn write(path: &Path, kept: &impl Serialize) -> anyhow::Result<()> {
    let draft = path.with_extension("json.new");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(())
}

/// Removes the file, if there is one.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
