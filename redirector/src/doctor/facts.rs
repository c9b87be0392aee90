//! What is known about this host: plain data, gathered in one place and judged in another.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Addresses, XdpMode};
use crate::control::status::PeerCause;
use crate::discovery::Failure;
use crate::family::Family;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// Where maps and links are pinned.
    pub pins: Pins,
    /// Names of the capabilities that loading and attaching need and this process lacks.
    pub lacks: Vec<&'static str>,
    /// Whether an agent runs, and what was heard of it.
    pub agent: Agent,
    /// How the data path is to be attached.
    pub xdp_mode: XdpMode,
    /// The interfaces that the redirector serves.
    pub interfaces: Vec<Interface>,
    /// Whether the kernel forwards, in the families that are served; none where it does not tell.
    pub forwarding: BTreeMap<Family, Option<bool>>,
    /// The shared addresses.
    pub shared: Vec<Shared>,
    /// The names of nodes' hosts.
    pub names: Vec<Name>,
    /// Who names the nodes of pools whose nodes the file does not list.
    pub sources: Vec<Source>,
    /// Other relays.
    pub peers: Vec<Peer>,
    /// The nodes, but for those of which nobody knows where they are.
    pub nodes: Vec<Node>,
}

/// The name of a node's host.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name.
    pub host: String,
    /// What a look-up just now found, or why it failed; by a running agent's last one where there is no configuration.
    pub found: Result<Addresses, String>,
    /// What a running agent takes it to stand for.
    pub used: Option<Addresses>,
}

/// Who names the nodes of a pool.
#[derive(Clone, Debug)]
pub struct Source {
    /// The pool.
    pub pool: String,
    /// The source in words.
    pub source: String,
    /// The cluster, where it is one.
    pub cluster: Option<Cluster>,
    /// How many nodes the pool has of it.
    pub nodes: u64,
    /// Whose word that is.
    pub word: Word,
    /// Why it does not tell its nodes; none if it does.
    pub failure: Option<Failure>,
}

/// A cluster that names nodes.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The namespace of its `EndpointSlices`.
    pub namespace: String,
    /// How the API server is reached; as a pod where there is no file.
    pub kubeconfig: Option<String>,
}

/// Whose word it is what a source says.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// It was asked just now.
    Own,
    /// That of a running agent.
    Agents {
        /// How long it has failed.
        since: Option<Duration>,
        /// How long ago something was believed that it said.
        confirmed: Option<Duration>,
    },
}

/// Another relay.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// How often; 0 where that is not known.
    pub interval: Duration,
    /// What it tells, or why nothing; none before it could.
    pub told: Option<Result<Heard, Silent>>,
}

/// What is known by what a peer tells.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// How old that is; none where it was asked just now.
    pub age: Option<Duration>,
    /// How long its answer took.
    pub took: Duration,
    /// Nodes that it has and this relay does not know.
    pub unknown_nodes: Vec<SocketAddr>,
    /// Redirects whose new connections it sends elsewhere, or that only one of both has.
    pub differing: Vec<String>,
    /// Slots of which each knows another thing.
    pub conflicts: u64,
    /// Recorded connections that there is no room for.
    pub left_out: u64,
}

/// Why a peer tells nothing.
#[derive(Clone, Debug)]
pub struct Silent {
    /// What has to be mended.
    pub cause: PeerCause,
    /// For people.
    pub why: String,
    /// How long ago it was heard last.
    pub heard: Option<Duration>,
}

/// The kernel.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// Why it is not new enough, if it is not.
    pub too_old: Option<String>,
    /// Whether it takes frames in several buffers (6.18).
    pub frags: bool,
    /// Whether it has links for tc (6.6).
    pub tcx: bool,
    /// Whether it has type information about itself.
    pub btf: bool,
    /// `net.core.bpf_jit_enable`; none where it cannot be read.
    pub jit: Option<bool>,
}

