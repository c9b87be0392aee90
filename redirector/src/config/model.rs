//! The configuration as meant: values that cannot be wrong.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redirector_common::wire::protocol;

use super::check::Check;
use super::dns::Dns;
use super::host::{Addresses, HostName};
use super::peer::Peer;
use super::source::{Source, Standing};
use crate::family::Family;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Interfaces that the data path is attached to; at least one, no two alike.
    pub interfaces: Vec<String>,
    /// How it is attached.
    pub xdp_mode: XdpMode,
    /// Key of the client hash; `None` when the relay may choose its own.
    pub hash_key: Option<[u64; 2]>,
    /// The table of recorded connections.
    pub flows: Flows,
    /// Pools, in the order of the file.
    pub pools: Vec<Pool>,
    /// Redirects, in the order of the file; at least one.
    pub redirects: Vec<Redirect>,
    /// The HTTP server; none unless it is asked for.
    pub http: Option<Http>,
    /// Other relays, in the order of the file.
    pub peers: Vec<Peer>,
    /// How nodes' names are looked up.
    pub dns: Dns,
    /// Whom the agent runs as.
    pub privileges: Privileges,
    /// Who may speak with it.
    pub control: Control,
}

/// Whom the agent runs as once it has started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// This user; whoever started it where there is none.
    pub user: Option<String>,
    /// This group; that of the user where there is none.
    pub group: Option<String>,
}

/// Who may speak with the agent by its control socket, beside its own user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The members of this group.
    pub socket_group: Option<String>,
}

/// Metrics, status page and API by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; the port is not 0.
    pub listen: SocketAddr,
    /// Names that browsers may call it by, in lower case, beside its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// File with the token that allows operators' actions; without one there are none.
    pub token_file: Option<PathBuf>,
}

/// How the data path is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// On a veth by tc, elsewhere in the driver; where that cannot be, by tc, or at last in the kernel's generic path.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic path.
    Generic,
    /// Behind that, by tc.
    Tc,
}

/// The table of recorded connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// Most connections that are recorded at a time.
    pub max: u32,
    /// An established connection that was silent for so long is forgotten.
    pub session_timeout: Duration,
    /// A flow of datagrams that was silent for so long is forgotten.
    pub udp_timeout: Duration,
    /// How long a client may take to complete a handshake.
    pub handshake_timeout: Duration,
    /// A connection that is being closed is forgotten when it was silent for so long.
    pub closing_timeout: Duration,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            max: redirector_common::abi::DEFAULT_FLOWS,
            session_timeout: Duration::from_secs(24 * 60 * 60),
            udp_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(60),
            closing_timeout: Duration::from_secs(90),
        }
    }
}

/// Nodes that can stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name, unique among pools.
    pub name: String,
    /// Who names its nodes; the file where there is none.
    pub source: Option<Source>,
    /// The nodes, in the order of the file, at least one; or those that the source names, as far as that is known.
    pub nodes: Vec<Node>,
    /// How a node's health is observed; at least one, all of which must succeed.
    pub checks: Arc<[Check]>,
    /// When, and how often it must be seen.
    pub timing: Timing,
    /// So many nodes of a priority must be up for it to take the clients; at least 1.
    pub min_active: u32,
    /// When clients go back to a higher priority.
    pub failback: Failback,
    /// How long a node that comes up takes to get its whole share; zero: it gets it at once.
    pub slow_start: Duration,
}

/// When clients go back to a higher priority whose nodes are up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failback {
    /// At once.
    #[default]
    Auto,
    /// When the priority that has them has too few nodes left.
    Never,
}

impl Pool {
    /// Whether the pool alone tells which ports are checked.
    pub fn names_its_ports(&self) -> bool {
        let mut checks = self.checks.iter();
        let mut nodes = self.nodes.iter();
        checks.all(|check| check.port.is_some() || !check.needs_port())
            || nodes.all(|node| node.check_port.is_some() || node.parent.is_some())
    }
}

