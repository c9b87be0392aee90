//! The state of the relay, and what it wants in the kernel's maps.

mod adopt;
mod reconfigure;
mod retarget;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Instant,
};

use redirector_common::{
    abi::{self as data_path, Backend, Endpoint, EndpointKey4, Flow, FlowKey4, NextHop, SlotTable},
    hash,
    wire::protocol,
};
use thiserror::Error;

use super::{
    backends::{Backends, Listener},
    flows::{Census, Timeouts, is_over},
    plan::State,
    rendezvous::Candidate,
    silence::{Silence, Traffic},
    slots::SlotBook,
};
use crate::{
    config::{Config, Redirect},
    health::{Change, Observation, Target, Tracker},
};

/// A redirect at work.
pub struct RedirectState {
    /// Its name.
    pub name: String,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Its slots.
    pub book: SlotBook,
    /// Whether its clients go to the backup pool.
    pub using_backup: bool,
    /// Those that `book` was last computed for, by this agent.
    candidates: Option<Vec<Candidate>>,
}

/// What the checks say about a node's socket.
pub struct Checked {
    /// Rise and fall.
    pub tracker: Tracker,
    /// The last result.
    pub last: Option<Observation>,
}

/// What an earlier agent has left in the kernel.
#[derive(Default)]
pub struct Found {
    /// Listeners and nodes' sockets.
    pub endpoints: BTreeMap<EndpointKey4, Endpoint>,
    /// The backends that they name.
    pub backends: BTreeMap<u16, Backend>,
    /// Slot tables by redirect.
    pub tables: BTreeMap<u16, Box<SlotTable>>,
}

/// Something that a running relay can't do.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RelayError {
    /// Another key would send every client elsewhere.
    #[error(
        "hash-key differs from the key in use; with it every client would move to another node. Keep \
         the key; to change it, start the agent with the old one, stop it with `redirector stop --detach`, \
         and start it with the new one"
    )]
    KeyChange,
    /// More sockets than the map has room for.
    #[error("there are more nodes than the data path has room for ({0})")]
    TooManyBackends(u32),
    /// More redirects than the map has room for.
    #[error("there are more redirects than the data path has room for ({0})")]
    TooManyRedirects(u32),
}

/// The state of the relay. Time comes in as an argument: `epoch` is the data path's clock in seconds.
pub struct Relay {
    config: Config,
    key: [u64; 2],
    timeouts: Timeouts,
    redirects: BTreeMap<u16, RedirectState>,
    backends: Backends,
    checked: HashMap<Target, Checked>,
    silences: BTreeMap<u16, Silence>,
    silent: BTreeSet<u16>,
    /// No node takes clients until all have been checked once. A table for the first node that answers
    /// would be split a moment later, by the second.
    holding: bool,
}

