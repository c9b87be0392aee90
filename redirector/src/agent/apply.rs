//! Desired state → the kernel's maps. The only writer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use anyhow::Context as _;
use redirector_common::abi::{ENDPOINT_LISTENER, ENDPOINT_NODE, NextHop};

use crate::{
    datapath::{Maps, MapsError, Returns},
    engine::{Found, Relay, State, Write, plan},
    net::{
        family::Family,
        trie::{ReturnTrie, empty_root},
        trie_store::TrieStore,
        view::NetView,
    },
};

/// The maps, and what is known to be in them.
pub(super) struct Applied {
    pub(super) maps: Maps,
    held: State,
    /// One of each family.
    tries: [TrieStore; 2],
    neighbours: BTreeMap<Ipv6Addr, NextHop>,
    tx_ports: BTreeSet<u32>,
}

impl Applied {
    /// Reads what an earlier agent has left.
    pub(super) fn find(maps: &mut Maps) -> anyhow::Result<Found> {
        let endpoints = maps.endpoints()?;
        let mut found = Found {
            endpoints,
            ..Found::default()
        };
        let sockets = found.endpoints.values();
        for endpoint in sockets.filter(|e| matches!(e.kind, ENDPOINT_LISTENER | ENDPOINT_NODE)) {
            if endpoint.backend != 0 {
                found
                    .backends
                    .insert(endpoint.backend, maps.backend(endpoint.backend)?);
            }
            if let Some(table) = maps.slot_table(endpoint.redirect)? {
                found.tables.insert(endpoint.redirect, table);
            }
        }
        Ok(found)
    }

    /// Starts writing to `maps`, which hold what was `found`.
    pub(super) fn new(mut maps: Maps, found: &Found) -> anyhow::Result<Self> {
        // An earlier agent's trie may be half written. Until ours is in place the kernel is asked.
        for family in Family::ALL {
            maps.returns.set_root(family, &empty_root())?;
        }
        let neighbours = maps.returns.neighbours()?;
        let tables = found
            .tables
            .iter()
            .map(|(index, table)| (*index, table.generation));
        let held = State {
            endpoints: found.endpoints.clone(),
            // Not read back: an agent writes them all once.
            listeners: BTreeMap::new(),
            backends: found.backends.clone(),
            tables: tables.collect::<BTreeMap<_, _>>(),
        };
        Ok(Self {
            maps,
            held,
            tries: Family::ALL.map(TrieStore::new),
            neighbours,
            tx_ports: BTreeSet::new(),
        })
    }

    /// Writes what differs from what the relay wants. What fails is tried again at the next call.
    pub(super) fn apply(&mut self, relay: &Relay) -> anyhow::Result<()> {
        let desired = relay.desired();
        for write in plan(&self.held, &desired) {
            match &write {
                Write::Listener(number, listener) => self.maps.set_listener(*number, listener)?,
                Write::Backend(id, backend) => self.maps.set_backend(*id, backend)?,
                Write::Table(index, _) => {
                    let table = relay.table(*index).context("a redirect without a table")?;
                    self.maps.set_slot_table(*index, table)?;
                }
                Write::Ports(filter) => self.maps.set_port_filter(filter)?,
                Write::Endpoint(key, endpoint) => self.maps.set_endpoint(key, endpoint)?,
                Write::RemoveEndpoint(key) => self.maps.remove_endpoint(key)?,
                Write::ClearBackend(id) => {
                    self.maps
                        .set_backend(*id, &redirector_common::abi::Backend::default())?;
                }
            }
            self.held.note(&write);
        }
        self.held.forget_tables(&desired);
        Ok(())
    }

    /// Mirrors the return routes.
    pub(super) fn route(&mut self, view: &NetView, allowed: &BTreeSet<u32>) -> anyhow::Result<()> {
        for ifindex in allowed {
            if self.tx_ports.insert(*ifindex) {
                self.maps.add_tx_port(*ifindex)?;
            }
        }
        for store in &mut self.tries {
            let family = store.family();
            let trie = ReturnTrie::build(view, allowed, family);
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
