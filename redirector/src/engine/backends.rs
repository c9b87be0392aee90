//! Which node has which entry in the map of backends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use redirector_common::abi::{Backend, MAX_BACKENDS, NextHop};

/// A node's socket as the data path knows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The node; port 0 where clients' ports are kept.
    pub address: SocketAddr,
    /// Numbers of the listeners whose clients may be on it.
    pub listeners: BTreeSet<u16>,
    /// What is (to be) in the map.
    pub backend: Backend,
    /// It served clients before this agent started or its check was exchanged for another, and that check
    /// has said nothing yet.
    pub presumed_up: bool,
}

/// All nodes' sockets by id. An id stays with its socket as long as a slot or a flow may name it.
#[derive(Clone, Debug, Default)]
pub struct Backends {
    entries: BTreeMap<u16, Entry>,
    ids: HashMap<SocketAddr, u16>,
}

impl Backends {
    /// Takes over an entry found in the kernel.
    pub fn adopt(&mut self, id: u16, entry: Entry) {
        self.ids.entry(entry.address).or_insert(id);
        self.entries.insert(id, entry);
    }

    /// The id of a socket, a new one if it has none, reached from `listeners` as well; `None` when all ids are
    /// taken.
    pub fn ensure(
        &mut self,
        address: SocketAddr,
        listeners: impl IntoIterator<Item = u16>,
    ) -> Option<u16> {
        let known = self.id_of(address);
        let limit = u16::try_from(MAX_BACKENDS).unwrap_or(u16::MAX);
        let id = known.or_else(|| (1..limit).find(|id| !self.entries.contains_key(id)))?;
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            address,
            listeners: BTreeSet::new(),
            backend: Backend::new(address.ip(), address.port()),
            presumed_up: false,
        });
        entry.listeners.extend(listeners);
        self.ids.insert(address, id);
        Some(id)
    }

    /// The id of a socket.
    pub fn id_of(&self, address: SocketAddr) -> Option<u16> {
        self.ids.get(&address).copied()
    }

    /// The entry of an id.
    pub fn get(&self, id: u16) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Entry)> {
        self.entries.iter_mut().map(|(id, entry)| (*id, entry))
    }

    /// Keeps those that `keep` says are still needed.
    pub fn retain(&mut self, keep: impl Fn(u16, &Entry) -> bool) {
        self.entries.retain(|id, entry| keep(*id, entry));
        let entries = &self.entries;
        self.ids.retain(|_, id| entries.contains_key(id));
    }
}

impl Entry {
    /// Notes the way to the node. A way that is lost for the moment is kept: packets of established
    /// connections have nowhere else to go. Whether that changes the entry.
    pub fn reach_by(&mut self, hop: Option<NextHop>) -> bool {
        let before = self.backend;
        if let Some(hop) = hop {
            self.backend = self.backend.via(hop);
        }
        self.backend != before
    }
}
