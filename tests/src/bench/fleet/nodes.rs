//! Nodes that are lost and come back: whose clients move, and what that adds to the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use anyhow::ensure;
use redirector_common::abi::DEFAULT_FLOWS;
use serde::{Deserialize, Serialize};

use super::{Size, clients::Addresses, host::Host};

/// The node that a slot's new connections go to.
pub(super) type Owner = Option<Ipv4Addr>;

/// How a table shares clients out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Balance {
    /// How clients' addresses lie.
    pub addresses: Addresses,
    /// Clients of the fullest node over the mean.
    pub fullest: f64,
    /// Clients of the emptiest node over the mean.
    pub emptiest: f64,
}

/// Nodes that are lost at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// How clients' addresses lie.
    pub addresses: Addresses,
    /// How many nodes.
    pub lost: usize,
    /// Share of all clients that were theirs.
    pub theirs: f64,
    /// Share of all clients whose new connections go to another node.
    pub moved: f64,
    /// Clients of other nodes among them.
    pub bystanders: u64,
    /// Clients that the survivor with the most newcomers has got, over the mean of before.
    pub extra: f64,
    /// Clients of the fullest survivor over the mean of the survivors.
    pub fullest: f64,
    /// Slots that are split, so that their connections are recorded.
    pub split: u32,
    /// Clients in these.
    pub in_split: u64,
    /// Clients that are not with the node they came from once all nodes are back.
    pub astray: u64,
}

/// The return of one node while connections that were opened in its absence go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Return {
    /// Connections opened in its absence, one by each client in a split slot.
    pub opened: usize,
    /// Connections recorded.
    pub recorded: usize,
    /// Slots split in its absence.
    pub absent: u32,
    /// Slots split when it is back and handshakes are through, while the connections go on.
    pub back: u32,
    /// Slots split when the connections are over.
    pub over: u32,
    /// Connections that a packet of the client does not reach the node of, after the return.
    pub broken: usize,
}

/// Longer than the timeout of handshakes, seconds.
pub(super) const SETTLED: u32 = 61;
/// Longer than the timeout of sessions, seconds.
const OVER: u32 = 24 * 60 * 60 + 61;

/// Shares of clients between nodes before a loss.
///
/// # Errors
///
/// The relay has no table.
pub(super) fn balance(size: &Size, host: &Host) -> anyhow::Result<Vec<Balance>> {
    let owners = host.owners()?;
    let table = host.table()?;
    let of = |addresses: Addresses| {
        let clients = shares(&owners, &addresses.by_slot(table, size.clients));
        let mean = f64::from(size.clients) / f64::from(size.nodes);
        let over = |clients: Option<&u64>| clients.map_or(0.0, |clients| *clients as f64 / mean);
        // A node without any client has no entry.
        let all_serve = clients.len() == usize::from(size.nodes);
        let least = clients.values().min().filter(|_| all_serve);
        Balance {
            addresses,
            fullest: over(clients.values().max()),
            emptiest: over(least),
        }
    };
    Ok(Addresses::ALL.map(of).to_vec())
}

