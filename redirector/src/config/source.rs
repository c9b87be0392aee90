//! `[pool.NAME.kubernetes]` and `[pool.NAME.dns]`: pools whose nodes are named elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_spanned::Spanned;
use toml::de::DeValue;

use super::host::{Addresses, HostName};
use super::meaning::{choice, duration};
use super::model::{Config, DEFAULT_PRIORITY, Node, Redirect};
use super::problem::{Complaint, Findings};
use super::section::{Section, wrong_type};
use super::{values, words};
use crate::family::Family;

/// Bounds of `empty-grace`.
const EMPTY_GRACE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Longest label selector, in bytes.
const MAX_LABELS: usize = 1024;

/// Longest name of a namespace, a service or a port, in bytes (RFC 1123).
const MAX_LABEL: usize = 63;

/// Who names the nodes of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The `EndpointSlices` of a cluster.
    Kubernetes(Kubernetes),
    /// The records of a name: SRV where the name begins with `_`, addresses otherwise.
    Dns(HostName),
}

impl Source {
    /// The word for it in the file.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "kubernetes",
            Self::Dns(_) => "dns",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes(kubernetes) => kubernetes.fmt(f),
            Self::Dns(name) => write!(f, "dns {name}"),
        }
    }
}

/// Endpoints of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// The namespace that they are in.
    pub namespace: String,
    /// Which of its `EndpointSlices` count.
    pub slices: Slices,
    /// Only endpoints that have this port; any where there is none.
    pub port: Option<EndpointPort>,
    /// Only those of this family; of both where there is none.
    pub family: Option<Family>,
    /// How the API server is reached; as a pod of the cluster, or as `kubectl` does, where there is no file.
    pub kubeconfig: Option<PathBuf>,
    /// How long a list that is suddenly empty is not believed.
    pub empty_grace: Duration,
}

impl Kubernetes {
    /// The selector of labels that the API server is asked for.
    pub fn selector(&self) -> String {
        match &self.slices {
            Slices::Service(name) => format!("kubernetes.io/service-name={name}"),
            Slices::Labels(labels) => labels.clone(),
        }
    }
}

impl fmt::Display for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kubernetes {}/", self.namespace)?;
        match &self.slices {
            Slices::Service(name) => f.write_str(name)?,
            Slices::Labels(labels) => write!(f, "({labels})")?,
        }
        if let Some(port) = &self.port {
            write!(f, ":{port}")?;
        }
        match self.family {
            Some(family) => write!(f, " {family}"),
            None => Ok(()),
        }
    }
}

/// Which `EndpointSlices` of a namespace count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slices {
    /// Those of a service.
    Service(String),
    /// Those whose labels are selected by this.
    Labels(String),
}

/// A port of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointPort {
    /// By its number.
    Number(u16),
    /// By its name in the service.
    Name(String),
}

impl fmt::Display for EndpointPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => port.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// What a source says of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// It takes clients, as its health allows.
    #[default]
    Ready,
    /// It is ending: no new connections, established ones stay.
    Terminating,
    /// It is not ready: no new connections, established ones stay.
    NotReady,
}

impl Readiness {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Terminating => "terminating",
            Self::NotReady => "not-ready",
        }
    }
}

/// What a node is to the source that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the source says of it.
    pub readiness: Readiness,
    /// The name by which the hash knows it, where that outlives its address.
    pub lasting: Option<HostName>,
}

/// A node that a source names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discovered {
    /// Its name, unique in the pool.
    pub name: String,
    /// Where it is; at least one address, at most one of each family.
    pub addresses: Vec<std::net::IpAddr>,
    /// Its share.
    pub weight: u32,
    /// Nodes of the highest priority take the clients.
    pub priority: u32,
    /// Whether its name outlives its address.
    pub lasting: bool,
    /// The port that the source says; none where it says none.
    #[serde(default)]
    pub port: Option<u16>,
    /// What the source says of it.
    pub readiness: Readiness,
}

