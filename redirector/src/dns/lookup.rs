//! Asking name servers.
//!
//! By hickory-resolver, and not by the C library's `getaddrinfo`: that tells no time to live, asks nobody but the servers of
//! the host's resolv.conf, and occupies a thread for as long as it waits. It costs the build about 20 seconds once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::{Instant, timeout};

use super::book::{Answer, Part};
use crate::config::{Dns, HostName};
use crate::family::Family;
use crate::units::exact;

/// Most addresses of an answer that are looked at.
const MAX_ADDRESSES: usize = 256;

/// Longest reason that is passed on, in characters.
const MAX_REASON: usize = 200;

/// Looks a name up in these families. What the host's resolv.conf says is read each time, so that a change of it counts.
pub async fn look_up(dns: &Dns, host: &HostName, families: &BTreeSet<Family>) -> Answer {
    let resolver = match resolver(dns) {
        Ok(resolver) => resolver,
        Err(why) => {
            let failed = families
                .iter()
                .map(|family| (*family, Part::Failed(why.clone())));
            return failed.collect();
        }
    };
    let one = |family| {
        let resolver = &resolver;
        async move {
            if !families.contains(&family) {
                return None;
            }
            let part = timeout(dns.timeout, ask(resolver, host, family)).await;
            let part = part.unwrap_or_else(|_| Part::Failed(silence(dns)));
            Some((family, part))
        }
    };
    let (ipv4, ipv6) = tokio::join!(one(Family::V4), one(Family::V6));
    [ipv4, ipv6].into_iter().flatten().collect()
}

/// The records of the services of a name (RFC 2782), at least one, and for how long they hold.
pub(crate) async fn services(dns: &Dns, name: &HostName) -> Result<(Vec<RData>, Duration), String> {
    let resolver = resolver(dns)?;
    let asked = resolver.lookup(name.as_str(), RecordType::SRV);
    let lookup = timeout(dns.timeout, asked).await;
    let lookup = lookup
        .map_err(|_| silence(dns))?
        .map_err(|error| unanswered(error).unwrap_or_else(|| "it has no SRV record".to_owned()))?;
    let records = lookup.answers().iter().take(MAX_ADDRESSES);
    Ok((
        records.map(|record| record.data.clone()).collect(),
        holds(&lookup),
    ))
}

/// For how long an answer holds.
fn holds(lookup: &Lookup) -> Duration {
    let until = lookup.valid_until();
    until.saturating_duration_since(Instant::now().into_std())
}

fn silence(dns: &Dns) -> String {
    format!("no name server answered within {}", exact(dns.timeout))
}

fn resolver(dns: &Dns) -> Result<TokioResolver, String> {
    let (config, mut options) = if dns.servers.is_empty() {
        read_system_conf().map_err(|error| {
            let error = shown(&error.to_string());
            format!("the name servers of this host are not known (/etc/resolv.conf): {error}")
        })?
    } else {
        let servers = dns.servers.iter().map(|server| {
            let at_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port);
            NameServerConfig::new(server.ip(), true, ways.into())
        });
        (
            ResolverConfig::from_name_servers(servers.collect()),
            ResolverOpts::default(),
        )
    };
    // Twice within the time that there is: datagrams get lost.
    options.timeout = dns.timeout.mul_f64(0.45);
    options.attempts = 1;
    options.cache_size = 0;
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| shown(&error.to_string()))
}

async fn ask(resolver: &TokioResolver, host: &HostName, family: Family) -> Part {
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    match resolver.lookup(host.as_str(), kind).await {
        Ok(lookup) => {
            let records = lookup.answers().iter();
            let mut addresses: Vec<IpAddr> =
                records.filter_map(|record| address(&record.data)).collect();
            addresses.retain(|address| Family::of(*address) == family);
            addresses.truncate(MAX_ADDRESSES);
            if addresses.is_empty() {
                return Part::Nothing;
            }
            Part::Addresses {
                addresses,
                holds: holds(&lookup),
            }
        }
        Err(error) => unanswered(error).map_or(Part::Nothing, Part::Failed),
    }
}

/// Why nothing is known by an answer; none where it is known that there is nothing.
fn unanswered(error: NetError) -> Option<String> {
    if let NetError::Dns(
        DnsError::NoRecordsFound(NoRecords {
            response_code: code,
            ..
        })
        | DnsError::ResponseCode(code),
    ) = error
    {
        let is_nothing = code == ResponseCode::NoError;
        return (!is_nothing).then(|| refused(code));
    }
    Some(if let NetError::Proto(error) = error {
        format!("the answer makes no sense: {}", shown(&error.to_string()))
    } else if let NetError::Timeout = error {
        "no name server answered".to_owned()
    } else {
        shown(&error.to_string())
    })
}

fn address(data: &RData) -> Option<IpAddr> {
    if let RData::A(address) = data {
        return Some(address.0.into());
    }
    if let RData::AAAA(address) = data {
        return Some(address.0.into());
    }
    None
}

fn refused(code: ResponseCode) -> String {
    if code == ResponseCode::NXDomain {
        "there is no such name (NXDOMAIN)".to_owned()
    } else if code == ResponseCode::ServFail {
        "the name server failed (SERVFAIL)".to_owned()
    } else if code == ResponseCode::Refused {
        "the name server refused to answer (REFUSED)".to_owned()
    } else {
        format!("the name server answered {}", shown(&code.to_string()))
    }
}

/// Some of it may be a stranger's words.
fn shown(text: &str) -> String {
    let words = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    words.take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests;
