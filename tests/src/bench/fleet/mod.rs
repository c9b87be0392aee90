//! A fleet: many relays behind routers that share clients out, and as many nodes as a large service has. What moves when
//! nodes or relays are lost, and what has to be recorded for it.
//!
//! No kernel and no network, but the code that runs on relays: tables, health and slots are those of
//! [`redirector::engine`], what relays tell each other is read as it comes over the wire, and packets go through
//! [`redirector_common::process()`]. Only routers are a model.
//!
//! | file | holds |
//! |---|---|
//! | `clients.rs` | addresses of clients |
//! | `host.rs` | a relay in memory |
//! | `nodes.rs` | nodes that are lost and come back |
//! | `router.rs` | how routers pick a relay |
//! | `relays.rs` | relays that are lost or added |
//! | `section.rs` | the figures for people |

mod clients;
mod host;
mod nodes;
mod relays;
mod router;
mod section;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use clients::Addresses;
pub use nodes::{Balance, Loss, Return};
pub use relays::{Change, Knows, TakeOver};
pub use router::Choice;

use host::Host;

/// How large a fleet is simulated.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Size {
    /// Key of the client hash, the same on all relays.
    pub key: [u64; 2],
    /// Nodes, all of one weight.
    pub nodes: u16,
    /// Clients.
    pub clients: u32,
    /// Numbers of relays.
    pub relays: [u16; 2],
}

impl Size {
    /// 1,000 nodes and ten million clients.
    pub const FULL: Self = Self {
        key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        nodes: 1000,
        clients: 10_000_000,
        relays: [8, 16],
    };

    /// The same with fewer clients.
    pub const QUICK: Self = Self {
        clients: 1_000_000,
        ..Self::FULL
    };

    /// How many nodes are lost at once: one, and shares of all.
    fn losses(&self) -> [usize; 4] {
        let nodes = usize::from(self.nodes);
        [1, (nodes / 100).max(1), (nodes / 10).max(1), nodes / 2]
    }
}

/// The whole simulation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of what size.
    pub size: Size,
    /// How tables share clients out.
    pub balances: Vec<Balance>,
    /// Nodes lost at once.
    pub losses: Vec<Loss>,
    /// One node that comes back.
    pub returned: Return,
    /// Relays lost or added.
    pub changes: Vec<Change>,
    /// Clients of a lost relay at another one.
    pub take_overs: Vec<TakeOver>,
}

/// Simulates a fleet.
///
/// # Errors
///
/// The engine or the packet path does not take what it is given.
pub fn measure(size: Size) -> anyhow::Result<Report> {
    let nodes = host::nodes(size.nodes);
    let one = Host::new(size.key, &nodes, &[])?;
    let other = another(&size, &nodes)?;
    Ok(Report {
        size,
        balances: nodes::balance(&size, &one)?,
        losses: nodes::losses(&size, &one, &nodes)?,
        returned: nodes::returning(&size, &one, nodes[0])?,
        changes: relays::changes(&size, &one, &other, nodes[0])?,
        take_overs: relays::take_overs(&size, &one, &other, &nodes)?,
    })
}

/// A second relay that has come to the same table by another way: its file lists the nodes in another order, and some of
/// them were down for a while.
fn another(size: &Size, nodes: &[std::net::Ipv4Addr]) -> anyhow::Result<Host> {
    let mut reversed = nodes.to_vec();
    reversed.reverse();
    let mut host = Host::new(size.key, &reversed, &[])?;
    let late = &nodes[nodes.len() / 3..nodes.len() / 2];
    host.check(late, false);
    host.check(late, true);
    host.pass(nodes::SETTLED);
    Ok(host)
}

/// Memory that the kernel sets aside for the tables of recorded connections, with room for so many in each family: IPv4,
/// IPv6; bytes. A record has 48 bytes around key and value; and there are as many buckets, of 16 bytes, as the next power of
/// two says (Linux, `htab_map_mem_usage` in kernel/bpf/hashtab.c).
pub fn bytes_of_flows(flows: u32) -> [u64; 2] {
    use redirector_common::abi::{Flow, FlowKey4, FlowKey6};

    [size_of::<FlowKey4>(), size_of::<FlowKey6>()].map(|key| {
        let record = 48 + key + size_of::<Flow>();
        u64::from(flows) * record as u64 + u64::from(flows).next_power_of_two() * 16
    })
}
