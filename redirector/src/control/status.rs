//! What an agent tells about itself. These structures are also the `--json` output.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod peers;

pub use self::peers::{PeerCause, PeerState, PeerStatus};
use crate::discovery::Cause;
pub use crate::engine::OperatorState;
use crate::engine::Subject;
use crate::health::Health;

/// The state of an agent at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started, seconds since 1970.
    pub started: u64,
    /// When this was taken, seconds since 1970.
    pub at: u64,
    /// Counts the configurations that it has applied, from 1.
    pub generation: u64,
    /// The interfaces that the data path is attached to.
    pub interfaces: Vec<InterfaceStatus>,
    /// Configured interfaces that it is not attached to, because they are gone or refuse it.
    #[serde(default)]
    pub absent: Vec<String>,
    /// The redirects, with their pools and nodes.
    pub redirects: Vec<RedirectStatus>,
    /// Every counter of the data path, in the order of the documentation.
    pub counters: Vec<CounterStatus>,
    /// The table of recorded connections.
    pub flows: FlowsStatus,
    /// Other relays.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
    /// Who names the nodes of the pools whose nodes the file does not list.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
}

impl Status {
    /// Every node that is reached, main pool before backup pool.
    pub fn nodes(&self) -> impl Iterator<Item = (&RedirectStatus, &PoolStatus, &NodeStatus)> {
        self.redirects.iter().flat_map(|redirect| {
            redirect
                .pools()
                .flat_map(move |pool| pool.nodes.iter().map(move |node| (redirect, pool, node)))
        })
    }

    /// What keeps the relay from serving clients: it is not attached everywhere, or a redirect has no node that takes new
    /// connections.
    pub fn not_serving(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.interfaces.is_empty() {
            reasons.push("not attached to any interface".to_owned());
        } else if !self.absent.is_empty() {
            reasons.push(format!("not attached to {}", self.absent.join(", ")));
        }
        for peer in self.peers.iter().filter(|peer| peer.awaited) {
            let name = &peer.name;
            reasons.push(format!(
                "peer {name} was not heard yet, which knows the connections"
            ));
        }
        for redirect in &self.redirects {
            if redirect.pools().map(PoolStatus::available).sum::<usize>() == 0 {
                let (name, family) = (&redirect.name, &redirect.family);
                reasons.push(format!("redirect {name} ({family}) has no node that is up"));
            }
        }
        reasons
    }
}

/// An interface that the data path is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStatus {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub mode: String,
}

/// [`RedirectStatus::delivery`] by translation.
pub const FORWARD_TO: &str = "forward-to";
/// [`RedirectStatus::delivery`] as it came.
pub const ROUTE_TO: &str = "route-to";

/// A redirect, in one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RedirectStatus {
    /// Index of its slot table.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// `forward-to`, or `route-to` where nodes answer clients past the relay.
    pub delivery: String,
    /// By what new connections are given to nodes: `source-hash`, `random`, `round-robin` or `least-states`.
    pub mode: String,
    /// Whether every connection is recorded.
    pub tracks_all: bool,
    /// How many first bits of a client's address decide on its node in mode `source-hash`.
    pub sticky: u32,
    /// Where clients connect to.
    pub listen: Vec<String>,
    /// What it does now.
    pub state: RedirectState,
    /// What the operator says of the redirect itself.
    pub operator: OperatorState,
    /// Live UDP associations by way of its address; none where they go directly to the nodes.
    pub associations: Option<u64>,
    /// The main pool.
    pub pool: PoolStatus,
    /// The pool that stands in for it.
    pub backup: Option<PoolStatus>,
    /// Slots of its table.
    pub slots: u32,
    /// How many of them are split: their connections may live on several nodes.
    pub split_slots: u32,
    /// Counts the tables that it has had.
    pub generation: u32,
    /// Digest of its table: the same on another relay that sends every client to the same node. None before the
    /// first table.
    pub digest: Option<String>,
}

impl RedirectStatus {
    /// Whether its nodes' answers are seen.
    pub fn hears_nodes(&self) -> bool {
        self.delivery != ROUTE_TO
    }

    /// The main pool, then the backup.
    pub fn pools(&self) -> impl Iterator<Item = &PoolStatus> {
        std::iter::once(&self.pool).chain(&self.backup)
    }
}

