//! `[dns]`: how nodes' names are looked up.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use serde_spanned::Spanned;

use super::meaning::duration;
use super::problem::{Complaint, Findings};
use super::section::Section;
use super::values;

/// Bounds of `dns.interval`: no name is looked up more often than once in a second.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Bounds of `dns.timeout`.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// How nodes' names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The longest time from one look-up of a name to the next; an answer that says that it holds for less is asked for
    /// again as soon as it does not hold any more.
    pub interval: Duration,
    /// When a look-up without an answer has failed.
    pub timeout: Duration,
    /// Who is asked; the servers of the host's resolv.conf where there are none.
    pub servers: Vec<SocketAddr>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            servers: Vec::new(),
        }
    }
}

/// The section as written.
#[derive(Default)]
pub(super) struct Written {
    interval: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    servers: Option<Spanned<Vec<Spanned<String>>>>,
}

pub(super) fn read(mut section: Section<'_>, findings: &mut Findings) -> Written {
    let dns = Written {
        interval: section.text("interval", "\"30s\"", findings),
        timeout: section.text("timeout", "\"2s\"", findings),
        servers: section.texts("servers", "[\"10.0.0.53\"]", findings),
    };
    section.finish(findings);
    dns
}

pub(super) fn mean(written: Written, findings: &mut Findings) -> Dns {
    let Dns {
        interval, timeout, ..
    } = Dns::default();
    let mut servers: Vec<SocketAddr> = Vec::new();
    if let Some(list) = written.servers {
        let at = list.span();
        let list = list.into_inner();
        if list.is_empty() {
            let help = "leave it out to ask the servers of the host's resolv.conf";
            findings.add(at, Complaint::new("`servers` is empty").help(help));
        }
        for server in list {
            let Some(value) = findings.check(server.span(), values::server(server.get_ref()))
            else {
                continue;
            };
            if servers.contains(&value) {
                let complaint = Complaint::new(format!("server {value} is listed twice"));
                findings.add(server.span(), complaint.help("once is enough"));
            } else {
                servers.push(value);
            }
        }
    }
    Dns {
        interval: duration(
            "interval",
            written.interval.as_ref(),
            &INTERVAL,
            interval,
            findings,
        ),
        timeout: duration(
            "timeout",
            written.timeout.as_ref(),
            &TIMEOUT,
            timeout,
            findings,
        ),
        servers,
    }
}
