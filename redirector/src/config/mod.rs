//! The configuration file: from text to values that cannot be wrong.
//!
//! Reading goes in two stages. [`written`](self) has the right keys and types, each with its place in
//! the text; the [model](Config) is what the rest of the agent sees. Both collect what is wrong
//! instead of stopping at the first mistake, so that one run of `redirector check-config` shows all of
//! it; only a text that is no TOML at all is reported before anything else is looked at.
//!
//! **Architecture invariant:** nothing here looks at the network, nor at the host, so that the same text gives the same
//! result on every machine; whether an interface exists is asked where it is used, and so is what a node's name stands for.
//! The one exception is a file that is loaded for this host: then it may only name users and groups that are there, since
//! the place of a wrong name is known here.

// Foreign bytes are read below: nothing here may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod accounts;
mod check;
mod conflicts;
mod difference;
mod dns;
pub(crate) mod hash_key;
mod host;
mod http;
mod limits;
mod meaning;
mod model;
mod parents;
mod peer;
pub(crate) mod problem;
mod redirect;
mod section;
mod selection;
mod source;
pub(crate) mod suggest;
pub(crate) mod values;
mod words;
mod written;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use self::accounts::Accounts;
pub use self::check::{
    Associate, Canary, Check, CheckKind, DatagramCanary, Destination, Digest, Expect, Login,
    Method, Page, Script, Socks4, Socks5, Step, Tls, UpWhen,
};
pub use self::difference::{Difference, differences};
pub use self::dns::Dns;
pub use self::host::{Addresses, HostName, Known};
pub use self::model::{
    Config, Control, DEFAULT_PRIORITY, Delivery, DirectTcp, Failback, Flows, Http, Listen,
    MAX_PRIORITY, MAX_WEIGHT, Mode, Node, OnDown, Parent, Pool, Privileges, Protocol, Redirect,
    Sticky, Timing, Track, UdpAssociate, WhenEmpty, XdpMode,
};
pub use self::peer::Peer;
use self::problem::{Complaint, Findings};
pub use self::problem::{Problem, Problems};
pub use self::source::{
    Discovered, DiscoveredNodes, EndpointPort, Kubernetes, Readiness, Slices, Source, Standing,
};
pub(crate) use self::suggest::nearest;

/// Why no node can be at an address, whatever the configuration; nothing if one can.
pub(crate) fn usable(address: std::net::IpAddr) -> Result<(), String> {
    values::usable(address)
        .map(drop)
        .map_err(|complaint| complaint.message)
}

/// Whether a node can be called so.
pub(crate) fn is_name(text: &str) -> bool {
    values::name(text).is_ok()
}

/// Largest configuration file, in bytes.
const MAX_SIZE: u64 = 4 << 20;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{} is larger than {MAX_SIZE} bytes; is it a configuration file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text.
    #[error("{}:{line}: not UTF-8 text; is it a configuration file?", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Line of the first byte that is no text, from 1.
        line: usize,
    },
    /// The text is wrong.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl Config {
    /// Reads a configuration file for this host.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let read = || {
            let mut bytes = Vec::new();
            File::open(path)?
                .take(MAX_SIZE + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|cause| ConfigError::Read {
            path: path.into(),
            cause,
        })?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(ConfigError::TooLarge { path: path.into() });
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()]
                .split(|byte| *byte == b'\n')
                .count();
            ConfigError::NotText {
                path: path.into(),
                line,
            }
        })?;
        let name = path.display().to_string();
        Ok(Self::read(&name, text, Accounts::OfThisHost)?)
    }

    /// Reads a configuration for any host; `name` is how reports call the text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        Self::read(name, text, Accounts::Any)
    }

    fn read(name: &str, text: &str, accounts: Accounts) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                findings.add(
                    error.span().unwrap_or_default(),
                    Complaint::new(error.message()),
                );
            }
            return Err(Problems::new(name, text, findings));
        }
        let written = written::read(root.get_ref(), &mut findings);
        let config = meaning::mean(written, accounts, &mut findings);
        if findings.0.is_empty() {
            Ok(config)
        } else {
            Err(Problems::new(name, text, findings))
        }
    }
}
