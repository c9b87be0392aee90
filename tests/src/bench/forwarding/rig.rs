//! A relay between two veths, and whoever does the forwarding in it.
//!
//! ```text
//!  clients 10.0.0.254 ----- 10.0.0.1 (clients)  relay  (nodes) 10.1.0.1 ----- 10.1.8.0/21 nodes
//!  100.64.0.0/10            IP-SHARED
//! ```
//!
//! With one arm both sides are on the relay's one interface. The other ends discard what is part of a stream and
//! answer everything else: ARP, and health checks at every node's address.

use std::{fmt::Write as _, fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::traffic::Traffic;
use crate::bench::target::Discarding;
use crate::lab::{
    Netns,
    agent::{Agent, node_name},
    command::{available, run, run_with_input},
    plan::mac_of,
    workspace::Workspace,
};

/// IP-SHARED.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The relay as the nodes see it.
pub(super) const RELAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The clients' router.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// The network of the nodes.
pub(super) const NODES: u32 = 0x0a01_0800;
/// Bits of [`NODES`] that are the network's.
pub(super) const NODES_MASK: u32 = 0xffff_f800;
/// The port of the shared address and of the nodes.
pub(crate) const PORT: u16 = 1080;
/// Nodes of the rigs that are compared.
const NODE_COUNT: usize = 3;

/// IP-DANTE of the node with this number.
pub(crate) fn node(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(NODES + 1 + u32::try_from(number).unwrap_or(0))
}

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Variant {
    /// `return XDP_TX`: nothing on one interface is faster.
    Bounce,
    /// The redirector in native mode, on one interface.
    OneArmed,
    /// `bpf_redirect_map` and nothing else: no way between two interfaces is faster.
    Redirect,
    /// The redirector in native mode.
    Native,
    /// The redirector in generic mode.
    Generic,
    /// The kernel's forwarding, no address translated.
    Kernel,
    /// nftables, addresses set without connection tracking.
    Stateless,
    /// nftables, `dnat to jhash ip saddr`.
    Nftables,
    /// iptables, `DNAT` with `statistic`.
    Iptables,
    /// IPVS, `source hashing`, masquerading.
    Ipvs,
}

impl Variant {
    /// All, slowest last.
    pub const ALL: [Self; 10] = [
        Self::Bounce,
        Self::OneArmed,
        Self::Redirect,
        Self::Native,
        Self::Generic,
        Self::Kernel,
        Self::Stateless,
        Self::Nftables,
        Self::Iptables,
        Self::Ipvs,
    ];

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bounce => "bare XDP_TX",
            Self::OneArmed => "redirector, native, one-armed",
            Self::Redirect => "bare redirect_map",
            Self::Native => "redirector, native",
            Self::Generic => "redirector, generic",
            Self::Kernel => "kernel forwarding, no NAT",
            Self::Stateless => "nftables, stateless",
            Self::Nftables => "nftables DNAT jhash",
            Self::Iptables => "iptables DNAT",
            Self::Ipvs => "IPVS NAT",
        }
    }

    /// Whether it is the product.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::OneArmed | Self::Native | Self::Generic)
    }

    /// The least that the same way can cost.
    #[must_use]
    pub fn limit(self) -> Self {
        if self.is_one_armed() {
            Self::Bounce
        } else {
            Self::Redirect
        }
    }

    fn is_one_armed(self) -> bool {
        matches!(self, Self::Bounce | Self::OneArmed)
    }

    /// Whether it gives packets other addresses.
    pub(crate) fn translates(self) -> bool {
        !matches!(self, Self::Bounce | Self::Redirect | Self::Kernel)
    }

    /// Whether it keeps a table of connections, which must not be full.
    pub(crate) fn tracks(self) -> bool {
        matches!(self, Self::Nftables | Self::Iptables | Self::Ipvs)
    }

    /// Where clients send: to a node where nobody translates.
    pub(crate) fn destination(self) -> Ipv4Addr {
        if self == Self::Kernel { node(0) } else { VIP }
    }
}

