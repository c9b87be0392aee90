//! Desired state → the kernel's maps. The only writer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use anyhow::Context as _;
use redirector_common::abi::{Backend, ENDPOINT_LISTENER, Listener, Load, NextHop};

use super::{attachment::Attachment, audit, tell::Noted};
use crate::{
    datapath::{Maps, MapsError, Mode, Returns},
    engine::{Found, Relay, State, Write, plan, ports},
    family::Family,
    names::With,
    net::{
        trie::{ReturnTrie, empty_root},
        trie_store::TrieStore,
        view::NetView,
    },
};

/// The maps, and what is known to be in them.
pub(super) struct Applied {
    pub(super) maps: Maps,
    held: State,
    /// [`Relay::revision`] of what is in the maps, if all of it is.
    revision: Option<u64>,
    /// What a connection weighs on each node whose load is in the map.
    steps: BTreeMap<u16, u64>,
    /// Writes that were not told of yet.
    noted: Vec<Noted>,
    /// One of each family.
    tries: [TrieStore; 2],
    gateways: BTreeSet<(u32, IpAddr)>,
    neighbours: BTreeMap<Ipv6Addr, NextHop>,
    tx_ports: BTreeSet<u32>,
}

impl Applied {
    /// Reads what an earlier agent has left.
    pub(super) fn find(maps: &mut Maps) -> anyhow::Result<Found> {
        let mut found = Found {
            endpoints: maps.endpoints()?,
            ..Found::default()
        };
        for (name, flow) in maps.flows()? {
            found.flows.insert(match name.with {
                With::Listener(listener) => (listener, flow.backend),
                With::Backend(backend) => (flow.backend, backend),
            });
        }
        let mut named: BTreeSet<u16> = found.flows.iter().map(|(_, backend)| *backend).collect();
        for endpoint in found.endpoints.values() {
            named.insert(endpoint.backend);
            if endpoint.listener != 0 && !found.listeners.contains_key(&endpoint.listener) {
                let listener = maps.listener(endpoint.listener)?;
                found.listeners.insert(endpoint.listener, listener);
            }
            if endpoint.kind != ENDPOINT_LISTENER || found.tables.contains_key(&endpoint.redirect) {
                continue;
            }
            if let Some(table) = maps.slot_table(endpoint.redirect)? {
                let slots = table.slots.iter();
                named.extend(slots.flat_map(|slot| [slot.now, slot.unrecorded()]));
                found.tables.insert(endpoint.redirect, table);
            }
        }
        for id in named.into_iter().filter(|id| *id != 0) {
            found.backends.insert(id, maps.backend(id)?);
        }
        Ok(found)
    }

    /// Starts writing to `maps`, which hold what was `found`.
    pub(super) fn new(mut maps: Maps, found: &Found) -> anyhow::Result<Self> {
        // An earlier agent's trie may be half written. Until ours is in place the kernel is asked.
        for family in Family::BOTH {
            maps.returns.set_root(family, &empty_root())?;
        }
        let neighbours = maps.returns.neighbours()?;
        let tables = found
            .tables
            .iter()
            .map(|(index, table)| (*index, table.generation));
        let held = State {
            endpoints: found.endpoints.clone(),
            listeners: found.listeners.clone(),
            backends: found.backends.clone(),
            tables: tables.collect::<BTreeMap<_, _>>(),
        };
        Ok(Self {
            maps,
            held,
            revision: None,
            steps: BTreeMap::new(),
            noted: Vec::new(),
            tries: Family::BOTH.map(TrieStore::new),
            gateways: BTreeSet::new(),
            neighbours,
            tx_ports: BTreeSet::new(),
        })
    }

    /// Tells the data path on which interfaces the kernel completes checksums that were left to the device.
    pub(super) fn note_modes(&mut self, attachments: &[Attachment]) -> Result<(), MapsError> {
        let generic = attachments
            .iter()
            .filter(|attachment| attachment.mode == Mode::Generic);
        self.maps
            .set_generic(&generic.map(|attachment| attachment.ifindex).collect())
    }

    /// Writes what differs from what the relay wants. What fails is tried again at the next call.
    /// Says whether there was something to write.
    pub(super) fn apply(&mut self, relay: &Relay) -> anyhow::Result<bool> {
        if self.revision == Some(relay.revision()) {
            return Ok(false);
        }
        self.revision = None;
        let desired = relay.desired();
        let writes = plan(&self.held, &desired);
        let both_tables = |one: &Write, other: &Write| {
            matches!((one, other), (Write::Table(..), Write::Table(..)))
        };
        for writes in writes.chunk_by(both_tables) {
            self.write(relay, writes)?;
            for write in writes {
                self.note(write);
                self.held.note(write);
            }
        }
        self.held.forget_tables(&desired);
        self.revision = Some(relay.revision());
        Ok(!writes.is_empty())
    }

    /// Writes the loads of nodes: all of them when they have just been counted, otherwise those that nobody has written,
    /// since the data path has counted on the others meanwhile.
    pub(super) fn write_loads(
        &mut self,
        loads: &BTreeMap<u16, Load>,
        counted: bool,
    ) -> Result<(), MapsError> {
        for (id, load) in loads {
            if counted || self.steps.get(id) != Some(&load.step) {
                self.maps.set_load(*id, load)?;
                self.steps.insert(*id, load.step);
            }
        }
        self.steps.retain(|id, _| loads.contains_key(id));
        Ok(())
    }

