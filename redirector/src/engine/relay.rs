//! The state of the relay, and what it wants in the kernel's maps.

mod adopt;
mod books;
mod hear;
mod members;
mod operate;
mod peer;
mod reconfigure;
mod retarget;
mod round;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use redirector_common::abi::{self, Backend, Endpoint, NextHop, SlotTable};
use thiserror::Error;

use members::Reach;
pub use operate::{Live, LiveFlows};
pub use peer::{Carried, FromPeer, Told};

use super::{
    associations::Associations,
    backends::{Backends, Entry},
    doubt::Doubts,
    endpoints::{self, Served},
    flows::Timeouts,
    listeners::{Listener, Retired},
    operator::Operator,
    plan::State,
    ramp::Ramp,
    rendezvous::{Candidate, Owners, Rendezvous},
    silence::Silence,
    slots::SlotBook,
};
use crate::{
    config::{Config, Node, Pool, Redirect},
    family::Family,
    health::{Change, Health, Observation, Target, Tracker},
    names::Place,
};

/// A redirect at work in one family.
#[derive(Clone)]
pub struct RedirectState {
    /// Its name.
    pub name: String,
    /// Its place among the configured redirects.
    position: usize,
    /// The family of its clients and nodes.
    pub family: Family,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Its slots, which other redirects may have in common with it.
    pub book: Arc<SlotBook>,
    /// Whether its clients go to the backup pool.
    pub using_backup: bool,
    /// The priority of the main pool that has its clients.
    pub tier: Option<u32>,
    /// The nodes that come up slowly.
    ramp: Ramp,
    /// Those that `book` was last computed for, by this agent.
    candidates: Option<Vec<Candidate>>,
    /// What they own.
    owners: Option<Arc<Owners>>,
}

/// What the checks say about a node's socket.
#[derive(Clone)]
pub struct Checked {
    /// Rise and fall.
    pub tracker: Tracker,
    /// The last result.
    pub last: Option<Observation>,
}

/// What an earlier agent has left in the kernel.
#[derive(Default)]
pub struct Found {
    /// Listeners, nodes' sockets, and their addresses.
    pub endpoints: BTreeMap<Place, Endpoint>,
    /// The listeners that they name.
    pub listeners: BTreeMap<u16, abi::Listener>,
    /// The backends that endpoints, tables and recorded flows name.
    pub backends: BTreeMap<u16, Backend>,
    /// Slot tables by redirect.
    pub tables: BTreeMap<u16, Box<SlotTable>>,
    /// Listener and backend of the recorded flows.
    pub flows: BTreeSet<(u16, u16)>,
    /// What its operator has said.
    pub operator: Operator,
}

/// A node of a pool as a redirect reaches it.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// The redirect.
    pub redirect: &'a Redirect,
    /// Index of the pool.
    pub pool: usize,
    /// The node.
    pub node: &'a Node,
    /// The one of its addresses that clients of its family are sent to.
    pub address: IpAddr,
}

impl Member<'_> {
    /// The node's socket as the data path knows it.
    pub fn socket(&self) -> SocketAddr {
        self.redirect.socket(self.address)
    }
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
    /// Another prefix would send clients elsewhere.
    #[error(
        "sticky of redirect {0} differs from the one in use; with it clients would move to other nodes. Keep \
         it; to change it, stop the agent with `redirector stop --detach`, and start it with the new one"
    )]
    StickyChange(String),
    /// More sockets than the map has room for.
    #[error("there are more nodes than the data path has room for ({0})")]
    TooManyBackends(u32),
    /// More listeners than the map has room for, those included whose numbers can't be used again yet.
    #[error(
        "there are more listeners than the data path has room for ({0}); if many were replaced, try again later"
    )]
    TooManyListeners(u32),
    /// More listeners and nodes' sockets than the map has room for, those included that live connections hold.
    #[error(
        "there are more addresses and ports of listeners and nodes than the data path has room for ({0}); if many were \
         replaced, try again later"
    )]
    TooManyEndpoints(u32),
    /// More redirects than the map has room for.
    #[error("there are more redirects than the data path has room for ({0})")]
    TooManyRedirects(u32),
}

