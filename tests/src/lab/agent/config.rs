//! The configuration that the lab gives an agent.

use std::fmt::Write as _;

use crate::lab::plan::{Family, SHARED, SOCKS_PORT, Topology, node_inside};

/// The agent's configuration, as the lab writes it. Words are as in the file.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Interfaces of the relay.
    pub interfaces: Vec<String>,
    /// `auto`, `native`, `generic` or `tc`.
    pub xdp_mode: &'static str,
    /// The families of the shared address and of the nodes.
    pub families: Vec<Family>,
    /// Numbers of the nodes in the pool, with their weights.
    pub nodes: Vec<(usize, u32)>,
    /// Time between health checks.
    pub interval: String,
    /// How long a health check waits for an answer.
    pub timeout: String,
    /// Most recorded flows.
    pub max_flows: u32,
    /// `tcp`, `udp` or `both`.
    pub protocol: &'static str,
    /// Whether nodes answer clients directly (`route-to`), for labs with [`crate::lab::LabOptions::direct_return`].
    pub route_to: bool,
    /// `direct` or `shared`.
    pub udp_associate: &'static str,
    /// `drop` or `allow`; not for `route_to`, with which it does not go.
    pub direct_tcp: &'static str,
}

impl AgentConfig {
    /// IPv4 to the first `nodes` nodes with weight 1, checked every second.
    pub fn new(topology: Topology, nodes: usize) -> Self {
        Self {
            interfaces: topology
                .interfaces()
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            xdp_mode: "native",
            families: vec![Family::V4],
            nodes: (0..nodes).map(|node| (node, 1)).collect(),
            interval: "1s".to_owned(),
            timeout: "300ms".to_owned(),
            max_flows: 65_536,
            protocol: "tcp",
            route_to: false,
            udp_associate: "direct",
            direct_tcp: "drop",
        }
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        let quoted = |texts: &mut dyn Iterator<Item = String>| {
            let texts: Vec<_> = texts.map(|text| format!("{text:?}")).collect();
            texts.join(", ")
        };
        let interfaces = quoted(&mut self.interfaces.iter().cloned());
        let families = self.families.iter();
        let listen = quoted(&mut families.map(|family| family.endpoint(SHARED).to_string()));
        let mut nodes = String::new();
        for (node, weight) in &self.nodes {
            for family in &self.families {
                // Writing to a string can't fail.
                let _ = writeln!(
                    nodes,
                    "  {{ address = \"{}\", weight = {weight}, name = \"{}\" }},",
                    family.address(node_inside(*node)),
                    node_name_in(*node, *family)
                );
            }
        }
        let target =
            format!("{{ pool = \"socksservers\", port = {SOCKS_PORT}, mode = \"source-hash\" }}");
        let delivery = if self.route_to {
            format!("route-to = {target}")
        } else {
            format!(
                "forward-to = {target}\ndirect-tcp = \"{}\"",
                self.direct_tcp
            )
        };
        format!(
            "interfaces = [{interfaces}]\n\
             xdp-mode = \"{mode}\"\n\
             hash-key = \"the key of the lab\"\n\n\
             [health]\ninterval = \"{interval}\"\ntimeout = \"{timeout}\"\nrise = 1\nfall = 1\n\n\
             [pool.socksservers]\nnodes = [\n{nodes}]\ncheck = \"tcp\"\n\n\
             [redirect.socksbalance]\nlisten = [{listen}]\nprotocol = \"{protocol}\"\n\
             {delivery}\nudp-associate = \"{associate}\"\n\n\
             [flows]\nmax = {max}\nsession-timeout = \"1h\"\nhandshake-timeout = \"5s\"\n",
            mode = self.xdp_mode,
            interval = self.interval,
            timeout = self.timeout,
            protocol = self.protocol,
            associate = self.udp_associate,
            max = self.max_flows,
        )
    }
}

/// What a node is called in the configuration.
pub fn node_name(node: usize) -> String {
    node_name_in(node, Family::V4)
}

/// What a node is called in the configuration where it is reached in this family.
pub fn node_name_in(node: usize, family: Family) -> String {
    match family {
        Family::V4 => format!("node-{node}"),
        Family::V6 => format!("node-{node}-v6"),
    }
}