/// A Dante host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name, unique in the pool; the address as written where the file gives no name.
    pub name: String,
    /// The host's name, where the file has one in place of an address; unique in the pool.
    pub host: Option<HostName>,
    /// Where it is: the address of the file, or what its host's name stands for as far as that is known. Each is unique in
    /// the pool.
    pub addresses: Addresses,
    /// Share of the clients in relation to the other nodes' weights, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Nodes of the highest priority take the clients; at most [`MAX_PRIORITY`].
    pub priority: u32,
    /// Port that is checked where a check names none; the one that clients are forwarded to where there is none.
    pub check_port: Option<u16>,
    /// How many hops the packets of its checks live (IP TTL, hop limit).
    pub check_ttl: Option<u8>,
    /// The node whose state it has, in place of checks of its own.
    pub parent: Option<Parent>,
    /// When it is checked, where that is not as [`Pool::timing`] says.
    pub timing: Option<Timing>,
    /// What it is to the pool's source; none where the file lists it.
    pub standing: Option<Standing>,
}

/// A node that has the state of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Index of that node's pool in [`Config::pools`].
    pub pool: usize,
    /// Its index in [`Pool::nodes`]; it has no parent itself.
    pub node: usize,
}

/// Priority of a node that names none.
pub const DEFAULT_PRIORITY: u32 = 100;

/// Highest priority of a node.
pub const MAX_PRIORITY: u32 = 255;

/// Largest weight of a node.
pub const MAX_WEIGHT: u32 = 1000;

/// When nodes are checked, and how many results it takes to believe them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// When a check without an answer has failed; never longer than `interval`.
    pub timeout: Duration,
    /// Successes in a row that bring a node up; at least 1.
    pub rise: u32,
    /// Failures in a row that take a node down; at least 1.
    pub fall: u32,
    /// From one check to the next while the last results contradict what is believed of a node; never longer than
    /// `interval`. A fifth of it where there is none, and never shorter than `timeout`.
    pub fast_interval: Option<Duration>,
    /// By how much an interval may differ from itself, at random, in percent.
    pub jitter: u8,
}

impl Timing {
    /// From the start of one check to the start of the next.
    pub fn pace(&self, undecided: bool) -> Duration {
        if !undecided {
            return self.interval;
        }
        let fast = self
            .fast_interval
            .unwrap_or_else(|| (self.interval / 5).max(self.timeout));
        fast.min(self.interval)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            fast_interval: None,
            jitter: 0,
        }
    }
}

/// A shared address and where its clients go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Name, unique among redirects.
    pub name: String,
    /// Where clients connect to; at least one, each used by no other redirect.
    pub listen: Vec<Listen>,
    /// Which transport protocols.
    pub protocol: Protocol,
    /// Index of the pool in [`Config::pools`].
    pub pool: usize,
    /// How packets come to the nodes.
    pub delivery: Delivery,
    /// Port of the nodes, in the main and in the backup pool; `None` where each client's port is kept.
    pub port: Option<u16>,
    /// Port of the nodes that is checked, where a check names no other; not 0.
    pub check_port: u16,
    /// Index of the pool that is used when `pool` has no node that is up.
    pub backup: Option<usize>,
    /// By what new connections are given to nodes.
    pub mode: Mode,
    /// Which connections are recorded.
    pub track: Track,
    /// How much of a client's address the hash takes.
    pub sticky: Sticky,
    /// What becomes of connections to a node whose check fails.
    pub on_down: OnDown,
    /// What becomes of packets that no node takes.
    pub when_empty: WhenEmpty,
    /// How the datagrams of UDP ASSOCIATE go.
    pub udp_associate: UdpAssociate,
    /// What becomes of a client's TCP to a node that avoids the shared address.
    pub direct_tcp: DirectTcp,
}

impl Redirect {
    /// The families that it listens in.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        let listens = |family| {
            let mut listen = self.listen.iter();
            listen.any(move |listen| Family::of(listen.address) == family)
        };
        Family::BOTH
            .into_iter()
            .filter(move |family| listens(*family))
    }

    /// Whether every connection is recorded. In all modes but one only its record tells where a connection is.
    pub fn tracks_all(&self) -> bool {
        self.track == Track::All || self.mode != Mode::SourceHash
    }

    /// The socket of a node at `address` as the data path knows it; port 0 where ports are kept.
    pub fn socket(&self, address: IpAddr) -> SocketAddr {
        (address, self.port.unwrap_or(0)).into()
    }

    /// The socket of a node at `address` that checks without a port of their own look at.
    pub fn checked_socket(&self, node: &Node, address: IpAddr) -> SocketAddr {
        (address, node.check_port.unwrap_or(self.check_port)).into()
    }
}

