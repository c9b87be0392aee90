//! What happens to nodes: they start, die, come back, lose their cable or their hearing; and what they log.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::network::{OUTSIDE, bridge_of, client_bridge, default_route};
use super::plan::{
    Family, RELAY_INSIDE, ROUTER, Topology, VIP, both, node_beside_clients, node_inside,
    node_outside,
};
use super::socks_server::{Duty, SocksServer};
use super::wiring::Cable;
use super::{Lab, Netns, Session, gate};

/// A node's interface in the clients' network, if it has one.
const DIRECT: &str = "clients";

impl Lab {
    /// Starts the SOCKS server of a living node, and waits until it listens.
    ///
    /// # Errors
    /// When the node is dead or the server does not start.
    pub fn start_dante(&mut self, node: usize) -> Result<()> {
        let log = self.workspace.file(&format!("node-{node}.log"));
        let mut inside = both(node_inside(node)).to_vec();
        if self.options.direct_return {
            inside.extend(both(VIP));
        }
        let server = SocksServer::start(
            &self.options.server,
            self.node_host(node)?,
            &Duty {
                inside,
                outside: both(node_outside(node)).to_vec(),
                login_required: self.options.login_required,
            },
            &log,
        )?;
        self.nodes[node].server = Some(server);
        Ok(())
    }

    /// Kills the SOCKS server of a node. The host lives on: its kernel resets what the clients send.
    pub fn kill_dante(&mut self, node: usize) {
        self.nodes[node].server = None;
    }

    /// Kills a node's host without a word: it is cut off first, then everything it knew is gone.
    ///
    /// # Errors
    /// When it is dead already or can't be cut off.
    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        let host = self.nodes[node]
            .host
            .take()
            .with_context(|| format!("node {node} is dead already"))?;
        let direct = self.options.direct_return && self.topology == Topology::TwoArmed;
        for interface in ["inside", "outside"]
            .into_iter()
            .chain(direct.then_some(DIRECT))
        {
            host.ip(&format!("link delete {interface}"))?;
        }
        self.nodes[node].server = None;
        Ok(())
    }

    /// Brings a dead node back: the same addresses, no memory of the past, its SOCKS server listening.
    ///
    /// # Errors
    /// When it is alive, or something of it can't be made.
    pub fn revive_node(&mut self, node: usize) -> Result<()> {
        ensure!(self.nodes[node].host.is_none(), "node {node} is alive");
        let host = Netns::new(format!("rdl-{}-node-{node}", self.workspace.identity()))?;
        let bridge = match self.network.gate {
            Some(_) => gate::BRIDGE,
            None => bridge_of(self.topology.node_side()),
        };
        let (inside, outside) = (node_inside(node), node_outside(node));
        self.plug_node(&host, node, "inside", vec![inside], bridge)?;
        self.plug_node(&host, node, "outside", vec![outside], OUTSIDE)?;
        if self.options.direct_return {
            self.return_directly(&host, node)?;
        } else {
            default_route(&host, RELAY_INSIDE)?;
        }
        self.nodes[node].host = Some(host);
        self.start_dante(node)
    }

    fn plug_node(
        &self,
        host: &Netns,
        node: usize,
        interface: &str,
        addresses: Vec<Ipv4Addr>,
        bridge: &str,
    ) -> Result<()> {
        let port = format!("n{node}-{interface}");
        Cable {
            addresses,
            ..Cable::new(host, interface, bridge, &port)
        }
        .plug_into(&self.network.switch, &self.options.links)
    }

    /// Gives a node the shared addresses, without a word about it on the wire, and a way to the clients that
    /// does not go through the relay.
    fn return_directly(&self, host: &Netns, node: usize) -> Result<()> {
        // Answer only for addresses of the asked interface, ask only with one of the asking. IPv6 does both by
        // itself: RFC 4861's solicitations and advertisements are about an interface's own addresses.
        host.sysctl("ipv4/conf/all/arp_ignore", "1")?;
        host.sysctl("ipv4/conf/all/arp_announce", "2")?;
        for shared in both(VIP) {
            let family = Family::of(shared);
            let (bits, usable_at_once) = (family.bits(), family.usable_at_once());
            host.ip(&format!(
                "address add {shared}/{bits} dev lo {usable_at_once}"
            ))?;
        }
        let beside = node_beside_clients(node);
        match self.topology {
            Topology::TwoArmed => {
                let clients = client_bridge(self.topology);
                self.plug_node(host, node, DIRECT, vec![beside], clients)?;
            }
            // The clients are on the same wire.
            Topology::OneArmed => {
                for address in both(beside) {
                    let prefix = Family::of(address).prefix();
                    host.ip(&format!("address add {address}/{prefix} dev inside"))?;
                }
            }
        }
        default_route(host, ROUTER)
    }

    /// Pulls the cable between a node and the relay; nothing else happens to the node.
    ///
    /// # Errors
    /// When the node is dead.
    pub fn cut_node(&self, node: usize) -> Result<()> {
        self.node_host(node)?;
        self.network
            .switch
            .ip(&format!("link set n{node}-inside down"))
            .map(drop)
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When the node is dead.
    pub fn mend_node(&self, node: usize) -> Result<()> {
        self.node_host(node)?;
        self.network
            .switch
            .ip(&format!("link set n{node}-inside up"))
            .map(drop)
    }

    /// Makes a node deaf to the relay's own packets: health checks fail while its clients' connections
    /// go on.
    ///
    /// # Errors
    /// When the node is dead, or deaf already.
    pub fn fail_checks(&self, node: usize) -> Result<()> {
        self.relay_is_a_black_hole(node, "add")
    }

    /// Ends what [`Lab::fail_checks`] began.
    ///
    /// # Errors
    /// When the node is dead, or not deaf.
    pub fn heal_checks(&self, node: usize) -> Result<()> {
        self.relay_is_a_black_hole(node, "del")
    }

    fn relay_is_a_black_hole(&self, node: usize, verb: &str) -> Result<()> {
        for relay in both(RELAY_INSIDE) {
            let bits = Family::of(relay).bits();
            self.node_host(node)?
                .ip(&format!("route {verb} blackhole {relay}/{bits}"))?;
        }
        Ok(())
    }

    /// What the SOCKS server of a node has logged since the lab came up.
    ///
    /// # Errors
    /// When there is no log.
    pub fn dante_log(&self, node: usize) -> Result<String> {
        let path = self.workspace.file(&format!("node-{node}.log"));
        std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
    }

    /// The line in which the node's SOCKS server names this client's address and port, waiting up to two
    /// seconds for it.
    ///
    /// # Errors
    /// When there is none.
    pub fn dante_line_about(&self, session: &Session) -> Result<String> {
        let name = format!("{}.{} ", session.client.ip(), session.client.port());
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let log = self.dante_log(session.node)?;
            if let Some(line) = log.lines().find(|line| line.contains(&name)) {
                return Ok(line.to_owned());
            }
            if Instant::now() > deadline {
                bail!(
                    "node {} does not log the client {}; its log:\n{log}",
                    session.node,
                    session.client
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