impl Discovered {
    /// One of the usual weight and priority that takes clients.
    pub fn new(name: String, addresses: Vec<std::net::IpAddr>) -> Self {
        Self {
            name,
            addresses,
            weight: 1,
            priority: DEFAULT_PRIORITY,
            lasting: false,
            port: None,
            readiness: Readiness::Ready,
        }
    }

    fn to_node(&self) -> Node {
        let lasting = self.lasting.then(|| HostName::new(&self.name)).flatten();
        Node {
            name: self.name.clone(),
            host: None,
            addresses: self.addresses.iter().copied().collect::<Addresses>(),
            weight: self.weight,
            priority: self.priority,
            check_port: None,
            check_ttl: None,
            parent: None,
            timing: None,
            standing: Some(Standing {
                readiness: self.readiness,
                lasting,
            }),
        }
    }
}

/// What sources name, by pool.
pub type DiscoveredNodes = BTreeMap<String, Vec<Discovered>>;

impl Config {
    /// The pools that have a source, each with the families that their redirects need.
    pub fn sources(&self) -> BTreeMap<String, (Source, BTreeSet<Family>)> {
        let mut sources = BTreeMap::new();
        for (index, pool) in self.pools.iter().enumerate() {
            let Some(source) = &pool.source else {
                continue;
            };
            let redirects = self.redirects.iter();
            let using = redirects.filter(|one| one.pool == index || one.backup == Some(index));
            let families: BTreeSet<Family> = using.flat_map(Redirect::families).collect();
            // Nobody has to be asked for what nobody uses.
            if !families.is_empty() {
                sources.insert(pool.name.clone(), (source.clone(), families));
            }
        }
        sources
    }

    /// The same configuration with these nodes in the pools that have a source, and none where none are given.
    #[must_use]
    pub fn with_discovered(&self, nodes: &DiscoveredNodes) -> Self {
        let mut config = self.clone();
        for pool in &mut config.pools {
            if pool.source.is_some() {
                let named = nodes.get(&pool.name).into_iter().flatten();
                pool.nodes = named.map(Discovered::to_node).collect();
            }
        }
        config
    }
}

/// The sections as written.
#[derive(Default)]
pub(super) struct Written {
    kubernetes: Option<Endpoints>,
    dns: Option<(Range<usize>, Option<Spanned<String>>)>,
}

struct Endpoints {
    at: Range<usize>,
    namespace: Option<Spanned<String>>,
    service: Option<Spanned<String>>,
    selector: Option<Spanned<String>>,
    port: Option<Spanned<Result<i64, String>>>,
    family: Option<Spanned<String>>,
    kubeconfig: Option<Spanned<String>>,
    empty_grace: Option<Spanned<String>>,
}

pub(super) fn read(pool: &str, section: &mut Section<'_>, findings: &mut Findings) -> Written {
    let kubernetes = format!("[pool.{pool}.kubernetes]");
    let kubernetes = section.section("kubernetes", kubernetes, findings);
    let dns = section.section("dns", format!("[pool.{pool}.dns]"), findings);
    Written {
        kubernetes: kubernetes.map(|section| endpoints(section, findings)),
        dns: dns.map(|mut section| {
            section.require("name", "name = \"_socks._tcp.example.net\"", findings);
            let name = section.text("name", "\"_socks._tcp.example.net\"", findings);
            let at = section.place();
            section.finish(findings);
            (at, name)
        }),
    }
}

fn endpoints(mut section: Section<'_>, findings: &mut Findings) -> Endpoints {
    section.require("namespace", "namespace = \"socks\"", findings);
    if !section.has("selector") {
        section.require("service", "service = \"dante\"", findings);
    }
    let port = section
        .value("port")
        .and_then(|value| match value.get_ref() {
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(0);
                Some(Spanned::new(value.span(), Ok(number)))
            }
            DeValue::String(name) => Some(Spanned::new(value.span(), Err(name.to_string()))),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                wrong_type(value, "port", "the number or the name of a port", findings);
                None
            }
        });
    let endpoints = Endpoints {
        at: section.place(),
        namespace: section.text("namespace", "\"socks\"", findings),
        service: section.text("service", "\"dante\"", findings),
        selector: section.text("selector", "\"app=dante\"", findings),
        port,
        family: section.text("family", "\"ipv4\"", findings),
        kubeconfig: section.text("kubeconfig", "\"/etc/redirector/kubeconfig\"", findings),
        empty_grace: section.text("empty-grace", "\"30s\"", findings),
    };
    section.finish(findings);
    endpoints
}

