//! What happens to nodes: they start, die, come back, lose their cable or their hearing; and what they log.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Lab, Netns, Session, bridge_of, default_route,
    plan::{Family, RELAY_INSIDE, both, node_inside, node_outside},
    socks_server::{Duty, SocksServer},
    wiring::Cable,
};

impl Lab {
    /// Starts the SOCKS server of a living node, and waits until it listens.
    ///
    /// # Errors
    /// When the node is dead or the server does not start.
    pub fn start_dante(&mut self, node: usize) -> Result<()> {
        let log = self.workspace.file(&format!("node-{node}.log"));
        let server = SocksServer::start(
            &self.options.server,
            self.node_host(node)?,
            &Duty {
                inside: both(node_inside(node)).to_vec(),
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
        for interface in ["inside", "outside"] {
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
        let (inside, outside) = (node_inside(node), node_outside(node));
        let host = Netns::new(format!("rdl-{}-node-{node}", self.workspace.identity()))?;
        let bridge = bridge_of(self.topology.node_side());
        for (interface, address, bridge) in [
            ("inside", inside, bridge),
            ("outside", outside, "br-outside"),
        ] {
            let port = format!("n{node}-{interface}");
            Cable {
                host: &host,
                interface,
                addresses: vec![address],
                bridge,
                port: &port,
            }
            .plug_into(&self.switch)?;
        }
        default_route(&host, RELAY_INSIDE)?;
        self.nodes[node].host = Some(host);
        self.start_dante(node)
    }

    /// Pulls the cable between a node and the relay; nothing else happens to the node.
    ///
    /// # Errors
    /// When the node is dead.
    pub fn cut_node(&self, node: usize) -> Result<()> {
        self.node_host(node)?;
        self.switch
            .ip(&format!("link set n{node}-inside down"))
            .map(drop)
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When the node is dead.
    pub fn mend_node(&self, node: usize) -> Result<()> {
        self.node_host(node)?;
        self.switch
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
