//! What the data path's counters tell about the nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use redirector_common::abi::BackendStats;

use super::{RedirectState, Relay};
use crate::{
    config::Delivery,
    engine::{
        doubt::{Doubt, Doubts},
        silence::{Silence, Traffic},
    },
    health::{Health, Target},
};

impl Relay {
    /// Takes the data path's counters: which nodes are silent while they are spoken to. Gives those whose
    /// silence began. The answers of nodes that packets are routed to don't come by here, so their silence says
    /// nothing.
    pub fn listen(&mut self, traffic: impl Fn(u16) -> Traffic, at: Instant) -> Vec<u16> {
        let ids = self.answering_by_us();
        let before = self.silent.clone();
        self.silent.retain(|id| ids.contains(id));
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
        if self.silent != before {
            self.mark_dead();
            self.revision += 1;
        }
        fell_silent
    }

    /// Takes the data path's counters at a look, some of which come in every second: which nodes that are up have become
    /// doubtful, why, and their checks, which are to be made at once.
    pub fn doubt(
        &mut self,
        stats: impl Fn(u16) -> BackendStats,
        at: Instant,
    ) -> Vec<(SocketAddr, Doubt, Vec<Target>)> {
        let ids = self.answering_by_us();
        let mut doubtful = BTreeMap::new();
        for id in ids {
            let now = stats(id);
            let doubts = self.doubts.entry(id).or_insert_with(|| Doubts::new(now));
            if let (Some(doubt), Some(entry)) = (doubts.observe(now, at), self.backends.get(id)) {
                doubtful.insert(entry.address, (doubt, Vec::new()));
            }
        }
        if doubtful.is_empty() {
            return Vec::new();
        }
        for member in self.distinct_members() {
            if let Some((_, targets)) = doubtful.get_mut(&member.socket()) {
                let checked = self.checked_of(&member);
                if checked.is_some_and(|checked| checked.tracker.health() == Health::Up) {
                    targets.extend(self.target(&member));
                }
            }
        }
        let doubtful = doubtful.into_iter();
        doubtful
            .map(|(address, (doubt, targets))| (address, doubt, targets))
            .filter(|(_, _, targets)| !targets.is_empty())
            .collect()
    }

    /// The nodes whose answers come by here.
    fn answering_by_us(&self) -> BTreeSet<u16> {
        let states = self.redirects.values();
        let routes = |state: &&RedirectState| {
            let redirect = self.configured(state);
            redirect.is_some_and(|redirect| redirect.delivery == Delivery::Route)
        };
        let listeners = states.filter(routes).flat_map(|state| &state.listeners);
        let routed: BTreeSet<u16> = listeners.map(|listener| listener.id).collect();
        self.backends
            .iter()
            .filter(|(_, entry)| routed.is_disjoint(&entry.listeners))
            .map(|(id, _)| id)
            .collect()
    }
}
