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
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::{Serialize, de::DeserializeOwned};

/// Longest file that is read, in bytes.
const MAX_SIZE: u64 = 4 << 20;

/// Reads what was kept; none where nothing was. Whoever has had the directory may have put something else there: a pipe
/// that nobody writes to must not keep the agent waiting, and what has another name elsewhere is not its own.
///
/// # Errors
/// There is a file that does not hold it.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot open {shown}"))?,
    };
    let metadata = file.metadata();
    let metadata = metadata.with_context(|| format!("cannot look at {shown}"))?;
    ensure!(
        metadata.is_file() && metadata.nlink() == 1,
        "{shown} is no file of the agent's own (it is something else, or has another name too); remove it"
    );
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
    ensure!(
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
    let text = serde_json::to_vec_pretty(kept)?;
    let draft = draft_of(path);
    // One that was left is not written to: it may be a link.
    remove(&draft)?;
    let written = File::create_new(&draft).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    });
    written.with_context(|| format!("cannot write {}", draft.display()))
}

/// The file that takes the place of another once it is whole.
fn draft_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("redirector-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_draft_that_is_in_the_way_is_replaced_and_not_written_through() {
        let directory = Directory::new("kept-draft");
        let (kept, precious) = (directory.file("kept.json"), directory.file("precious"));
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, directory.file("kept.json.new")).unwrap();
        write(&kept, &7).unwrap();
        assert_eq!(read::<u32>(&kept).unwrap(), Some(7));
        fs::hard_link(&precious, directory.file("kept.json.new")).unwrap();
        write(&kept, &8).unwrap();
        assert_eq!(read::<u32>(&kept).unwrap(), Some(8));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        let left = fs::read_dir(&directory.0).unwrap().count();
        assert_eq!(left, 2, "no draft is left");
    }

    #[test]
    fn drafts_of_files_that_differ_by_their_extensions_differ_too() {
        let drafts = ["/run/kept.json", "/run/kept.text", "/run/kept"].map(Path::new);
        let drafts = drafts.map(draft_of);
        let expected = ["/run/kept.json.new", "/run/kept.text.new", "/run/kept.new"];
        assert_eq!(drafts, expected.map(PathBuf::from));
    }

    #[test]
    fn what_is_no_file_of_its_own_is_refused_without_waiting_for_it() {
        let directory = Directory::new("kept-other");
        let (kept, elsewhere) = (directory.file("kept.json"), directory.file("elsewhere"));
        fs::write(&elsewhere, "7").unwrap();
        let refused = || {
            let error = read::<u32>(&kept).unwrap_err();
            fs::remove_file(&kept).unwrap();
            let error = format!("{error:#}");
            assert!(error.contains("kept.json"), "{error}");
        };
        nix::unistd::mkfifo(&kept, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused();
        std::os::unix::fs::symlink(&elsewhere, &kept).unwrap();
        refused();
        fs::hard_link(&elsewhere, &kept).unwrap();
        refused();
        assert_eq!(read::<u32>(&kept).unwrap(), None);
    }
}