/// A relay that is up. The fields are in the order in which they must go.
pub(crate) struct Rig {
    pub(crate) variant: Variant,
    /// Where a stream to nodes is put in, and one to clients.
    pub(crate) devices: [u32; 2],
    pub(crate) agent: Option<Agent>,
    nodes: Option<Discarding>,
    pub(crate) relay: Netns,
    clients: Netns,
    node_host: Option<Netns>,
    workspace: Workspace,
}

impl Rig {
    /// Where the clients are.
    pub(crate) fn clients(&self) -> &Netns {
        &self.clients
    }

    /// Brings it up, with the programs of `traffic` at the far ends.
    pub(crate) fn new(variant: Variant, traffic: &mut Traffic) -> anyhow::Result<Self> {
        Self::bring_up(variant, Some(traffic))
    }

    /// Brings up one of the redirector's, with nothing but the kernel at the far ends.
    pub(crate) fn without_traffic(variant: Variant) -> anyhow::Result<Self> {
        Self::bring_up(variant, None)
    }

    fn bring_up(variant: Variant, mut traffic: Option<&mut Traffic>) -> anyhow::Result<Self> {
        if variant == Variant::Ipvs {
            ensure!(
                Path::new("/proc/net/ip_vs").exists(),
                "this kernel has no IPVS"
            );
            ensure!(available("ipvsadm"), "ipvsadm is not installed");
        }
        if variant == Variant::Iptables {
            ensure!(available("iptables"), "iptables is not installed");
        }
        let workspace = Workspace::new()?;
        let name = |host: &str| format!("rdl-{}-{host}", workspace.identity());
        let [relay, clients] = [Netns::new(name("relay"))?, Netns::new(name("clients"))?];
        let node_host = if variant.is_one_armed() {
            None
        } else {
            Some(Netns::new(name("nodes"))?)
        };
        let far = node_host.as_ref().unwrap_or(&clients);
        let sides = if variant.is_one_armed() {
            plug(&relay, "lan", &[(VIP, 24), (RELAY_INSIDE, 16)], &clients)?;
            ["lan", "lan"]
        } else {
            plug(&relay, "clients", &[(VIP, 24)], &clients)?;
            plug(&relay, "nodes", &[(RELAY_INSIDE, 16)], far)?;
            ["clients", "nodes"]
        };
        clients.ip(&format!("address add {ROUTER}/24 dev eth0"))?;
        far.ip("address add 10.1.255.254/16 dev eth0")?;
        far.ip("route add local 10.1.8.0/21 dev lo")?;
        relay.forward()?;
        relay.ip(&format!(
            "neighbour add {ROUTER} lladdr {} nud permanent dev {}",
            mac_of(ROUTER),
            sides[0]
        ))?;
        relay.ip(&format!("route add 100.64.0.0/10 via {ROUTER}"))?;
        clients.ip(&format!("link set eth0 address {}", mac_of(ROUTER)))?;
        let mut devices = [0; 2];
        if let Some(traffic) = traffic.as_deref_mut() {
            for (device, end) in devices.iter_mut().zip([Some(&clients), node_host.as_ref()]) {
                if let Some(end) = end {
                    traffic.attach("sink", end, "eth0")?;
                    *device = traffic.add_device(end, "eth0")?;
                }
            }
            if node_host.is_none() {
                devices[1] = devices[0];
            }
        }
        let mut rig = Self {
            variant,
            devices,
            agent: None,
            nodes: None,
            relay,
            clients,
            node_host,
            workspace,
        };
        rig.set_up(traffic, &sides)?;
        Ok(rig)
    }