/// Where maps and links are pinned.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// The directory.
    pub directory: PathBuf,
    /// Whether it, or the nearest directory above it that exists, is in a BPF file system.
    pub in_bpf_fs: bool,
}

/// Whether an agent runs.
#[derive(Clone, Debug, Default)]
pub enum Agent {
    /// None.
    #[default]
    Absent,
    /// There is one; the interfaces that it is attached to, with `native`, `generic` or `tc`.
    Running(BTreeMap<String, String>),
    /// Something listens on its socket and cannot be asked; why.
    Mute(String),
}

/// An interface that the redirector serves.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// None when there is no such interface.
    pub state: Option<InterfaceState>,
}

/// What an interface is like.
#[derive(Clone, Debug, Default)]
pub struct InterfaceState {
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether it has an Ethernet address.
    pub ethernet: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Kind of a virtual interface, such as `veth`.
    pub kind: Option<String>,
    /// Offloads that are on, by ethtool's names, such as `rx-gro`; none where the kernel does not tell.
    pub offloads: Option<Vec<String>>,
    /// Queues for receiving: how many there are and could be.
    pub queues: Option<(u32, u32)>,
    /// What the driver's XDP can; none where the kernel does not tell (before 6.3).
    pub xdp: Option<XdpAbilities>,
    /// Effective `rp_filter`: the larger of its own and that of `all`.
    pub rp_filter: u32,
    /// Effective `arp_ignore`, likewise.
    pub arp_ignore: u32,
}

impl InterfaceState {
    /// Whether an offload is on.
    pub fn has(&self, offload: &str) -> bool {
        self.offloads
            .as_ref()
            .is_some_and(|offloads| offloads.iter().any(|on| on == offload))
    }
}

/// What a driver's XDP can do.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what the driver says of one ability"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpAbilities {
    /// Run programs at all.
    pub basic: bool,
    /// Send a frame on by another interface.
    pub redirect: bool,
    /// Take frames that another interface sends on.
    pub accepts_redirected: bool,
    /// Frames in several buffers.
    pub frags: bool,
}

/// A shared address.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The address.
    pub address: IpAddr,
    /// The interface that has it, if this host does.
    pub owner: Option<String>,
    /// The served interface in whose network it lies, with the bits of that network.
    pub network: Option<(String, u8)>,
    /// The interface towards the clients, as far as can be told: the one that leads to no node.
    pub client_side: Option<String>,
    /// The link-layer address of another host that answers for it.
    pub held_by: Option<String>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it answers clients itself (`route-to`).
    pub answers_directly: bool,
    /// How it is reached.
    pub way: Result<Way, NoWay>,
    /// What its check saw; none when it was not run.
    pub check: Option<Checked>,
    /// Whether its answers to the shared address come here.
    pub answers: Answers,
    /// What clients asked and it answered by way of this relay, when an agent runs: SYNs and SYN-ACKs.
    pub talk: Option<(u64, u64)>,
}

/// How a node is reached.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// The interface.
    pub interface: String,
    /// The node itself, or a gateway.
    pub neighbour: Option<IpAddr>,
    /// This relay's own address towards it.
    pub own: Option<IpAddr>,
}

/// Why a node is not reached.
#[derive(Clone, Debug)]
pub struct NoWay {
    /// For people.
    pub why: String,
    /// What mends it.
    pub cure: Cure,
}

/// What mends a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// This command, here.
    Here(String),
    /// Nothing here: the node, or what is between, does not answer.
    There,
    /// Nothing of its own: an interface is down, which is reported by itself.
    Interface,
}

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its kind.
    pub kind: String,
    /// For people.
    pub outcome: String,
    /// Whether the node passed; none when the check could not be made.
    pub passed: Option<bool>,
}

/// Whether a node's answers to the shared address come here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// They come by the interface that leads to the node.
    ByItsInterface,
    /// They come by another one.
    By(String),
    /// They do not come, though those to the relay's own address do.
    Lost {
        /// The relay's own address, which it answers.
        own: IpAddr,
    },
    /// That could not be told; why.
    Unknown(String),
}
