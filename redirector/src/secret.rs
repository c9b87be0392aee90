//! Secrets, such as passwords of checks and the token of the HTTP server, and the files that they come from.

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

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A secret. It can be used, not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes care of it.
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes as they go over the wire.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// What everybody may do with a file.
const OTHERS: u32 = 0o007;

/// Why a file is not good for a secret.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// It cannot be opened.
    #[error("cannot read {}: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// It is something else, which may have no end, or none to read from.
    #[error("{} is no file; a secret must be in one", .0.display())]
    NotAFile(PathBuf),
    /// Everybody can read or write it.
    #[error("{path} can be used by everybody; take that away: chmod o= {path}", path = .0.display())]
    Exposed(PathBuf),
}

/// Opens a file that only its owner and its group can use.
///
/// # Errors
/// [`SecretFileError`]
pub(crate) fn open(path: &Path) -> Result<File, SecretFileError> {
    let failed = |cause| SecretFileError::Open {
        path: path.to_owned(),
        cause,
    };
    // A pipe that nobody writes to would keep us waiting.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotAFile(path.to_owned()));
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(SecretFileError::Exposed(path.to_owned()));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Kept(PathBuf);

    impl Kept {
        fn with_mode(name: &str, mode: u32) -> Self {
            let path =
                std::env::temp_dir().join(format!("redirector-{name}-{}", std::process::id()));
            fs::write(&path, "hunter2").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Self(path)
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(...)");
    }

    #[test]
    fn owner_and_group_may_have_it_and_everybody_may_not() {
        for mode in [0o600, 0o640, 0o660, 0o400, 0o440] {
            let kept = Kept::with_mode("kept", mode);
            let mut text = String::new();
            open(&kept.0).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "hunter2", "{mode:o}");
        }
        for mode in [0o604, 0o602, 0o601, 0o644, 0o646, 0o666] {
            let kept = Kept::with_mode("exposed", mode);
            let error = open(&kept.0).unwrap_err();
            assert!(
                matches!(error, SecretFileError::Exposed(_)),
                "{mode:o}: {error}"
            );
            let command = format!("chmod o= {}", kept.0.display());
            assert!(error.to_string().contains(&command), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_it() {
        let path = std::env::temp_dir().join(format!("redirector-pipe-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = open(&path).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(matches!(error, SecretFileError::NotAFile(_)), "{error}");
        assert!(matches!(
            open(Path::new("/")),
            Err(SecretFileError::NotAFile(_))
        ));
        let error = open(Path::new("/nonexistent/secret")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/secret"), "{error}");
    }
}