/// Takes nodes away and gives them back, so many at a time, spread over the list.
///
/// # Errors
///
/// The relay has no table.
pub(super) fn losses(size: &Size, host: &Host, nodes: &[Ipv4Addr]) -> anyhow::Result<Vec<Loss>> {
    let before = host.owners()?;
    let clients = Addresses::ALL.map(|addresses| {
        let table = host.table();
        table.map(|table| (addresses, addresses.by_slot(table, size.clients)))
    });
    let clients = clients.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut losses = Vec::new();
    for lost in size.losses() {
        let gone: Vec<Ipv4Addr> = nodes.iter().copied().step_by(nodes.len() / lost).collect();
        let gone = &gone[..lost];
        let mut host = host.twin();
        host.check(gone, false);
        let after = host.owners()?;
        let split = host.table()?.split_slots;
        let is_split: Vec<bool> = host
            .table()?
            .slots
            .iter()
            .map(|slot| slot.is_split())
            .collect();
        host.check(gone, true);
        let back = host.owners()?;
        let gone: BTreeSet<Ipv4Addr> = gone.iter().copied().collect();
        for (addresses, clients) in &clients {
            let all = f64::from(size.clients);
            let mean = all / f64::from(size.nodes);
            let movement = Movement::of(&before, &after, &gone, clients);
            let full = shares(&after, clients).values().max().copied().unwrap_or(0);
            let survivors = nodes.len() - lost;
            let split_ones = is_split.iter().zip(clients).filter(|(split, _)| **split);
            losses.push(Loss {
                addresses: *addresses,
                lost,
                theirs: movement.theirs as f64 / all,
                moved: movement.moved as f64 / all,
                bystanders: movement.bystanders,
                extra: movement.most_gained as f64 / mean,
                fullest: full as f64 * survivors as f64 / all,
                split,
                in_split: split_ones.map(|(_, clients)| u64::from(*clients)).sum(),
                astray: Movement::of(&before, &back, &gone, clients).moved,
            });
        }
    }
    Ok(losses)
}

/// Has one node leave and come back, while every client in its slots opens a connection by the packet path.
///
/// # Errors
///
/// A handshake goes astray.
pub(super) fn returning(size: &Size, host: &Host, node: Ipv4Addr) -> anyhow::Result<Return> {
    let mut host = host.twin();
    host.check(&[node], false);
    let absent = host.table()?.split_slots;
    let table = host.table()?;
    let clients = Addresses::Dense.of(size.clients);
    let moved =
        clients.filter(|client| table.slots[usize::from(table.slot_of(*client))].is_split());
    let mut open = Vec::new();
    for client in moved.take(DEFAULT_FLOWS as usize) {
        let socket = (client, 40_000);
        open.push((socket, host.open(socket)?));
    }
    let recorded = host.recorded();
    host.check(&[node], true);
    host.pass(SETTLED);
    let back = host.table()?.split_slots;
    let broken = open
        .iter()
        .filter(|(client, node)| host.sends(*client) != Some(*node));
    let broken = broken.count();
    // Those packets were heard; from here on there is silence.
    host.pass(OVER);
    ensure!(
        host.recorded() == 0,
        "connections that are over are still recorded"
    );
    Ok(Return {
        opened: open.len(),
        recorded,
        absent,
        back,
        over: host.table()?.split_slots,
        broken,
    })
}

/// Who goes elsewhere when one table takes the place of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Movement {
    /// Clients of nodes that are gone.
    pub theirs: u64,
    /// Clients whose node is another.
    pub moved: u64,
    /// Those whose node is not gone.
    pub bystanders: u64,
    /// The most that a node has got.
    pub most_gained: u64,
}

impl Movement {
    /// From the owners of slots to others; `clients` says how many are in each slot.
    pub(super) fn of(
        before: &[Owner],
        after: &[Owner],
        gone: &BTreeSet<Ipv4Addr>,
        clients: &[u32],
    ) -> Self {
        let mut movement = Self::default();
        let mut gained: BTreeMap<Owner, u64> = BTreeMap::new();
        for ((before, after), clients) in before.iter().zip(after).zip(clients) {
            let clients = u64::from(*clients);
            let is_gone = before.is_some_and(|node| gone.contains(&node));
            if is_gone {
                movement.theirs += clients;
            }
            if before != after {
                movement.moved += clients;
                *gained.entry(*after).or_default() += clients;
                if !is_gone {
                    movement.bystanders += clients;
                }
            }
        }
        movement.most_gained = gained.values().max().copied().unwrap_or(0);
        movement
    }
}

/// Clients of each node that has any.
pub(super) fn shares(owners: &[Owner], clients: &[u32]) -> BTreeMap<Ipv4Addr, u64> {
    let mut shares = BTreeMap::new();
    for (owner, clients) in owners.iter().zip(clients) {
        if let Some(node) = owner {
            *shares.entry(*node).or_default() += u64::from(*clients);
        }
    }
    shares
}