    /// Notes what somebody may want to hear of.
    fn note(&mut self, write: &Write) {
        if let Write::Backend(id, after) = write {
            let before = self.held.backends.get(id).copied().unwrap_or_default();
            self.noted.push(Noted::Backend {
                id: *id,
                before,
                after: *after,
            });
        } else if let Write::Table(redirect, _) = write {
            self.noted.push(Noted::Table {
                redirect: *redirect,
            });
        }
    }

    /// What was written and is worth being told, since this was last called.
    pub(super) fn take_noted(&mut self) -> Vec<Noted> {
        std::mem::take(&mut self.noted)
    }

    /// Makes one write, or puts several tables in place.
    fn write(&mut self, relay: &Relay, writes: &[Write]) -> anyhow::Result<()> {
        let mut tables = Vec::new();
        for write in writes {
            match write {
                Write::Backend(id, backend) => self.maps.set_backend(*id, backend)?,
                Write::Table(index, _) => {
                    let table = relay.table(*index).context("a redirect without a table")?;
                    tables.push((*index, table));
                }
                Write::Listener(id, listener) => self.maps.set_listener(*id, listener)?,
                Write::ClearListener(id) => self.maps.set_listener(*id, &Listener::default())?,
                Write::Ports(filter) => self.maps.set_port_filter(filter)?,
                Write::Endpoints(endpoints) => self.maps.set_endpoints(endpoints)?,
                Write::ClearBackend(id) => {
                    self.maps.set_backend(*id, &Backend::default())?;
                    self.maps.forget_counted(*id)?;
                }
            }
        }
        Ok(self.maps.set_slot_tables(&tables)?)
    }

    /// Reads again what is in the maps, which somebody else has changed; the next [`Self::apply`] mends it.
    pub(super) fn look_again(&mut self, relay: &Relay) -> anyhow::Result<()> {
        let desired = relay.desired();
        self.revision = None;
        self.held.endpoints = self.maps.endpoints()?;
        self.held.listeners = audit::listeners(&self.maps)?;
        self.held.backends = audit::backends(&self.maps)?;
        let places = self.held.endpoints.keys().chain(desired.endpoints.keys());
        self.maps.set_port_filter(&ports(places))?;
        for index in desired.tables.keys() {
            let kernel = self.maps.slot_table(*index)?;
            if kernel.as_deref().map(bytemuck::bytes_of)
                != relay.table(*index).map(bytemuck::bytes_of)
            {
                self.held.tables.remove(index);
            }
        }
        Ok(())
    }

    /// What is known to be in the maps.
    pub(super) fn held(&self) -> &State {
        &self.held
    }

    /// The gateways that clients are answered through, with their interfaces.
    pub(super) fn gateways(&self) -> &BTreeSet<(u32, IpAddr)> {
        &self.gateways
    }

    /// Mirrors the return routes.
    pub(super) fn route(&mut self, view: &NetView, allowed: &BTreeSet<u32>) -> anyhow::Result<()> {
        // The kernel has emptied the places of interfaces that are gone.
        self.tx_ports.retain(|ifindex| allowed.contains(ifindex));
        for ifindex in allowed {
            if self.tx_ports.insert(*ifindex) {
                self.maps.add_tx_port(*ifindex)?;
            }
        }
        self.gateways.clear();
        for store in &mut self.tries {
            let family = store.family();
            let trie = ReturnTrie::build(view, allowed, family);
            self.gateways.extend(&trie.gateways);
            let returns = &mut self.maps.returns;
            if family == Family::V6 {
                mirror_neighbours(returns, &mut self.neighbours, &trie.neighbours)?;
            }
            let update = store.plan(&trie);
            for (index, node) in &update.node_writes {
                returns.set_node(family, *index, node)?;
            }
            for (index, hop) in &update.hop_writes {
                returns.set_hop(*index, hop)?;
            }
            if let Some(root) = &update.root {
                returns.set_root(family, root)?;
            }
            store.commit(update);
        }
        Ok(())
    }
}

/// Makes the map of on-link neighbours, which holds what is `held`, hold the `wanted` ones. A reader that sees
/// some of the changes and not the others, or the trie of before, learns of a host what is true now or asks the
/// kernel.
fn mirror_neighbours(
    returns: &mut Returns,
    held: &mut BTreeMap<Ipv6Addr, NextHop>,
    wanted: &BTreeMap<Ipv6Addr, NextHop>,
) -> Result<(), MapsError> {
    // First what goes, so that there is always room.
    let gone: Vec<Ipv6Addr> = held
        .keys()
        .filter(|address| !wanted.contains_key(address))
        .copied()
        .collect();
    for address in gone {
        returns.remove_neighbour(address)?;
        held.remove(&address);
    }
    for (address, hop) in wanted {
        if held.get(address) != Some(hop) {
            returns.set_neighbour(*address, hop)?;
            held.insert(*address, *hop);
        }
    }
    Ok(())
}