/// What a redirect does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum RedirectState {
    /// New connections go to the main pool.
    #[serde(rename = "active")]
    Active,
    /// New connections go to the backup pool.
    #[serde(rename = "active (using backup table)")]
    ActiveBackup,
    /// No node can take a connection.
    #[serde(rename = "down")]
    Down,
    /// The operator lets no new connections in.
    #[serde(rename = "draining")]
    Draining,
    /// The operator has switched it off.
    #[serde(rename = "disabled")]
    Disabled,
}

impl fmt::Display for RedirectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::ActiveBackup => "active (using backup table)",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        })
    }
}

/// A pool as one redirect uses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Port of its nodes; none where clients' ports are kept.
    pub port: Option<u16>,
    /// What the operator says of the pool itself.
    pub operator: OperatorState,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

impl PoolStatus {
    /// Number of nodes that can take new connections.
    pub fn available(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_available()).count()
    }
}

/// A node as one redirect reaches it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Number of its backend in the data path; 0 when it has none.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its address and port; port 0 where clients' ports are kept. None while it is not known what its name stands for.
    #[schema(value_type = Option<String>)]
    pub address: Option<SocketAddr>,
    /// How its name was looked up; none where the configuration has its address.
    #[serde(default)]
    pub name_lookup: Option<NameStatus>,
    /// Its weight.
    pub weight: u32,
    /// Nodes of the highest priority take the clients.
    pub priority: u32,
    /// The node whose state it has, as POOL/NAME; none where it is checked itself.
    pub parent: Option<String>,
    /// What the checks say.
    pub health: Health,
    /// What the operator says: the strictest word about the node, its pool and the redirect; `draining` at least where the
    /// pool's source says that it ends or is not ready.
    pub operator: OperatorState,
    /// What the pool's source says of it: `ready`, `terminating` or `not-ready`; none where the file lists it.
    #[serde(default)]
    pub readiness: Option<String>,
    /// When its health last changed, seconds since 1970.
    pub since: u64,
    /// Share of checks that left it up, in percent; none before the first check.
    pub availability: Option<f64>,
    /// The last check; none before the first one.
    pub last_check: Option<CheckStatus>,
    /// Slots whose new connections it gets.
    pub slots: u32,
    /// How packets reach it; none while that is not known.
    pub next_hop: Option<NextHopStatus>,
    /// Recorded connections on it that are not over. In settled slots nothing is recorded.
    pub live: u64,
    /// What it was sent and has answered.
    pub traffic: Traffic,
    /// How long it takes to answer a SYN; none where none was timed, as by way of `route-to`.
    #[serde(default)]
    pub answers: Option<AnswersStatus>,
}

impl NodeStatus {
    /// Whether it can take new connections.
    pub fn is_available(&self) -> bool {
        self.health == Health::Up && self.operator == OperatorState::Enabled
    }
}

/// How the name of a node's host was looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NameStatus {
    /// The name.
    pub host: String,
    /// When it was last found to stand for the node's addresses, seconds since 1970; none before that was ever so.
    pub at: Option<u64>,
    /// Why the last look-up has failed; none if it has not. The node's address stays as it was meanwhile.
    pub error: Option<String>,
}

/// Who names the nodes of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// The pool.
    pub pool: String,
    /// `kubernetes` or `dns`.
    pub kind: String,
    /// Who it is.
    pub source: String,
    /// How many nodes the pool has.
    pub nodes: u64,
    /// When the source last said something that was believed, seconds since 1970; none before that was ever so. A cluster says
    /// something when something changes.
    pub at: Option<u64>,
    /// Why the nodes may be others than the source names; none if they are those. The last known ones stay meanwhile.
    pub error: Option<String>,
    /// What has to be mended then.
    pub cause: Option<Cause>,
    /// Since when that is so, seconds since 1970.
    pub since: Option<u64>,
    /// The namespace of a cluster.
    pub namespace: Option<String>,
    /// The file by which a cluster's API server is reached; none where that is a pod's service account.
    pub kubeconfig: Option<String>,
}

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckStatus {
    /// Kind of the check; where a pool has several, of the one that decided.
    pub check: String,
    /// Why it succeeded or failed, one of a few stable words such as `ok` or `refused`.
    #[serde(default)]
    pub cause: String,
    /// What it saw, for people.
    pub outcome: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// When it ended, seconds since 1970.
    pub at: u64,
}

