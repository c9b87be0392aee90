//! How a node's health is observed, as meant.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::health::glob::Glob;

pub(super) mod read;
mod steps;

/// One check of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is done.
    pub kind: CheckKind,
    /// Port of the node, where it is not the one that clients are forwarded to, nor the node's `check-port`.
    pub port: Option<u16>,
    /// How long it may take; [`super::Timing::timeout`] where it names none.
    pub timeout: Option<Duration>,
    /// A success that took longer counts as a failure.
    pub slow: Option<Duration>,
}

/// What a check does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// Connects.
    #[default]
    Tcp,
    /// Connects, sends bytes and expects bytes.
    Exchange(Vec<Step>),
    /// Speaks SOCKS 5.
    Socks5(Socks5),
    /// Speaks SOCKS 4, or 4A where the canary is a name.
    Socks4(Socks4),
}

impl Check {
    /// The name in the configuration, in logs and in metrics.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            CheckKind::Tcp => "tcp",
            CheckKind::Exchange(_) => "send",
            CheckKind::Socks5(_) => "socks5",
            CheckKind::Socks4(_) => "socks4",
        }
    }

    /// Whether there must be a port to check.
    pub const fn needs_port(&self) -> bool {
        match self.kind {
            CheckKind::Tcp
            | CheckKind::Exchange(_)
            | CheckKind::Socks5(_)
            | CheckKind::Socks4(_) => true,
        }
    }

    /// Where it is made, on a node whose `default` socket is this.
    pub fn address(&self, default: SocketAddr) -> SocketAddr {
        SocketAddr::new(default.ip(), self.port.unwrap_or(default.port()))
    }

    /// The file of the password that it needs.
    pub fn password_file(&self) -> Option<&PathBuf> {
        match &self.kind {
            CheckKind::Socks5(Socks5 {
                login: Some(login), ..
            }) => Some(&login.password_file),
            CheckKind::Tcp
            | CheckKind::Exchange(_)
            | CheckKind::Socks5(_)
            | CheckKind::Socks4(_) => None,
        }
    }
}

/// One turn of a conversation: what is sent, then what must come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Step {
    /// Bytes to send; empty for none.
    pub send: Vec<u8>,
    /// What must come; none where the next turn does not wait.
    pub expect: Option<Expect>,
}

/// What bytes must look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// All that has come matches this pattern.
    Text(Glob),
    /// What comes begins with these bytes.
    Bytes(Vec<u8>),
}

/// A conversation in SOCKS 5 (RFC 1928).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Socks5 {
    /// How to log in; no login is offered where there is none.
    pub login: Option<Login>,
    /// What the node must connect to.
    pub connect: Option<Canary>,
    /// Whether the node must grant a UDP association, and what must come back through it.
    pub associate: Option<Associate>,
}

/// A name and a password (RFC 1929).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The name, 1 to 255 bytes.
    pub username: String,
    /// The file that holds the password; its content is read at each start and reload and never shown.
    pub password_file: PathBuf,
}

/// Something behind the node that it must reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Canary {
    /// Where it is, as seen from the node.
    pub to: Destination,
    /// What is said with it; empty where being connected suffices.
    pub steps: Vec<Step>,
}

/// A UDP association.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Associate {
    /// Who answers datagrams; none where it suffices that the association is granted.
    pub canary: Option<DatagramCanary>,
}

/// Who answers datagrams behind the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DatagramCanary {
    /// Where it is, as seen from the node.
    pub to: Destination,
    /// The payload; a random one where there is none.
    pub send: Option<Vec<u8>>,
    /// What the answer must look like; the payload itself where there is none.
    pub expect: Option<Expect>,
}

/// A conversation in SOCKS 4.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Socks4 {
    /// The user to be, which is not proven; may be empty.
    pub username: String,
    /// What the node must connect to. IPv4, or a name.
    pub connect: Canary,
}

/// A socket as SOCKS names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// An address and a port.
    Socket(SocketAddr),
    /// A name that the node looks up, 1 to 255 bytes, and a port.
    Name(String, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => socket.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}