/// The state of the relay. Time comes in as an argument: `epoch` is the data path's clock in seconds.
#[derive(Clone)]
pub struct Relay {
    config: Config,
    key: [u64; 2],
    timeouts: Timeouts,
    redirects: BTreeMap<u16, RedirectState>,
    backends: Backends,
    retired: Retired,
    associations: Associations,
    checked: HashMap<Target, Checked>,
    silences: BTreeMap<u16, Silence>,
    silent: BTreeSet<u16>,
    operator: Operator,
    doubts: BTreeMap<u16, Doubts>,
    /// No node takes clients until all have been checked once. A table for the first node that answers
    /// would be split a moment later, by the second.
    holding: bool,
    rendezvous: Rendezvous,
    /// The revision, and the listeners and backends of live flows, that the backends were last gone through for.
    tidied: Option<(u64, BTreeSet<(u16, u16)>)>,
    /// When slow starts were last looked at.
    advanced: u32,
    /// Counts the changes of what is wanted in the maps.
    revision: u64,
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
            retired: Retired::default(),
            associations: Associations::default(),
            checked: HashMap::new(),
            silences: BTreeMap::new(),
            silent: BTreeSet::new(),
            operator: found.operator.clone(),
            doubts: BTreeMap::new(),
            holding: found.tables.is_empty(),
            rendezvous: Rendezvous::new(key),
            tidied: None,
            advanced: epoch,
            revision: 0,
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

    /// Changes what is believed of the nodes' sockets; [`Relay::operate`] makes it count.
    pub(super) fn presume(&mut self, change: impl Fn(&mut Entry)) {
        self.backends
            .iter_mut()
            .for_each(|(_, entry)| change(entry));
    }

    /// What the checks say about a socket.
    pub fn checked(&self, target: &Target) -> Option<&Checked> {
        self.checked.get(target)
    }

    /// What is to be checked, and how often.
    pub fn targets(&self) -> Vec<(Target, crate::config::Timing)> {
        let mut seen = HashSet::new();
        self.distinct_members()
            .filter_map(|member| {
                let (pool, node) = self.checked_node(&member);
                Some((self.target(&member)?, node.timing.unwrap_or(pool.timing)))
            })
            .filter(|(target, _)| seen.insert(target.clone()))
            .collect()
    }

    /// The check of a node that a redirect reaches; that of its parent, if it has one. There is none while it is not known
    /// where the parent is.
    pub fn target(&self, member: &Member<'_>) -> Option<Target> {
        let (pool, node) = self.checked_node(member);
        let address = if member.node.parent.is_some() {
            let same = node.addresses.of(Family::of(member.address));
            same.or_else(|| node.addresses.iter().next())?
        } else {
            member.address
        };
        let mut redirects = self.config.redirects.iter();
        // A parent in another pool is checked as clients reach it.
        let redirect = match member.node.parent {
            Some(parent) if parent.pool != member.pool => {
                let uses = |r: &&Redirect| r.pool == parent.pool || r.backup == Some(parent.pool);
                redirects.find(uses).unwrap_or(member.redirect)
            }
            Some(_) | None => member.redirect,
        };
        Some(Target {
            pool: pool.name.clone(),
            node: node.name.clone(),
            address: redirect.checked_socket(node, address),
            checks: Arc::clone(&pool.checks),
            ttl: node.check_ttl,
        })
    }

    /// What the checks say about a node that a redirect reaches.
    pub fn checked_of(&self, member: &Member<'_>) -> Option<&Checked> {
        self.checked.get(&self.target(member)?)
    }

