//! What a pod is given to ask the API server with: the files of its service account, laid out and renewed as the kubelet does it.
//!
//! They are links through `..data`, which leads to a directory of its own for each state, so that all of them change at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{ApiServer, NAMESPACE, TOKEN};

/// A directory that is mounted where a pod expects its service account.
#[derive(Debug)]
pub struct ServiceAccount {
    directory: PathBuf,
    states: u32,
}

impl ServiceAccount {
    /// Writes the files of one that may ask `server`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write(server: &ApiServer, directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)
            .with_context(|| format!("can't make {}", directory.display()))?;
        let mut account = Self {
            directory,
            states: 0,
        };
        account.renew(&server.identity.authority, TOKEN)?;
        for file in ["ca.crt", "namespace", "token"] {
            symlink(Path::new("..data").join(file), account.directory.join(file))?;
        }
        Ok(account)
    }

    /// Gives it another token, and has the server refuse the one before.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn renew_token(&mut self, server: &ApiServer) -> Result<()> {
        let token = format!("token-{}", self.states);
        self.renew(&server.identity.authority, &token)?;
        server.shared.change(|cluster| {
            cluster.token = token;
            cluster.manner.breaks += 1;
        });
        Ok(())
    }

    fn renew(&mut self, authority: &str, token: &str) -> Result<()> {
        self.states += 1;
        let state = format!("..state-{}", self.states);
        let at = self.directory.join(&state);
        fs::create_dir(&at)?;
        for (file, text) in [
            ("ca.crt", authority),
            ("namespace", NAMESPACE),
            ("token", token),
        ] {
            fs::write(at.join(file), text)?;
        }
        let next = self.directory.join("..data_tmp");
        symlink(&state, &next)?;
        fs::rename(&next, self.directory.join("..data"))?;
        if self.states > 1 {
            fs::remove_dir_all(self.directory.join(format!("..state-{}", self.states - 1)))?;
        }
        Ok(())
    }
}