/// An address and ports that a redirect listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// The address.
    pub address: IpAddr,
    /// The first port, 0 for every port.
    pub first: u16,
    /// The last port, 0 for every port.
    pub last: u16,
}

impl Listen {
    /// Whether it stands for every port of its address.
    pub const fn is_every_port(&self) -> bool {
        self.first == 0
    }

    /// Its ports; 0 alone stands for every port.
    pub fn ports(&self) -> impl ExactSizeIterator<Item = u16> + use<> {
        self.first..=self.last
    }
}

impl From<SocketAddr> for Listen {
    fn from(socket: SocketAddr) -> Self {
        Self {
            address: socket.ip(),
            first: socket.port(),
            last: socket.port(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_every_port() {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}", SocketAddr::from((self.address, self.first)))?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

/// Which transport protocols a redirect takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// Both, each with the same ports.
    Both,
}

impl Protocol {
    /// IP protocol numbers.
    pub const fn numbers(self) -> &'static [u8] {
        match self {
            Self::Tcp => &[protocol::TCP],
            Self::Udp => &[protocol::UDP],
            Self::Both => &[protocol::TCP, protocol::UDP],
        }
    }
}

/// How packets come to the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Their destination becomes the node (`forward-to`); answers come back by way of the relay.
    #[default]
    Translate,
    /// As they are, in frames for the node, which holds the shared address and answers clients itself (`route-to`).
    Route,
}

/// How the datagrams of UDP ASSOCIATE go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpAssociate {
    /// From the client to the node's own address; the relay leaves them alone.
    #[default]
    Direct,
    /// By way of the shared address.
    Shared,
}

/// By what new connections are given to nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By a keyed hash of the client's address: a client stays at its node.
    #[default]
    SourceHash,
    /// At random.
    Random,
    /// In turn.
    RoundRobin,
    /// To the node with fewer live connections, of two that are drawn at random.
    LeastStates,
}

impl Mode {
    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SourceHash => "source-hash",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::LeastStates => "least-states",
        }
    }
}

/// Which connections are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Track {
    /// Those that could be lost otherwise.
    #[default]
    Auto,
    /// All.
    All,
}

/// How much of a client's address the hash takes: clients that agree in so many first bits go to the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Bits of an IPv4 address, 1 to 32.
    pub ipv4: u32,
    /// Bits of an IPv6 address, 1 to 128.
    pub ipv6: u32,
}

impl Default for Sticky {
    fn default() -> Self {
        Self {
            ipv4: 32,
            ipv6: 128,
        }
    }
}

impl Sticky {
    /// The bits of an address.
    pub const fn length(self, family: Family) -> u32 {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// The bits that the hash ignores, as [`redirector_common::abi::SlotTable::ignored`] has them.
    pub fn ignored(self, family: Family) -> [u64; 2] {
        match family {
            Family::V4 => [u64::from(u32::MAX.unbounded_shr(self.ipv4)), 0],
            Family::V6 => {
                let ignored = u128::MAX.unbounded_shr(self.ipv6);
                let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
                [half(ignored >> 64), half(ignored)]
            }
        }
    }
}

/// What becomes of the established connections of a node whose check fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDown {
    /// They stay while the node still answers clients, and are reset when it does not.
    #[default]
    Auto,
    /// They stay, whatever happens.
    Keep,
    /// They are reset at once.
    Reset,
}

/// What becomes of packets that no node takes, neither of the pool nor of the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Their sender is told so at once, as with relayd: by a reset in TCP, by ICMP "port unreachable" in UDP.
    #[default]
    Reset,
    /// They are dropped, and their sender waits.
    Drop,
}

/// What becomes of a client's TCP to a node that avoids the shared address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectTcp {
    /// It is dropped.
    #[default]
    Drop,
    /// It passes, and so do its answers.
    Allow,
}
