//! A relayd.conf as it is written: what [`super::parser`] makes and [`super::meaning`] understands.

use std::fmt;

use super::sources::{At, Place};

pub(super) enum Statement {
    /// Seconds between checks.
    Interval(At<u32>),
    /// Milliseconds that a check may take.
    Timeout(At<u32>),
    Table(Table),
    Redirect(Redirect),
    /// Something that has no counterpart, and what to say about it.
    Other(Other),
}

pub(super) struct Other {
    pub(super) at: Place,
    /// What it is, as it is written.
    pub(super) what: String,
    pub(super) note: &'static str,
    /// Hosts are numbered through all tables that are forwarded to, this one's among them.
    pub(super) numbers_hosts: bool,
}

pub(super) struct Table {
    pub(super) name: At<String>,
    pub(super) disabled: bool,
    pub(super) hosts: Vec<Host>,
}

pub(super) struct Host {
    pub(super) address: At<String>,
    pub(super) retry: Option<At<u32>>,
    pub(super) parent: Option<At<u32>>,
    pub(super) ttl: Option<At<u32>>,
    pub(super) priority: Option<At<u32>>,
}

pub(super) struct Redirect {
    pub(super) name: At<String>,
    pub(super) listens: Vec<Listen>,
    pub(super) targets: Vec<Target>,
    pub(super) disabled: Option<Place>,
    pub(super) sticky: Option<Place>,
    pub(super) tag: Option<At<String>>,
    /// Seconds.
    pub(super) session_timeout: Option<At<u32>>,
}

pub(super) struct Listen {
    pub(super) address: At<String>,
    pub(super) protocol: At<Protocol>,
    /// First and last.
    pub(super) ports: At<(u16, u16)>,
    pub(super) interface: Option<At<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Other(String),
}

/// The value of `forward to` or `route to`.
pub(super) struct Target {
    pub(super) at: Place,
    pub(super) routes: bool,
    pub(super) table: At<String>,
    pub(super) port: Option<At<u16>>,
    pub(super) interface: Option<At<String>>,
    pub(super) check: Option<At<Check>>,
    /// Milliseconds.
    pub(super) timeout: Option<At<u32>>,
    /// Seconds.
    pub(super) interval: Option<At<u32>>,
    pub(super) demote: Option<At<String>>,
    pub(super) mode: Option<At<Mode>>,
    pub(super) key: Option<At<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    RoundRobin,
    Random,
    LeastStates,
    SourceHash,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RoundRobin => "roundrobin",
            Self::Random => "random",
            Self::LeastStates => "least-states",
            Self::SourceHash => "source-hash",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Icmp,
    Tcp,
    Tls,
    Http {
        tls: bool,
        path: String,
        host: Option<String>,
        expect: HttpExpect,
    },
    Send {
        /// Both texts are hexadecimal.
        binary: bool,
        /// None sends nothing.
        send: Option<String>,
        expect: String,
        tls: bool,
    },
    Script(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpExpect {
    Code(u16),
    /// MD5 or SHA-1 of the body, in hexadecimal.
    Digest(String),
}

impl fmt::Display for Check {
    /// As relayd.conf writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls_after = |tls: bool| if tls { " tls" } else { "" };
        match self {
            Self::Icmp => f.write_str("check icmp"),
            Self::Tcp => f.write_str("check tcp"),
            Self::Tls => f.write_str("check tls"),
            Self::Http {
                tls,
                path,
                host,
                expect,
            } => {
                let kind = if *tls { "https" } else { "http" };
                write!(f, "check {kind} \"{path}\"")?;
                if let Some(host) = host {
                    write!(f, " host \"{host}\"")?;
                }
                match expect {
                    HttpExpect::Code(code) => write!(f, " code {code}"),
                    HttpExpect::Digest(digest) => write!(f, " digest \"{digest}\""),
                }
            }
            Self::Send {
                binary,
                send,
                expect,
                tls,
            } => {
                let binary = if *binary { "binary " } else { "" };
                write!(f, "check {binary}send ")?;
                match send {
                    None => f.write_str("nothing")?,
                    Some(send) => write!(f, "\"{send}\"")?,
                }
                write!(f, " expect \"{expect}\"{}", tls_after(*tls))
            }
            Self::Script(path) => write!(f, "check script \"{path}\""),
        }
    }
}
