//! Passwords of checks. They are read from their files at each start and reload; no log, report or `show` has them.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::Config;
use crate::secret::{self, Secret, SecretFileError};

/// Longest password, in bytes (RFC 1929).
const MAX_PASSWORD: usize = 255;

/// Why a password cannot be used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be used for a secret.
    #[error("password file: {0}")]
    File(#[from] SecretFileError),
    /// The file cannot be read.
    #[error("cannot read the password file {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The file holds no password.
    #[error(
        "{} holds no password of 1 to {MAX_PASSWORD} bytes; write it into the file as its only line",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
    },
}

/// The passwords of all checks, by file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(HashMap<PathBuf, Secret>);

impl Secrets {
    /// Reads the password of every check of a configuration.
    ///
    /// # Errors
    /// [`SecretError`] of the first file that has none.
    pub fn read(config: &Config) -> Result<Self, SecretError> {
        let mut secrets = HashMap::new();
        let checks = config.pools.iter().flat_map(|pool| pool.checks.iter());
        for path in checks.filter_map(|check| check.password_file()) {
            if !secrets.contains_key(path) {
                secrets.insert(path.clone(), read(path)?);
            }
        }
        Ok(Self(secrets))
    }

    /// The password in a file; none where no check of the configuration had it.
    pub fn get(&self, path: &Path) -> Option<&Secret> {
        self.0.get(path)
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let mut bytes = Vec::new();
    secret::open(path)?
        .take(MAX_PASSWORD as u64 + 3)
        .read_to_end(&mut bytes)
        .map_err(|cause| SecretError::Read {
            path: path.into(),
            cause,
        })?;
    // The end of the line belongs to the editor.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() || bytes.len() > MAX_PASSWORD || bytes.contains(&b'\n') {
        return Err(SecretError::Unusable { path: path.into() });
    }
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file_with(name: &str, content: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("redirector-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn the_only_line_of_the_file_is_the_password() {
        for (content, password) in [
            (&b"secret\n"[..], Some(&b"secret"[..])),
            (b"secret", Some(b"secret")),
            (b"with space \r\n", Some(b"with space ")),
            (b"", None),
            (b"\n", None),
            (b"two\nlines\n", None),
            (&[b'x'; 256], None),
        ] {
            let path = file_with("password", content);
            let read = read(&path);
            std::fs::remove_file(&path).unwrap();
            assert_eq!(read.as_ref().ok().map(Secret::bytes), password, "{read:?}");
        }
    }

    #[test]
    fn a_password_that_everybody_can_read_is_refused() {
        let path = file_with("exposed-password", b"secret\n");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(
            error.contains(&format!("chmod o= {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_named_and_no_password_is_shown() {
        let error = read(Path::new("/nonexistent/password")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/password"));
        let secrets = Secrets(HashMap::from([("/f".into(), Secret::new("hunter2"))]));
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }
}
