//! Relays that are lost or added: who reaches another relay, and whether it sends them to the same node.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use redirector::engine::{OperatorState, Standing};
use serde::{Deserialize, Serialize};

use super::{
    Size,
    clients::Addresses,
    host::Host,
    nodes::Owner,
    router::{Choice, Router},
};

/// A relay that is lost, or one more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// How routers pick a relay.
    pub choice: Choice,
    /// Relays before the change.
    pub relays: u16,
    /// Whether one joins; otherwise one is lost.
    pub joins: bool,
    /// Share of all clients that reach another relay.
    pub elsewhere: f64,
    /// Share of all clients that do so though their relay is still there and not the one that joins.
    pub needless: f64,
    /// Clients that reach another relay, and by it another node.
    pub other_node: u64,
    /// The same where that relay has not yet seen that one node is drained: new connections only.
    pub apart: u64,
    /// Clients of the fullest relay over the mean, before and after.
    pub fullest: [f64; 2],
}

/// What the relay that takes over clients knows of nodes that were drained before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Knows {
    /// It has drained them as well.
    TheSame,
    /// Not yet that they are drained.
    Less,
    /// It was started since then, and has nothing to go on from.
    NothingOfBefore,
}

impl Knows {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TheSame, Self::Less, Self::NothingOfBefore];

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TheSame => "has drained them too",
            Self::Less => "has not drained them yet",
            Self::NothingOfBefore => "was started after it",
        }
    }
}

/// One relay takes over the clients of another, packet by packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TakeOver {
    /// What the one that takes over knows.
    pub knows: Knows,
    /// Whether it has heard what the other one knew.
    pub exchange: bool,
    /// Clients, each with a connection from before the drain and one from after it.
    pub clients: usize,
    /// Connections from before that are sent elsewhere than to their node.
    pub older: usize,
    /// Connections from after that are.
    pub newer: usize,
    /// Size of what the lost relay has told, bytes.
    pub told: usize,
    /// Connections that it had recorded.
    pub recorded: usize,
}

/// Loses and adds a relay before every kind of router. The first relay is lost, which is the worst one to lose by
/// hash-threshold.
///
/// # Errors
///
/// A relay has no table.
pub(super) fn changes(
    size: &Size,
    one: &Host,
    other: &Host,
    drained: Ipv4Addr,
) -> anyhow::Result<Vec<Change>> {
    let owners = other.owners()?;
    let mut ahead = one.twin();
    let same = ahead.owners()?;
    ahead.operate(&[drained], OperatorState::Draining)?;
    let ahead = ahead.owners()?;
    let mut changes = Vec::new();
    for choice in Choice::ALL {
        for relays in size.relays {
            let before = Router::new(choice, relays);
            for joins in [false, true] {
                let after = if joins {
                    before.with(relays)
                } else {
                    before.without(0)
                };
                let mut moves = Moves::new(relays);
                let table = one.table()?;
                for client in Addresses::Dense.of(size.clients) {
                    let slot = usize::from(table.slot_of(client));
                    let reached = [before.relay_of(client), after.relay_of(client)];
                    moves.add(reached, if joins { relays } else { 0 });
                    if reached[0] != reached[1] {
                        moves.other_node += u64::from(same[slot] != owners[slot]);
                        moves.apart += u64::from(ahead[slot] != owners[slot]);
                    }
                }
                let left = if joins { relays + 1 } else { relays - 1 };
                changes.push(moves.change(choice, relays, joins, left, size.clients));
            }
        }
    }
    Ok(changes)
}

/// What is counted of a change.
struct Moves {
    clients: [Vec<u64>; 2],
    elsewhere: u64,
    needless: u64,
    other_node: u64,
    apart: u64,
}

impl Moves {
    fn new(relays: u16) -> Self {
        let none = vec![0; usize::from(relays) + 1];
        Self {
            clients: [none.clone(), none],
            elsewhere: 0,
            needless: 0,
            other_node: 0,
            apart: 0,
        }
    }