    fn set_up(
        &mut self,
        traffic: Option<&mut Traffic>,
        sides: &[&'static str; 2],
    ) -> anyhow::Result<()> {
        let traffic = traffic.context("this relay is for traffic only");
        let needs_gro = match self.variant {
            Variant::Bounce => {
                traffic?.attach("bounce", &self.relay, sides[0])?;
                false
            }
            Variant::Redirect => {
                let traffic = traffic?;
                traffic.connect(&self.relay, *sides)?;
                for side in sides {
                    traffic.attach("redirect", &self.relay, side)?;
                }
                false
            }
            Variant::OneArmed | Variant::Native => {
                self.start_agent(sides, "native")?;
                false
            }
            Variant::Generic => {
                self.start_agent(sides, "generic")?;
                true
            }
            Variant::Kernel => true,
            Variant::Stateless => {
                self.nft(&stateless_rules())?;
                true
            }
            Variant::Nftables => {
                self.nft(&dnat_rules())?;
                true
            }
            Variant::Iptables => {
                for rule in iptables_rules() {
                    self.relay.exec(&rule)?;
                }
                true
            }
            Variant::Ipvs => {
                for rule in ipvs_rules() {
                    self.relay.exec(&rule)?;
                }
                true
            }
        };
        if needs_gro {
            // A veth takes frames of XDP only while its NAPI is on, which GRO switches on where no XDP program is.
            for side in sides {
                self.relay.exec(&format!("ethtool -K {side} gro on"))?;
            }
        }
        if self.variant.tracks() {
            self.settle_tracking()?;
        }
        for number in 0..NODE_COUNT {
            let mac = mac_of(far_end(sides[1]));
            self.relay.ip(&format!(
                "neighbour replace {} lladdr {mac} nud permanent dev {}",
                node(number),
                sides[1]
            ))?;
        }
        Ok(())
    }

    /// Tracked streams have no handshakes, and one sequence number. Sums are right, and a NIC would have said so.
    fn settle_tracking(&self) -> anyhow::Result<()> {
        self.relay
            .sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1")?;
        self.relay.sysctl("netfilter/nf_conntrack_checksum", "0")
    }

    fn nft(&self, rules: &str) -> anyhow::Result<()> {
        ensure!(available("nft"), "nft is not installed");
        let line = format!("ip netns exec {} nft -f -", self.relay.name());
        run_with_input(&line, rules).map(drop)
    }

    fn start_agent(&mut self, sides: &[&str; 2], mode: &'static str) -> anyhow::Result<()> {
        let host = self.node_host.as_ref().unwrap_or(&self.clients);
        self.nodes = Some(Discarding::on(host, Ipv4Addr::UNSPECIFIED, PORT)?);
        let config = configuration(sides, mode, NODE_COUNT, 1);
        let mut agent = Agent::prepare_in(&self.relay, &self.workspace, &config)?;
        agent.start_again()?;
        for number in 0..NODE_COUNT {
            agent.wait_for_health(number, true, Duration::from_secs(20))?;
        }
        self.agent = Some(agent);
        Ok(())
    }
}

/// What the agent is told: each redirect has a port of its own, and a pool of its own of so many nodes.
pub(crate) fn configuration(
    sides: &[&str; 2],
    mode: &str,
    nodes: usize,
    redirects: usize,
) -> String {
    let mut names = format!("\"{}\"", sides[0]);
    if sides[0] != sides[1] {
        let _ = write!(names, ", \"{}\"", sides[1]);
    }
    let mut config = format!(
        "interfaces = [{names}]\nxdp-mode = \"{mode}\"\nhash-key = \"the key of the benchmark\"\n\n\
         [health]\ninterval = \"5s\"\ntimeout = \"2s\"\n"
    );
    for redirect in 0..redirects {
        let port = usize::from(PORT) + redirect;
        let own = redirect * nodes..(redirect + 1) * nodes;
        let pool: String = own
            .map(|number| {
                format!(
                    "  {{ address = \"{}\", name = \"{}\" }},\n",
                    node(number),
                    node_name(number)
                )
            })
            .collect();
        // Writing to a string can't fail.
        let _ = write!(
            config,
            "\n[pool.nodes-{redirect}]\nnodes = [\n{pool}]\ncheck = \"tcp\"\n\n\
             [redirect.bench-{redirect}]\nlisten = [\"{VIP}:{port}\"]\nprotocol = \"tcp\"\n\
             forward-to = {{ pool = \"nodes-{redirect}\", port = {PORT}, mode = \"source-hash\" }}\n"
        );
    }
    config
}

/// The MAC address's owner at the other end of the relay's interface.
fn far_end(interface: &str) -> Ipv4Addr {
    if interface == "nodes" {
        Ipv4Addr::new(10, 1, 255, 254)
    } else {
        ROUTER
    }
}

/// A cable between the relay's interface and `eth0` of a host.
fn plug(
    relay: &Netns,
    interface: &str,
    addresses: &[(Ipv4Addr, u8)],
    host: &Netns,
) -> anyhow::Result<()> {
    let mac = mac_of(addresses[0].0);
    let far = mac_of(far_end(interface));
    // Each processor has a queue, so that one that sends is the one that forwards.
    let processors = std::thread::available_parallelism()?;
    let queues = format!("numtxqueues {processors} numrxqueues {processors}");
    run(&format!(
        "ip link add name {interface} address {mac} netns {} {queues} type veth \
         peer name eth0 address {far} netns {} {queues}",
        relay.name(),
        host.name()
    ))?;
    for (address, bits) in addresses {
        relay.ip(&format!("address add {address}/{bits} dev {interface}"))?;
    }
    // The agent's checks are the only packets that the kernel itself sends; they are whole.
    for (netns, name) in [(relay, interface), (host, "eth0")] {
        netns.exec(&format!("ethtool -K {name} tx off tso off gso off gro off"))?;
        netns.ip(&format!("link set {name} up"))?;
    }
    Ok(())
}

/// Every entry is the same node, so that answers can be generated without knowing who was sent where. What it costs
/// to find the entry is the same.
fn one_node_thrice() -> String {
    let node = node(0);
    format!("jhash ip saddr mod {NODE_COUNT} seed 0x1 map {{ 0 : {node}, 1 : {node}, 2 : {node} }}")
}

fn dnat_rules() -> String {
    let choice = one_node_thrice();
    format!(
        "table ip bench {{\n chain prerouting {{\n  type nat hook prerouting priority dstnat\n  \
         ip daddr {VIP} tcp dport {PORT} dnat to {choice}\n }}\n}}\n"
    )
}

/// Sources are set after routing, where the kernel does not ask any more why its own address comes from outside.
fn stateless_rules() -> String {
    let choice = one_node_thrice();
    format!(
        "table ip bench {{\n chain prerouting {{\n  type filter hook prerouting priority raw\n  \
         ip daddr {VIP} tcp dport {PORT} ip daddr set {choice}\n }}\n \
         chain postrouting {{\n  type filter hook postrouting priority srcnat\n  \
         ip saddr 10.1.8.0/21 tcp sport {PORT} ip saddr set {VIP}\n }}\n}}\n"
    )
}

fn iptables_rules() -> Vec<String> {
    let node = node(0);
    let rule = |choice: &str| {
        format!(
            "iptables -t nat -A PREROUTING -d {VIP} -p tcp --dport {PORT} {choice} -j DNAT --to-destination {node}:{PORT}"
        )
    };
    vec![
        rule("-m statistic --mode nth --every 3 --packet 0"),
        rule("-m statistic --mode nth --every 2 --packet 0"),
        rule(""),
    ]
}

fn ipvs_rules() -> Vec<String> {
    let node = node(0);
    vec![
        format!("ipvsadm -A -t {VIP}:{PORT} -s sh"),
        format!("ipvsadm -a -t {VIP}:{PORT} -r {node}:{PORT} -m"),
    ]
}

/// How many connections the kernel tracks at most.
pub(crate) fn tracked_at_most() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    text.trim().parse().ok()
}
