//! Hosts' names, and what they stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::conflicts::{self, Places};
use super::model::{Config, Node};
use super::problem::{Complaint, Findings};
use crate::family::Family;

/// Longest name of a host, in bytes (RFC 1035).
const MAX_NAME: usize = 253;

/// Longest part of a name between two dots, in bytes.
const MAX_LABEL: usize = 63;

/// The name of a host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Arc<str>);

impl HostName {
    /// The name that a text is; none where it cannot be one. What ends in a number is none, since it would be taken for
    /// an address (RFC 1123).
    pub fn new(text: &str) -> Option<Self> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last = bare.rsplit('.').next()?;
        let is_name = bare.len() <= MAX_NAME
            && bare.split('.').all(is_label)
            && !last.bytes().all(|byte| byte.is_ascii_digit());
        is_name.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("{text:?} is no host's name"))
    }
}

/// Addresses of a node: at most one of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The address of a family.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4.map(IpAddr::from),
            Family::V6 => self.ipv6.map(IpAddr::from),
        }
    }

    /// All of them, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ipv4 = self.ipv4.map(IpAddr::from);
        ipv4.into_iter().chain(self.ipv6.map(IpAddr::from))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The same with this one in place of another of its family.
    #[must_use]
    pub fn with(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self {
                ipv4: Some(address),
                ..self
            },
            IpAddr::V6(address) => Self {
                ipv6: Some(address),
                ..self
            },
        }
    }

    /// The same without those of other families.
    #[must_use]
    pub fn only(self, families: &BTreeSet<Family>) -> Self {
        let kept = self.iter();
        kept.filter(|address| families.contains(&Family::of(*address)))
            .collect()
    }
}

impl From<IpAddr> for Addresses {
    fn from(address: IpAddr) -> Self {
        Self::default().with(address)
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.iter().map(|address| address.to_string()).collect();
        f.pad(&all.join(" and "))
    }
}

/// What names stand for.
pub type Known = BTreeMap<HostName, Addresses>;

impl Node {
    /// Whether it is at this address.
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.addresses.of(Family::of(address)) == Some(address)
    }

    /// The name by which the hash knows it, where it has one that outlives its address.
    pub fn lasting_name(&self) -> Option<&HostName> {
        let standing = self.standing.as_ref();
        let lasting = standing.and_then(|standing| standing.lasting.as_ref());
        self.host.as_ref().or(lasting)
    }

    /// Whether it may be of a family, whatever its name will stand for.
    pub fn may_be(&self, family: Family) -> bool {
        self.host.is_some() || self.addresses.of(family).is_some()
    }
}

impl Config {
    /// The names of nodes that clients or checks may need, each with the families that they need.
    pub fn hosts(&self) -> BTreeMap<HostName, BTreeSet<Family>> {
        let mut hosts: BTreeMap<HostName, BTreeSet<Family>> = BTreeMap::new();
        for redirect in &self.redirects {
            let pools = std::iter::once(redirect.pool).chain(redirect.backup);
            for node in pools.flat_map(|pool| &self.pools[pool].nodes) {
                let parent = node
                    .parent
                    .map(|parent| &self.pools[parent.pool].nodes[parent.node]);
                for host in [Some(node), parent]
                    .into_iter()
                    .flatten()
                    .filter_map(|n| n.host.as_ref())
                {
                    hosts
                        .entry(host.clone())
                        .or_default()
                        .extend(redirect.families());
                }
            }
        }
        hosts
    }

    /// The same configuration where names stand for these addresses, and for nothing where there is none.
    #[must_use]
    pub fn with_addresses(&self, known: &Known) -> Self {
        let mut config = self.clone();
        for node in config.pools.iter_mut().flat_map(|pool| &mut pool.nodes) {
            if let Some(host) = &node.host {
                node.addresses = known.get(host).copied().unwrap_or_default();
            }
        }
        config
    }

    /// Why nodes cannot be where their names say that they are: what would be a mistake in the file, had it these addresses.
    pub fn clash(&self) -> Option<String> {
        let mut findings = Findings::default();
        for pool in &self.pools {
            for (index, node) in pool.nodes.iter().enumerate() {
                for address in node.addresses.iter() {
                    let mut others = pool.nodes[..index].iter();
                    if let Some(other) = others.find(|other| other.is_at(address)) {
                        let complaint = format!(
                            "{address} is in pool `{}` twice, as `{}` and as `{}`",
                            pool.name, other.name, node.name
                        );
                        findings.add(0..0, Complaint::new(complaint));
                    }
                }
            }
        }
        conflicts::find(self, &Places::nowhere(self), &mut findings);
        let first = findings.0.into_iter().next();
        first.map(|finding| finding.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        for (text, name) in [
            ("dante-1", Some("dante-1")),
            ("Dante-1.Example.NET", Some("dante-1.example.net")),
            ("dante_1.example.net.", Some("dante_1.example.net.")),
            ("3com", Some("3com")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("-a", None),
            ("a-.b", None),
            ("a b", None),
            ("a:1080", None),
            ("10.0.0.300", None),
            ("1.2.3", None),
            ("name.123", None),
            ("d\u{e4}nte", None),
        ] {
            assert_eq!(
                HostName::new(text).as_ref().map(HostName::as_str),
                name,
                "{text}"
            );
        }
        let label = "a".repeat(64);
        assert_eq!(HostName::new(&label), None);
        let long = vec!["a".repeat(63); 4].join(".");
        assert_eq!(HostName::new(&long), None, "{} bytes", long.len());
        assert!(HostName::new(&long[2..]).is_some());
    }
}
