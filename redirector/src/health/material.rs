//! What checks need of this host besides sockets. It is read at each start and reload, so that a check never waits for
//! a file, and so that a mistake is told before anything has changed.

use thiserror::Error;

use super::script::{UserError, Users};
use super::secret::{SecretError, Secrets};
use super::tls::{TrustError, Trusts};
use crate::config::Config;

/// Passwords, trusted certificates, and users that scripts run as.
#[derive(Clone, Debug, Default)]
pub struct Material {
    pub(super) secrets: Secrets,
    pub(super) trusts: Trusts,
    pub(super) users: Users,
}

/// Why the checks of a configuration cannot be made on this host.
#[derive(Debug, Error)]
pub enum MaterialError {
    /// A password cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no such user.
    #[error(transparent)]
    User(#[from] UserError),
}

impl Material {
    /// Reads what the checks of a configuration need.
    ///
    /// # Errors
    /// [`MaterialError`] of the first thing that is missing.
    pub fn read(config: &Config) -> Result<Self, MaterialError> {
        Ok(Self {
            secrets: Secrets::read(config)?,
            trusts: Trusts::read(config)?,
            users: Users::find(config)?,
        })
    }
}
