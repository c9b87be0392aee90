//! Why the data path can't be loaded.

use std::{error::Error as StdError, io, path::PathBuf};

use aya::programs::ProgramError;
use redirector_common::abi::ABI_VERSION;
use thiserror::Error;

use super::super::{kernel::KernelError, maps::MapsError};
use crate::privileges;

/// The program could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A directory for pins can't be made.
    #[error(
        "cannot make {path} to pin the maps: {cause}; mount the BPF file system there \
         (mount -t bpf bpf /sys/fs/bpf) or choose another place with --pin-dir"
    )]
    PinDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The kernel refused for want of privileges.
    #[error(
        "the kernel does not let this process load BPF programs ({cause}): {}",
        advice(lacking)
    )]
    Privileges {
        /// The capabilities that are not there, by their names; none where something else is in the way, as in a user
        /// namespace.
        lacking: Vec<&'static str>,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The kernel refused the object.
    #[error("the kernel refuses the BPF object: {cause:#}")]
    Object {
        /// What aya says, with the verifier's log.
        cause: anyhow::Error,
    },
    /// Another version runs, and can't be gone on from.
    #[error(
        "the data path that runs is of version {number}, this one is of version {ABI_VERSION}, and connections can't be \
         carried over: {cause:#}. It goes on forwarding. Start an agent of its version again, or give its \
         connections up with `redirector run --replace`: those whose nodes are not the ones that the new tables \
         choose break"
    )]
    OtherVersion {
        /// Its version.
        number: u32,
        /// What is in the way.
        cause: anyhow::Error,
    },
    /// Pins can't be put where they belong.
    #[error("cannot pin the maps: {cause:#}")]
    Pins {
        /// Why.
        cause: anyhow::Error,
    },
    /// The kernel has no links for tc.
    #[error("this kernel has no links for tc, which came with Linux 6.6; set xdp-mode = \"auto\"")]
    NoTcx,
    /// An agent that runs has given up what loading takes.
    #[error(
        "programs for tc are loaded at a start: end the agent and start it again, which loses no packet"
    )]
    AfterStart,
    /// The kernel is too old.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A map is not as this agent knows it.
    #[error(transparent)]
    Maps(#[from] MapsError),
}

impl LoadError {
    /// The kernel's refusal, with what this thread lacks.
    pub(super) fn privileges(cause: io::Error) -> Self {
        Self::Privileges {
            lacking: privileges::lacking().unwrap_or_default(),
            cause,
        }
    }
}

fn advice(lacking: &[&str]) -> String {
    match lacking {
        [] => "run it as the host's root, in no user namespace".to_owned(),
        lacking => format!(
            "it lacks {}; give it what it lacks, or run it as root",
            lacking.join(" and ")
        ),
    }
}

/// What an error of aya means to the operator.
pub(in crate::datapath) fn classify(error: impl StdError + Send + Sync + 'static) -> LoadError {
    let lacking = privileges::lacking().unwrap_or_default();
    match refusal(&error, !lacking.is_empty()) {
        Some(cause) => LoadError::Privileges { lacking, cause },
        None => LoadError::Object {
            cause: error.into(),
        },
    }
}

/// The kernel's error, if it is that of a process which may not. The verifier refuses programs by the same error; but then
/// it says why, and if nothing is lacking that is what is wrong.
fn refusal(error: &(dyn StdError + 'static), lacks: bool) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(ProgramError::LoadError { verifier_log, .. }) = current.downcast_ref()
            && !lacks
            && !verifier_log.to_string().trim().is_empty()
        {
            return None;
        }
        if let Some(cause) = current.downcast_ref::<io::Error>()
            && cause.kind() == io::ErrorKind::PermissionDenied
        {
            let number = cause.raw_os_error();
            return Some(number.map_or(cause.kind().into(), io::Error::from_raw_os_error));
        }
        next = current.source();
    }
    None
}
