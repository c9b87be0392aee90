//! How a node's health is observed, as meant.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::health::glob::Glob;

pub(super) mod read;
mod service;
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
    /// Asks the host for an echo.
    Icmp,
    /// Connects and makes a TLS handshake.
    Tls(Tls),
    /// Asks for a page, by TLS or without.
    Http(Page),
    /// Connects, sends bytes and expects bytes.
    Exchange(Vec<Step>),
    /// Runs a program.
    Script(Script),
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
            CheckKind::Icmp => "icmp",
            CheckKind::Tls(_) => "tls",
            CheckKind::Http(Page { tls: None, .. }) => "http",
            CheckKind::Http(Page { tls: Some(_), .. }) => "https",
            CheckKind::Script(_) => "script",
            CheckKind::Exchange(_) => "send",
            CheckKind::Socks5(_) => "socks5",
            CheckKind::Socks4(_) => "socks4",
        }
    }

    /// Whether there must be a port to check.
    pub const fn needs_port(&self) -> bool {
        match self.kind {
            CheckKind::Icmp | CheckKind::Script(_) => false,
            CheckKind::Tcp
            | CheckKind::Tls(_)
            | CheckKind::Http(_)
            | CheckKind::Exchange(_)
            | CheckKind::Socks5(_)
            | CheckKind::Socks4(_) => true,
        }
    }

    /// How it speaks TLS, if it does.
    pub(crate) const fn tls(&self) -> Option<&Tls> {
        match &self.kind {
            CheckKind::Tls(tls) | CheckKind::Http(Page { tls: Some(tls), .. }) => Some(tls),
            CheckKind::Tcp
            | CheckKind::Icmp
            | CheckKind::Http(_)
            | CheckKind::Exchange(_)
            | CheckKind::Script(_)
            | CheckKind::Socks5(_)
            | CheckKind::Socks4(_) => None,
        }
    }

    /// The script that it runs, if it does.
    pub(crate) const fn script(&self) -> Option<&Script> {
        match &self.kind {
            CheckKind::Script(script) => Some(script),
            CheckKind::Tcp
            | CheckKind::Icmp
            | CheckKind::Tls(_)
            | CheckKind::Http(_)
            | CheckKind::Exchange(_)
            | CheckKind::Socks5(_)
            | CheckKind::Socks4(_) => None,
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
            | CheckKind::Icmp
            | CheckKind::Tls(_)
            | CheckKind::Http(_)
            | CheckKind::Exchange(_)
            | CheckKind::Script(_)
            | CheckKind::Socks5(_)
            | CheckKind::Socks4(_) => None,
        }
    }
}

/// A TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whether the certificate must be good: made by somebody trusted, for this name, and in its time.
    pub verify: bool,
    /// The name that is asked for and that the certificate must have; the node's address where there is none.
    pub server_name: Option<String>,
    /// The certificates to trust, in PEM; those of this host where there is no file.
    pub ca_file: Option<PathBuf>,
}

/// A page that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// How, over TLS.
    pub tls: Option<Tls>,
    /// The method.
    pub method: Method,
    /// The path; begins with `/`.
    pub path: String,
    /// What the server is called; the node's address where there is none.
    pub host: Option<String>,
    /// The status codes that are good; at least one range.
    pub codes: Vec<RangeInclusive<u16>>,
    /// The digest that the page must have.
    pub digest: Option<Digest>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            tls: None,
            method: Method::Head,
            path: "/".to_owned(),
            host: None,
            codes: vec![200..=399],
            digest: None,
        }
    }
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Without the page.
    Head,
    /// With it.
    Get,
}

impl Method {
    /// The word in the request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Get => "GET",
        }
    }
}

/// A digest of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// SHA-1, as relayd(8) has it.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

impl Digest {
    /// A digest from its hexadecimal digits, whose number tells the kind.
    pub fn parse(digits: &str) -> Option<Self> {
        let bytes = steps::hex("digest", digits).ok()?;
        let sha1 = <[u8; 20]>::try_from(bytes.as_slice()).map(Self::Sha1);
        let sha256 = || <[u8; 32]>::try_from(bytes.as_slice()).map(Self::Sha256);
        sha1.or_else(|_| sha256()).ok()
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }
}

/// A program whose exit code tells how a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Script {
    /// The program, by an absolute path, and its arguments.
    pub command: Vec<String>,
    /// Whom it runs as; somebody without privileges where there is none.
    pub user: Option<String>,
    /// Which exit codes mean that the node is up.
    pub up_when: UpWhen,
}

/// Which exit codes mean that a node is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpWhen {
    /// 0.
    #[default]
    Zero,
    /// Any other; relayd(8)'s scripts are like that.
    Positive,
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