    /// The node whose checks tell the state of a member, and its pool.
    fn checked_node<'a>(&'a self, member: &Member<'a>) -> (&'a Pool, &'a Node) {
        let pools = &self.config.pools;
        match member.node.parent {
            Some(parent) => {
                let pool = &pools[parent.pool];
                (pool, &pool.nodes[parent.node])
            }
            None => (&pools[member.pool], member.node),
        }
    }

    /// The nodes that have the state of a target without being it, by pool and name.
    pub fn followers(&self, target: &Target) -> BTreeSet<(String, String)> {
        self.distinct_members()
            .filter(|member| {
                member.node.parent.is_some() && self.target(member).as_ref() == Some(target)
            })
            .map(|member| {
                let pool = &self.config.pools[member.pool];
                (pool.name.clone(), member.node.name.clone())
            })
            .collect()
    }

    /// Takes the result of a check; gives the change of health, if it is one.
    pub fn observe(&mut self, observation: &Observation, epoch: u32) -> Option<Change> {
        let mut changes = self.observe_all(std::slice::from_ref(observation), epoch);
        changes.pop().flatten()
    }

    /// Takes the results of several checks at once; gives the change of health for each that is one.
    pub fn observe_all(&mut self, observations: &[Observation], epoch: u32) -> Vec<Option<Change>> {
        let mut counts = false;
        let note = |observation| self.note(observation, &mut counts);
        let changes = observations.iter().map(note).collect();
        if self.holding && self.checked.values().all(|checked| checked.last.is_some()) {
            self.holding = false;
            counts = true;
        }
        if counts {
            self.retarget(epoch);
        }
        changes
    }

    /// Takes the result of a check; `counts` is set where it may change which nodes take clients.
    fn note(&mut self, observation: &Observation, counts: &mut bool) -> Option<Change> {
        let checked = self.checked.get_mut(&observation.target)?;
        checked.last = Some(observation.clone());
        let success = observation.outcome.success()?;
        let is_first = checked.tracker.health() == Health::Unknown;
        let change = checked.tracker.observe(success, observation.at);
        *counts |= change.is_some();
        // Nothing is presumed of a node any more once its checks have said something.
        if is_first {
            let told = self.sockets_checked_by(|target| *target == observation.target);
            for (_, entry) in self.backends.iter_mut() {
                let told = entry.presumed_up && told.contains(&entry.address);
                entry.presumed_up &= !told;
                *counts |= told;
            }
        }
        change
    }

    /// Waits no longer for the first result of every check.
    pub fn release(&mut self, epoch: u32) {
        if self.holding {
            self.holding = false;
            self.retarget(epoch);
        }
    }

    /// Gives nodes that come up slowly more of their share, when it is time.
    pub fn advance(&mut self, epoch: u32) {
        let mut states = self.redirects.values();
        if epoch != self.advanced && states.any(|state| state.ramp.is_rising()) {
            self.advanced = epoch;
            self.retarget(epoch);
        }
    }

    /// Takes the ways to the nodes.
    pub fn reach(&mut self, hop: impl Fn(IpAddr) -> Option<NextHop>, epoch: u32) {
        let mut changed = false;
        for (_, entry) in self.backends.iter_mut() {
            changed |= entry.reach_by(hop(entry.address.ip()));
        }
        if changed {
            self.retarget(epoch);
        }
    }

    /// Every node of every pool of every redirect, once for each of its addresses of a family that the redirect listens in.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.config
            .redirects
            .iter()
            .flat_map(|redirect| members(&self.config, redirect))
    }

    /// The sockets of the nodes whose checks are among `which`.
    fn sockets_checked_by(&self, which: impl Fn(&Target) -> bool) -> BTreeSet<SocketAddr> {
        self.distinct_members()
            .filter(|member| self.target(member).is_some_and(|target| which(&target)))
            .map(|member| member.socket())
            .collect()
    }

    /// The listeners by number, each with its redirect.
    fn served(&self) -> BTreeMap<u16, Served<'_>> {
        let mut served = BTreeMap::new();
        for state in self.redirects.values() {
            if let Some(redirect) = self.configured(state) {
                let mine = state.listeners.iter().map(|listener| Served {
                    listener: *listener,
                    redirect,
                    pools: &self.config.pools,
                    settled: !self.holding,
                });
                served.extend(mine.map(|one| (one.listener.id, one)));
            }
        }
        served
    }

    /// The configuration of a redirect.
    pub fn configured(&self, state: &RedirectState) -> Option<&Redirect> {
        let redirect = self.config.redirects.get(state.position);
        redirect.filter(|redirect| redirect.name == state.name)
    }

    /// Another number whenever [`Relay::desired`] may give something else.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What the maps should hold.
    pub fn desired(&self) -> State {
        let mut state = State::default();
        for (index, redirect) in &self.redirects {
            let generation = redirect.book.table().generation;
            state.tables.insert(*index, generation);
        }
        endpoints::fill(&mut state, &self.served(), &self.backends);
        state
    }

    /// The table of a redirect.
    pub fn table(&self, index: u16) -> Option<&SlotTable> {
        self.redirects.get(&index).map(|state| state.book.table())
    }
}

/// The nodes that a redirect reaches: those of the main pool, then those of the backup.
fn members<'a>(config: &'a Config, redirect: &'a Redirect) -> impl Iterator<Item = Member<'a>> {
    let families: BTreeSet<Family> = redirect.families().collect();
    std::iter::once(redirect.pool)
        .chain(redirect.backup)
        .flat_map(|pool| {
            config.pools[pool]
                .nodes
                .iter()
                .map(move |node| (pool, node))
        })
        .flat_map(move |(pool, node)| {
            let addresses = node.addresses.only(&families);
            addresses.iter().map(move |address| Member {
                redirect,
                pool,
                node,
                address,
            })
        })
}

fn timeouts(config: &Config) -> Timeouts {
    let seconds =
        |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    Timeouts {
        session: seconds(config.flows.session_timeout),
        udp: seconds(config.flows.udp_timeout),
        handshake: seconds(config.flows.handshake_timeout),
        closing: seconds(config.flows.closing_timeout),
    }
}
