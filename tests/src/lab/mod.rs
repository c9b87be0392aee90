//! The lab: clients, a relay, Dante nodes and a target in network namespaces of this machine.
//!
//! [`plan`] has the picture and the addresses. Everything a lab makes goes when its guard is dropped, on a
//! panic and on ctrl-c too; what a killed run has left is found and removed by [`leftovers`]. No traffic
//! leaves the namespaces.
//!
//! **Architecture invariant:** work inside a namespace is done by threads of its own or by child
//! processes, never by a thread that goes on to do something else.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

pub mod agent;
pub mod api_server;
pub mod browser;
pub mod capture;
pub(crate) mod command;
pub mod demo;
pub mod flood;
pub mod following;
pub mod frames;
mod gate;
pub mod guest;
pub mod interrupt;
pub mod kernel_nat;
pub mod kernel_route_to;
pub mod leftovers;
pub mod loss;
pub mod maps;
pub mod metrics;
pub mod name_server;
pub mod netns;
mod network;
mod nodes;
mod options;
pub mod pair;
pub mod pcapng;
pub mod plan;
mod programs;
pub mod relays;
pub mod screenshots;
pub mod session;
pub mod several;
pub mod socks;
pub mod socks_server;
pub mod target;
mod target_datagrams;
pub mod terminal;
mod traffic;
pub mod transfer;
mod wiring;
pub(crate) mod workspace;
mod xdp_pass;

pub use netns::Netns;
pub use options::{LabOptions, Links};
pub use plan::Topology;
pub use session::Session;
pub use transfer::{Transfer, require_unbroken};

use network::Network;
use plan::{Family, MAX_CLIENTS, far_client, is_on_link, on_link_client};
use socks_server::{Kind, SocksServer};
use target::Target;
use workspace::Workspace;

/// A lab that is up. The fields are in the order in which they must go.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    options: LabOptions,
    nodes: Vec<Node>,
    _target: Target,
    network: Network,
    workspace: Workspace,
}

#[derive(Debug)]
struct Node {
    server: Option<SocksServer>,
    host: Option<Netns>,
}

impl Lab {
    /// Brings everything up, a SOCKS server on every node included.
    ///
    /// # Errors
    /// When a privilege or a tool is missing, or there are more nodes or clients than addresses.
    pub fn new(topology: Topology, options: LabOptions) -> Result<Self> {
        options.check()?;
        interrupt::watch();
        let workspace = Workspace::new()?;
        let network = Network::build(workspace.identity(), topology, &options)?;
        let target = Target::start(&network.target_host)?;
        let nodes = (0..options.nodes)
            .map(|_| Node {
                server: None,
                host: None,
            })
            .collect();
        let mut lab = Self {
            topology,
            options,
            nodes,
            _target: target,
            network,
            workspace,
        };
        for node in 0..lab.nodes.len() {
            lab.revive_node(node)?;
        }
        Ok(lab)
    }

    /// How the relay is connected.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// What the nodes run.
    pub fn server(&self) -> &Kind {
        &self.options.server
    }

    /// The relay.
    pub fn relay(&self) -> &Netns {
        &self.network.relay
    }

    /// Takes an interface away from the relay.
    ///
    /// # Errors
    /// When it has none of this name.
    pub fn unplug(&self, interface: &str) -> Result<()> {
        self.relay().ip(&format!("link del {interface}")).map(drop)
    }

    /// Gives it back to the relay, made anew.
    ///
    /// # Errors
    /// When the topology has none of this name, or it is there.
    pub fn plug_in_again(&mut self, interface: &str) -> Result<()> {
        self.network
            .plug_in_again(self.topology, &self.options, interface)
    }

    /// The router before the nodes, where [`Links::node_path_mtu`] wants one.
    ///
    /// # Errors
    /// When there is none.
    pub fn gate(&self) -> Result<&Netns> {
        let gate = self.network.gate.as_ref();
        gate.context("there is no router before the nodes")
    }

    /// The router before the far clients.
    pub fn router(&self) -> &Netns {
        &self.network.router
    }

    /// The host of the clients on the relay's own network.
    pub fn client_host(&self) -> &Netns {
        &self.network.client_host
    }

    /// The host of the far clients.
    pub fn far_host(&self) -> &Netns {
        &self.network.far_host
    }

    /// The target.
    pub fn target_host(&self) -> &Netns {
        &self.network.target_host
    }

    /// What its namespaces and its directory are called: `PID-N`.
    pub fn identity(&self) -> &str {
        self.workspace.identity()
    }

    /// The host of a node, while it is alive.
    ///
    /// # Errors
    /// When it is dead.
    pub fn node_host(&self, node: usize) -> Result<&Netns> {
        self.nodes[node]
            .host
            .as_ref()
            .with_context(|| format!("node {node} is dead"))
    }

    /// The path of a file of this name in the lab's directory.
    pub fn workspace_file(&self, name: &str) -> std::path::PathBuf {
        self.workspace.file(name)
    }

    /// How many nodes there are, dead ones included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Every client's IPv4 address; near and far ones alternate.
    pub fn clients(&self) -> Vec<Ipv4Addr> {
        (0..MAX_CLIENTS)
            .flat_map(|client| {
                let near = (client < self.options.on_link_clients).then(|| on_link_client(client));
                let far = (client < self.options.far_clients).then(|| far_client(client));
                [near, far]
            })
            .flatten()
            .collect()
    }

    /// Every client's address in this family, in the order of [`Lab::clients`].
    pub fn clients_in(&self, family: Family) -> Vec<IpAddr> {
        let clients = self.clients().into_iter();
        clients.map(|client| family.address(client)).collect()
    }

    /// The host that has the address of this client.
    pub fn host_of_client(&self, client: impl Into<IpAddr>) -> &Netns {
        if is_on_link(client) {
            &self.network.client_host
        } else {
            &self.network.far_host
        }
    }
}

/// Tries until it works.
///
/// # Errors
/// The last failure, when `limit` has passed.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!(
                    "waited {} ms for {what}",
                    start.elapsed().as_millis()
                )));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