/// How packets reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextHopStatus {
    /// The interface.
    pub interface: String,
    /// Address of the neighbour: the node itself, or a gateway.
    #[schema(value_type = String)]
    pub neighbour: IpAddr,
    /// Link-layer address of the neighbour, as `02:00:00:00:00:01`.
    pub mac: String,
}

/// What a node was sent and has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Packets sent to it.
    pub forward_packets: u64,
    /// Bytes sent to it.
    pub forward_bytes: u64,
    /// Packets that it answered.
    pub reply_packets: u64,
    /// Bytes that it answered.
    pub reply_bytes: u64,
    /// Attempts to connect.
    pub syns: u64,
    /// Attempts that it accepted.
    pub syn_acks: u64,
    /// Resets by the node: attempts that it refused, and connections that it gave up.
    pub resets: u64,
}

/// How long a node takes from a client's SYN to its SYN-ACK, as the relay sees it, of one in 16 new connections since the
/// data path began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswersStatus {
    /// How many were timed.
    pub timed: u64,
    /// Half of them were answered within so many microseconds; none where that is more than half a second.
    pub median_us: Option<u64>,
    /// 99 % of them, likewise.
    pub p99_us: Option<u64>,
}

/// A counter of the data path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CounterStatus {
    /// Its name.
    pub name: String,
    /// What it counts, in one sentence.
    pub meaning: String,
    /// Packets.
    pub packets: u64,
}

/// The table of recorded connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowsStatus {
    /// Connections that are recorded now.
    pub recorded: u64,
    /// Most that can be.
    pub max: u64,
}

/// Where a client goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The client.
    pub client: IpAddr,
    /// Where each redirect sends it.
    pub redirects: Vec<RedirectExplanation>,
}

/// Where one redirect sends a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectExplanation {
    /// The redirect.
    pub redirect: String,
    /// The client's slot in its table.
    pub slot: u32,
    /// By what new connections are given to nodes.
    pub mode: String,
    /// Name of the node that new connections go to; none when there is no node, or when the mode is not `source-hash`,
    /// and a node is chosen for each connection.
    pub now: Option<String>,
    /// Name of the node that connections that are not recorded live on.
    pub was: Option<String>,
    /// The slot's connections may live on several nodes.
    pub split: bool,
    /// The backend that the kernel has for new connections; none when there is no node.
    pub kernel: Option<KernelBackend>,
    /// Whether the kernel's slot and backend are as computed.
    pub agrees: bool,
    /// The client's recorded connections.
    pub recorded: Vec<RecordedFlow>,
    /// Why, in a sentence.
    pub reason: String,
}

/// A backend, as it is in the kernel at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelBackend {
    /// Its number.
    pub id: u32,
    /// Where packets are sent to; port 0 where clients' ports are kept.
    pub address: SocketAddr,
    /// Link-layer address that frames get.
    pub mac: String,
    /// The interface that they leave by.
    pub interface: String,
    /// Whether that way is known.
    pub reachable: bool,
    /// Whether it is given up.
    pub dead: bool,
}

/// A recorded connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFlow {
    /// The client's port.
    pub port: u16,
    /// Name of the node that it lives on.
    pub node: String,
    /// Seconds since a packet of it was seen.
    pub idle: u32,
}

/// How things stand with something that an operator has enabled, disabled or drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectStatus {
    /// What it is.
    #[serde(flatten)]
    pub subject: Subject,
    /// What the operator says of it.
    pub state: OperatorState,
    /// What he said before.
    pub before: OperatorState,
    /// When he said it, seconds since 1970; 0 where he never said anything.
    pub at: u64,
    /// When it becomes disabled, seconds since 1970.
    pub until: Option<u64>,
    /// Recorded connections that are not over.
    pub live: u64,
    /// Seconds since a packet of any of them was seen.
    pub idle: u32,
    /// Live UDP associations by way of the shared address.
    pub associations: u64,
    /// What he may not expect, for people.
    pub note: Option<String>,
}

impl SubjectStatus {
    /// Whether nothing lives on it that is known of.
    pub fn is_empty(&self) -> bool {
        self.live == 0 && self.associations == 0
    }
}
