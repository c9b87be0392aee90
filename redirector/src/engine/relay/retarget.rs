//! Which nodes take clients, and which are given up.

use std::{collections::BTreeSet, net::SocketAddrV4};

use redirector_common::abi::{BACKEND_DEAD, BACKEND_NEXT_HOP};

use super::Relay;
use crate::{
    config::{OnDown, Redirect},
    engine::rendezvous::{Candidate, winners},
    health::Health,
};

impl Relay {
    /// Down is not dead: what becomes of a down node's connections is for `on-down` to say.
    pub(super) fn mark_dead(&mut self) {
        let mut dead = BTreeSet::new();
        for (redirect, pool, node) in self.members() {
            let address = SocketAddrV4::new(node.1, redirect.port);
            let target = self.target(pool, &node.0, node.1, redirect.port);
            let down = self
                .checked
                .get(&target)
                .is_some_and(|c| c.tracker.health() == Health::Down);
            let Some(id) = self.backends.id_of(address) else {
                continue;
            };
            let is_dead = down
                && match redirect.on_down {
                    OnDown::Auto => self.silent.contains(&id),
                    OnDown::Keep => false,
                    OnDown::Reset => true,
                };
            if is_dead {
                dead.insert(id);
            }
        }
        let members: BTreeSet<SocketAddrV4> = self
            .members()
            .map(|(redirect, _, node)| SocketAddrV4::new(node.1, redirect.port))
            .collect();
        for (id, entry) in self.backends.iter_mut() {
            // A node that was taken out of its pool is not checked any more; silence is all there is.
            let is_dead = dead.contains(&id)
                || (!members.contains(&entry.address) && self.silent.contains(&id));
            entry.backend.flags =
                entry.backend.flags & !BACKEND_DEAD | if is_dead { BACKEND_DEAD } else { 0 };
        }
    }

    /// Computes the slots anew where the nodes that may take clients have changed.
    pub(super) fn retarget(&mut self, epoch: u32) {
        self.mark_dead();
        let mut targets = Vec::new();
        for (index, state) in &self.redirects {
            let Some(redirect) = self.config.redirects.iter().find(|r| r.name == state.name) else {
                continue;
            };
            let main = self.candidates(redirect, redirect.pool);
            let backup = match redirect.backup {
                Some(backup) if main.is_empty() => self.candidates(redirect, backup),
                _ => Vec::new(),
            };
            let using_backup = main.is_empty() && !backup.is_empty();
            let candidates = if using_backup { backup } else { main };
            targets.push((*index, candidates, using_backup));
        }
        for (index, candidates, using_backup) in targets {
            let Some(state) = self.redirects.get_mut(&index) else {
                continue;
            };
            state.using_backup = using_backup;
            if state.candidates.as_ref() != Some(&candidates) {
                state.book.retarget(&winners(self.key, &candidates), epoch);
                state.candidates = Some(candidates);
            }
        }
    }

    /// The nodes of a pool that may take clients: seen up (or serving, before the first check) and
    /// reachable.
    fn candidates(&self, redirect: &Redirect, pool: usize) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for node in &self.config.pools[pool].nodes {
            let address = SocketAddrV4::new(node.address, redirect.port);
            let target = self.target(pool, &node.name, node.address, redirect.port);
            let health = self
                .checked
                .get(&target)
                .map_or(Health::Unknown, |checked| checked.tracker.health());
            let Some((backend, entry)) = self
                .backends
                .id_of(address)
                .and_then(|id| Some((id, self.backends.get(id)?)))
            else {
                continue;
            };
            let may = match health {
                Health::Up => !self.holding,
                Health::Unknown => entry.presumed_up,
                Health::Down => false,
            };
            if may && entry.backend.flags & BACKEND_NEXT_HOP != 0 {
                let address = node.address.octets();
                candidates.push(Candidate {
                    backend,
                    address,
                    weight: node.weight,
                });
            }
        }
        candidates
    }
}