/// Who names the nodes of a pool; `nodes` is where the file lists them, if it does.
pub(super) fn mean(
    written: Written,
    nodes: Option<Range<usize>>,
    findings: &mut Findings,
) -> Option<Source> {
    let Written { kubernetes, dns } = written;
    let places = [
        nodes,
        kubernetes.as_ref().map(|written| written.at.clone()),
        dns.as_ref().map(|(at, _)| at.clone()),
    ];
    if let Some(second) = places.into_iter().flatten().nth(1) {
        let complaint = Complaint::new("a pool has one of `nodes`, `kubernetes` and `dns`");
        findings.add(second, complaint.help("make a pool of each"));
        return None;
    }
    let kubernetes = kubernetes.map(|written| Source::Kubernetes(cluster(written, findings)));
    kubernetes.or_else(|| {
        let name = dns?.1?;
        let host = HostName::new(name.get_ref()).ok_or_else(|| {
            Complaint::new(format!("{:?} is no name", name.get_ref()))
                .help("such as \"_socks._tcp.example.net\", or \"dante.example.net\"")
        });
        findings.check(name.span(), host).map(Source::Dns)
    })
}

fn cluster(written: Endpoints, findings: &mut Findings) -> Kubernetes {
    let mut named = |key: &str, text: Option<Spanned<String>>| {
        let text = text?;
        findings.check(text.span(), label(key, text.get_ref()))
    };
    let namespace = named("namespace", written.namespace).unwrap_or_default();
    let service = named("service", written.service);
    if let (Some(_), Some(selector)) = (&service, &written.selector) {
        let complaint = Complaint::new("there is either `service` or `selector`");
        let help = "a service's EndpointSlices have the label kubernetes.io/service-name";
        findings.add(selector.span(), complaint.help(help));
    }
    let labels = written
        .selector
        .and_then(|text| findings.check(text.span(), labels(text.get_ref())));
    let port = written.port.and_then(|port| {
        let meant = match port.get_ref() {
            Ok(number) => values::port("port", *number).map(EndpointPort::Number),
            Err(name) => label("port", name).map(EndpointPort::Name),
        };
        findings.check(port.span(), meant)
    });
    let kubeconfig = written.kubeconfig.and_then(|text| {
        let path = values::path("kubeconfig", text.get_ref());
        findings.check(text.span(), path)
    });
    Kubernetes {
        namespace,
        slices: match service {
            Some(service) => Slices::Service(service),
            None => Slices::Labels(labels.unwrap_or_default()),
        },
        port,
        family: choice("family", written.family, &words::FAMILIES, findings),
        kubeconfig,
        empty_grace: duration(
            "empty-grace",
            written.empty_grace.as_ref(),
            &EMPTY_GRACE,
            Duration::from_secs(30),
            findings,
        ),
    }
}

/// A name of Kubernetes: a label of RFC 1123.
fn label(key: &str, text: &str) -> Result<String, Complaint> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if !is_label {
        let complaint = Complaint::new(format!("`{key}` cannot be {text:?}"));
        return Err(complaint.help(format!(
            "it has 1 to {MAX_LABEL} lower-case letters, digits and hyphens"
        )));
    }
    Ok(text.to_owned())
}

fn labels(text: &str) -> Result<String, Complaint> {
    let allowed = |c: char| c.is_ascii_graphic() || c == ' ';
    if text.trim().is_empty() || text.len() > MAX_LABELS || !text.chars().all(allowed) {
        let complaint = Complaint::new(format!("`selector` cannot be {text:?}"));
        return Err(complaint.help("such as \"app=dante\" or \"app in (dante, sockd)\""));
    }
    Ok(text.to_owned())
}