impl Relay {
    /// The relay for a configuration. It goes on from what was `found` in the kernel; `fresh_key` is the
    /// key of the client hash if neither the configuration nor the kernel has one.
    ///
    /// # Errors
    ///
    /// See [`RelayError`].
    pub fn new(
        config: Config,
        fresh_key: [u64; 2],
        found: Found,
        epoch: u32,
        at: Instant,
    ) -> Result<Self, RelayError> {
        let kept = found.tables.values().next().map(|table| table.key);
        let key = match (kept, config.hash_key) {
            (Some(kept), Some(key)) if kept != key => return Err(RelayError::KeyChange),
            (Some(kept), _) => kept,
            (None, key) => key.unwrap_or(fresh_key),
        };
        let mut relay = Self {
            timeouts: timeouts(&config),
            config: Config {
                redirects: Vec::new(),
                ..config.clone()
            },
            key,
            redirects: BTreeMap::new(),
            backends: Backends::default(),
            checked: HashMap::new(),
            silences: BTreeMap::new(),
            silent: BTreeSet::new(),
            holding: found.tables.is_empty(),
        };
        relay.adopt(found, &config, epoch);
        relay.reconfigure(config, epoch, at)?;
        Ok(relay)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The key of the client hash.
    pub fn key(&self) -> [u64; 2] {
        self.key
    }

    /// The redirects by index.
    pub fn redirects(&self) -> &BTreeMap<u16, RedirectState> {
        &self.redirects
    }

    /// The nodes' sockets.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// What the checks say about a socket.
    pub fn checked(&self, target: &Target) -> Option<&Checked> {
        self.checked.get(target)
    }

    /// What is to be checked, and how often.
    pub fn targets(&self) -> Vec<(Target, crate::config::Timing)> {
        let mut targets = Vec::new();
        for redirect in &self.config.redirects {
            for pool in pools(redirect) {
                for node in &self.config.pools[pool].nodes {
                    let target = self.target(pool, &node.name, node.address, redirect.port);
                    targets.push((target, self.config.pools[pool].timing));
                }
            }
        }
        targets
    }

    /// The check of a node of a pool at a port.
    pub fn target(&self, pool: usize, node: &str, address: Ipv4Addr, port: u16) -> Target {
        Target {
            pool: self.config.pools[pool].name.clone(),
            node: node.to_owned(),
            address: SocketAddrV4::new(address, port),
            check: self.config.pools[pool].check,
        }
    }

    /// Takes the result of a check; gives the change of health, if it is one.
    pub fn observe(&mut self, observation: Observation, epoch: u32) -> Option<Change> {
        let success = observation.outcome.success()?;
        let checked = self.checked.get_mut(&observation.target)?;
        let change = checked.tracker.observe(success, observation.at);
        for (_, entry) in self.backends.iter_mut() {
            if entry.address == observation.target.address {
                entry.presumed_up = false;
            }
        }
        checked.last = Some(observation);
        if self.checked.values().all(|checked| checked.last.is_some()) {
            self.holding = false;
        }
        self.retarget(epoch);
        change
    }

    /// Waits no longer for the first result of every check.
    pub fn release(&mut self, epoch: u32) {
        if self.holding {
            self.holding = false;
            self.retarget(epoch);
        }
    }

    /// Takes the ways to the nodes.
    pub fn reach(&mut self, hop: impl Fn(Ipv4Addr) -> Option<NextHop>, epoch: u32) {
        for (_, entry) in self.backends.iter_mut() {
            entry.reach_by(hop(*entry.address.ip()));
        }
        self.retarget(epoch);
    }

    /// Takes the data path's counters: which nodes are silent while they are spoken to. Gives those whose
    /// silence began.
    pub fn listen(&mut self, traffic: impl Fn(u16) -> Traffic, at: Instant) -> Vec<u16> {
        let ids: Vec<u16> = self.backends.iter().map(|(id, _)| id).collect();
        let mut fell_silent = Vec::new();
        for id in ids {
            let now = traffic(id);
            let silence = self.silences.entry(id).or_insert_with(|| Silence::new(now));
            if !silence.observe(now, at) {
                self.silent.remove(&id);
            } else if self.silent.insert(id) {
                fell_silent.push(id);
            }
        }
        self.mark_dead();
        fell_silent
    }

    /// Every node of every pool of every redirect: name and address.
    fn members(&self) -> impl Iterator<Item = (&Redirect, usize, (String, Ipv4Addr))> {
        self.config.redirects.iter().flat_map(move |redirect| {
            pools(redirect).flat_map(move |pool| {
                let nodes = self.config.pools[pool].nodes.iter();
                nodes.map(move |node| (redirect, pool, (node.name.clone(), node.address)))
            })
        })
    }

    /// The round over recorded flows: settles slots, forgets backends that nothing names any more. Gives the
    /// flows to be forgotten, which may be done once the new tables are in place, and to those only that
    /// are still as they were read: a client may have used its port again meanwhile.
    pub fn round(&mut self, flows: &[(FlowKey4, Flow)], epoch: u32) -> Vec<(FlowKey4, Flow)> {
        let mut redirect_of = HashMap::new();
        for (index, state) in &self.redirects {
            for listener in &state.listeners {
                redirect_of.insert(listener.id, *index);
            }
        }
        let mut forgotten = Vec::new();
        let mut live: BTreeMap<u16, Vec<&(FlowKey4, Flow)>> = BTreeMap::new();
        let mut named: BTreeSet<u16> = BTreeSet::new();
        for entry in flows {
            let (key, flow) = entry;
            match redirect_of.get(&u16::from_ne_bytes(key.listener)) {
                Some(index) if !is_over(flow, &self.timeouts, epoch) => {
                    live.entry(*index).or_default().push(entry);
                    named.insert(flow.backend);
                }
                _ => forgotten.push(*entry),
            }
        }
        for (index, state) in &mut self.redirects {
            if state.book.table().split_slots == 0 {
                continue;
            }
            let flows = live.get(index).map(Vec::as_slice).unwrap_or_default();
            let census = Census::take(&state.book, flows.iter().map(|(key, flow)| (key, flow)));
            state.book.settle(&census, &self.timeouts, epoch);
        }
        for (index, flows) in live {
            let book = &self.redirects[&index].book;
            let settled = flows
                .into_iter()
                .filter(|(key, _)| !book[hash::slot_of(book.key(), key.client)].is_split());
            forgotten.extend(settled);
        }
        self.forget_backends(&named);
        forgotten
    }

    /// Backends that no pool, no slot and no recorded flow names have nothing left to do.
    fn forget_backends(&mut self, named: &BTreeSet<u16>) {
        let members: BTreeSet<SocketAddrV4> = self
            .members()
            .map(|(redirect, _, node)| SocketAddrV4::new(node.1, redirect.port))
            .collect();
        let redirects = &self.redirects;
        self.backends.retain(|id, entry| {
            members.contains(&entry.address)
                || named.contains(&id)
                || redirects.values().any(|state| state.book.names(id))
        });
        let backends = &self.backends;
        self.silences.retain(|id, _| backends.get(*id).is_some());
        self.silent.retain(|id| backends.get(*id).is_some());
    }

    /// What the maps should hold.
    pub fn desired(&self) -> State {
        let mut state = State::default();
        for (index, redirect) in &self.redirects {
            state
                .tables
                .insert(*index, redirect.book.table().generation);
            for listener in &redirect.listeners {
                let (ip, port) = (IpAddr::V4(*listener.address.ip()), listener.address.port());
                let entry = data_path::Listener::new(ip, port, protocol::TCP, *index, 0);
                state.listeners.insert(listener.id, entry);
                let endpoint = Endpoint::listener(ip, port, *index, listener.id, 0);
                state.endpoints.insert(key_of(listener.address), endpoint);
                let vip = Endpoint::vip(*index, listener.id, 0);
                state.endpoints.insert(address_key(listener.address), vip);
            }
        }
        for (id, entry) in self.backends.iter() {
            state.backends.insert(id, entry.backend);
            let Listener {
                address,
                redirect,
                id: listener,
            } = entry.listener;
            let (ip, port) = (IpAddr::V4(*address.ip()), address.port());
            let endpoint = Endpoint::node(&entry.backend, id, ip, port, redirect, listener, 0);
            state.endpoints.insert(key_of(entry.address), endpoint);
            let node = Endpoint::node_address(0);
            state.endpoints.insert(address_key(entry.address), node);
        }
        state
    }

    /// The table of a redirect.
    pub fn table(&self, index: u16) -> Option<&SlotTable> {
        self.redirects.get(&index).map(|state| state.book.table())
    }
}

/// The main pool, then the backup.
pub fn pools(redirect: &Redirect) -> impl Iterator<Item = usize> + use<> {
    std::iter::once(redirect.pool).chain(redirect.backup)
}

fn timeouts(config: &Config) -> Timeouts {
    let seconds =
        |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    Timeouts {
        session: seconds(config.flows.session_timeout),
        handshake: seconds(config.flows.handshake_timeout),
        closing: seconds(config.flows.closing_timeout),
    }
}

fn socket(key: EndpointKey4) -> SocketAddrV4 {
    SocketAddrV4::new(key.address.into(), u16::from_be_bytes(key.port))
}

/// The key of an address as such, whatever the port and protocol.
fn address_key(address: SocketAddrV4) -> EndpointKey4 {
    EndpointKey4 {
        address: address.ip().octets(),
        ..EndpointKey4::default()
    }
}

fn key_of(address: SocketAddrV4) -> EndpointKey4 {
    EndpointKey4 {
        address: address.ip().octets(),
        port: address.port().to_be_bytes(),
        protocol: protocol::TCP,
        reserved: 0,
    }
}
