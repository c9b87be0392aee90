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

use anyhow::{Context as _, Result, ensure};

pub mod agent;
pub mod capture;
mod command;
pub mod demo;
pub mod flood;
pub mod frames;
pub mod interrupt;
pub mod kernel_nat;
pub mod leftovers;
pub mod netns;
mod nodes;
mod options;
pub mod plan;
pub mod session;
pub mod socks;
pub mod socks_server;
pub mod target;
mod target_datagrams;
mod traffic;
pub mod transfer;
mod wiring;
mod workspace;
mod xdp_pass;

pub use netns::Netns;
pub use options::LabOptions;
pub use plan::Topology;
pub use session::Session;
pub use transfer::Transfer;

use plan::{
    FLOOD_SOURCES, Family, MAX_CLIENTS, MAX_NODES, RELAY_INSIDE, ROUTER, ROUTER_FAR, TARGET, VIP,
    both, far_client, is_on_link, on_link_client,
};
use socks_server::{Kind, SocksServer};
use target::Target;
use wiring::Cable;
use workspace::Workspace;
use xdp_pass::XdpPass;

/// A lab that is up. The fields are in the order in which they must go.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    options: LabOptions,
    nodes: Vec<Node>,
    _target: Target,
    _accept_xdp: Vec<XdpPass>,
    target_host: Netns,
    relay: Netns,
    client_host: Netns,
    far_host: Netns,
    router: Netns,
    switch: Netns,
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
        ensure!(
            options.nodes <= MAX_NODES,
            "the lab has addresses for {MAX_NODES} nodes"
        );
        ensure!(
            options.on_link_clients.max(options.far_clients) <= MAX_CLIENTS,
            "the lab has addresses for {MAX_CLIENTS} clients on each side of the router"
        );
        interrupt::watch();
        let workspace = Workspace::new()?;
        let host = |what: &str| Netns::new(format!("rdl-{}-{what}", workspace.identity()));
        let switch = host("switch")?;
        // Its bridges have nothing to say.
        for of in ["all", "default"] {
            switch.sysctl(&format!("ipv6/conf/{of}/disable_ipv6"), "1")?;
        }
        let [relay, router] = [host("relay")?, host("router")?];
        let [client_host, far_host, target_host] = [host("client")?, host("far")?, host("target")?];

        let near: Vec<_> = (0..options.on_link_clients).map(on_link_client).collect();
        let far: Vec<_> = (0..options.far_clients).map(far_client).collect();
        let client_side = bridge_of(topology.interfaces()[0]);
        for bridge in topology
            .interfaces()
            .iter()
            .map(|name| bridge_of(name))
            .chain(["br-outside", "br-far"])
        {
            wiring::bridge(&switch, bridge)?;
        }
        let mut accept_xdp = Vec::new();
        for (interface, addresses) in relay_addresses(topology) {
            let port = format!("relay-{interface}");
            let cable = Cable {
                host: &relay,
                interface,
                addresses,
                bridge: bridge_of(interface),
                port: &port,
            };
            cable.plug_into(&switch)?;
            accept_xdp.push(XdpPass::attach(&switch, &port)?);
        }
        for (host, interface, addresses, bridge, port) in [
            (&client_host, "eth0", near, client_side, "client"),
            (&router, "near", vec![ROUTER], client_side, "router"),
            (&router, "far", vec![ROUTER_FAR], "br-far", "router-far"),
            (&far_host, "eth0", far, "br-far", "far"),
            (&target_host, "eth0", vec![TARGET], "br-outside", "target"),
        ] {
            Cable {
                host,
                interface,
                addresses,
                bridge,
                port,
            }
            .plug_into(&switch)?;
        }
        for host in [&relay, &router] {
            host.forward()?;
        }
        default_route(&relay, ROUTER)?;
        default_route(&router, VIP)?;
        router.ip(&format!("route add blackhole {FLOOD_SOURCES}"))?;
        if options.on_link_clients > 0 {
            default_route(&client_host, VIP)?;
        }
        if options.far_clients > 0 {
            default_route(&far_host, ROUTER_FAR)?;
        }

        let target = Target::start(&target_host)?;
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
            _accept_xdp: accept_xdp,
            target_host,
            relay,
            client_host,
            far_host,
            router,
            switch,
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
        &self.relay
    }

    /// The router before the far clients.
    pub fn router(&self) -> &Netns {
        &self.router
    }

    /// The host of the clients on the relay's own network.
    pub fn client_host(&self) -> &Netns {
        &self.client_host
    }

    /// The host of the far clients.
    pub fn far_host(&self) -> &Netns {
        &self.far_host
    }

    /// The target.
    pub fn target_host(&self) -> &Netns {
        &self.target_host
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
            &self.client_host
        } else {
            &self.far_host
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

/// In both families.
fn default_route(host: &Netns, via: Ipv4Addr) -> Result<()> {
    for via in both(via) {
        host.ip(&format!("route add default via {via}"))?;
    }
    Ok(())
}

fn bridge_of(interface: &str) -> &'static str {
    match interface {
        "clients" => "br-clients",
        "nodes" => "br-nodes",
        _ => "br-lan",
    }
}

fn relay_addresses(topology: Topology) -> Vec<(&'static str, Vec<Ipv4Addr>)> {
    match topology {
        Topology::TwoArmed => vec![("clients", vec![VIP]), ("nodes", vec![RELAY_INSIDE])],
        Topology::OneArmed => vec![("lan", vec![VIP, RELAY_INSIDE])],
    }
}