    /// A client by the relays that it reaches before and after; `changed` is the relay that is lost or joins.
    fn add(&mut self, reached: [u16; 2], changed: u16) {
        for (clients, relay) in self.clients.iter_mut().zip(reached) {
            clients[usize::from(relay)] += 1;
        }
        if reached[0] != reached[1] {
            self.elsewhere += 1;
            self.needless += u64::from(!reached.contains(&changed));
        }
    }

    fn change(self, choice: Choice, relays: u16, joins: bool, left: u16, all: u32) -> Change {
        let all = f64::from(all);
        let over = |clients: &[u64], relays: u16| {
            let most = clients.iter().max().copied().unwrap_or(0);
            most as f64 * f64::from(relays) / all
        };
        Change {
            choice,
            relays,
            joins,
            elsewhere: self.elsewhere as f64 / all,
            needless: self.needless as f64 / all,
            other_node: self.other_node,
            apart: self.apart,
            fullest: [over(&self.clients[0], relays), over(&self.clients[1], left)],
        }
    }
}

/// Local ports of clients' connections.
const OLDER: u16 = 40_000;
const NEWER: u16 = 50_000;

/// Loses the first of several relays after nodes were drained, and follows its clients to another one.
///
/// # Errors
///
/// A handshake goes astray.
pub(super) fn take_overs(
    size: &Size,
    one: &Host,
    other: &Host,
    nodes: &[Ipv4Addr],
) -> anyhow::Result<Vec<TakeOver>> {
    let percent = (nodes.len() / 100).max(1);
    let drained: Vec<Ipv4Addr> = nodes
        .iter()
        .copied()
        .step_by(nodes.len() / percent)
        .collect();
    let router = Router::new(Choice::Resilient, size.relays[0]);
    let lost = Addresses::Dense.of(size.clients);
    let clients: Vec<[u8; 4]> = lost
        .filter(|client| router.relay_of(*client) == 0)
        .collect();
    let mut lost = one.twin();
    let older: Vec<Owner> = clients
        .iter()
        .map(|client| lost.sends((*client, OLDER)))
        .collect();
    lost.operate(&drained, OperatorState::Draining)?;
    let newer = clients.iter().map(|client| lost.open((*client, NEWER)));
    let newer: Vec<Ipv4Addr> = newer.collect::<anyhow::Result<_>>()?;
    let (document, told) = lost.tell()?;
    let mut anew = None;
    let mut take_overs = Vec::new();
    for knows in Knows::ALL {
        for exchange in [false, true] {
            let mut heir = match knows {
                Knows::TheSame => {
                    let mut heir = other.twin();
                    heir.operate(&drained, OperatorState::Draining)?;
                    heir
                }
                Knows::Less => other.twin(),
                Knows::NothingOfBefore => {
                    if anew.is_none() {
                        anew = Some(Host::new(size.key, nodes, &drained)?);
                    }
                    anew.as_ref().context("a relay that was started")?.twin()
                }
            };
            if exchange {
                let standing = match knows {
                    Knows::TheSame | Knows::Less => Standing::Level,
                    Knows::NothingOfBefore => Standing::Behind,
                };
                heir.take(&document, standing);
            }
            let astray = |port: u16, node: Owner, client: [u8; 4]| {
                node.is_none() || heir.sends((client, port)) != node
            };
            let of_older = clients.iter().zip(&older);
            let of_newer = clients.iter().zip(&newer);
            take_overs.push(TakeOver {
                knows,
                exchange,
                clients: clients.len(),
                older: of_older
                    .filter(|(client, node)| astray(OLDER, **node, **client))
                    .count(),
                newer: of_newer
                    .filter(|(client, node)| astray(NEWER, Some(**node), **client))
                    .count(),
                told,
                recorded: document.flows.len(),
            });
        }
    }
    Ok(take_overs)
}
