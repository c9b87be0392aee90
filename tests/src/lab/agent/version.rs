//! Another agent than the one that was started first.

use anyhow::Result;
use redirector_common::abi::ABI_VERSION;

use super::Agent;
use crate::lab::programs::{next_version, object, program};

/// Versions of the data path's layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one of this workspace.
    This,
    /// One after it, which the feature `next-layout` makes.
    Next,
}

impl Version {
    /// The directory of its pins.
    pub fn directory(self) -> String {
        let number = match self {
            Self::This => ABI_VERSION,
            Self::Next => ABI_VERSION + 1,
        };
        format!("v{number}")
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::This => Self::Next,
            Self::Next => Self::This,
        }
    }
}

impl Agent {
    /// Makes the next start, and every command, that of this version.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn become_version(&mut self, version: Version) -> Result<()> {
        (self.program, self.object) = match version {
            Version::This => (program()?, object()),
            Version::Next => {
                let (program, object) = next_version()?;
                (program, Some(object))
            }
        };
        Ok(())
    }

    /// Gives every start from now on these arguments, too.
    pub fn run_with(&mut self, arguments: &[&str]) {
        self.more = arguments.iter().map(|&one| one.to_owned()).collect();
    }
}
