//! The configuration as meant: values that cannot be wrong.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

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
}

/// How the data path is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, otherwise in the kernel's generic path.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic path.
    Generic,
}

/// The table of recorded connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// Most connections that are recorded at a time.
    pub max: u32,
    /// An established connection that was silent for so long is forgotten.
    pub session_timeout: Duration,
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
    /// The nodes, in the order of the file; at least one.
    pub nodes: Vec<Node>,
    /// How a node's health is observed.
    pub check: Check,
    /// When, and how often it must be seen.
    pub timing: Timing,
}

/// A Dante host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name, unique in the pool; the address where the file gives no name.
    pub name: String,
    /// Address, unique in the pool.
    pub address: Ipv4Addr,
    /// Share of the clients in relation to the other nodes' weights, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// Largest weight of a node.
pub const MAX_WEIGHT: u32 = 1000;

/// How a node's health is observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Check {
    /// By connecting to the port that clients are forwarded to.
    #[default]
    Tcp,
}

impl Check {
    /// The name in the configuration and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
        }
    }
}

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
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
        }
    }
}

/// A shared address and where its clients go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Name, unique among redirects.
    pub name: String,
    /// Where clients connect to; at least one, each used by no other redirect.
    pub listen: Vec<SocketAddrV4>,
    /// Index of the pool in [`Config::pools`].
    pub pool: usize,
    /// Port of the nodes, in the main and in the backup pool; not 0.
    pub port: u16,
    /// Index of the pool that is used when `pool` has no node that is up.
    pub backup: Option<usize>,
    /// What becomes of connections to a node whose check fails.
    pub on_down: OnDown,
    /// What becomes of a client's TCP to `port` of a node that avoids the shared address.
    pub direct_tcp: DirectTcp,
}

/// What becomes of the established connections of a node whose check fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// They stay while the node still answers clients, and are reset when it does not.
    #[default]
    Auto,
    /// They stay, whatever happens.
    Keep,
    /// They are reset at once.
    Reset,
}

/// What becomes of a client's TCP to a node that avoids the shared address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectTcp {
    /// It is dropped.
    #[default]
    Drop,
}
