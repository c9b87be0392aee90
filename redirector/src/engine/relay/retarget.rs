//! Which nodes take clients, and which are given up.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};

use redirector_common::abi::{
    BACKEND_DEAD, BACKEND_NEXT_HOP, MODE_LEAST_STATES, MODE_RANDOM, MODE_ROUND_ROBIN,
    MODE_SOURCE_HASH,
};

use super::{Reach, Relay, books::Changes, members};
use crate::{
    config::{Failback, Mode, OnDown, Redirect},
    engine::{
        operator::OperatorState,
        rendezvous::{Candidate, Identity},
        tiers::{self, Eligible},
        turns::turns,
    },
    family::Family,
    health::Health,
};

/// The mode as the data path knows it.
const fn code(mode: Mode) -> u32 {
    match mode {
        Mode::SourceHash => MODE_SOURCE_HASH,
        Mode::Random => MODE_RANDOM,
        Mode::RoundRobin => MODE_ROUND_ROBIN,
        Mode::LeastStates => MODE_LEAST_STATES,
    }
}

/// Where the new connections of a redirect are to go.
struct Aim {
    /// Of the redirect.
    index: u16,
    candidates: Vec<Candidate>,
    using_backup: bool,
    /// The priority that is used, where one of the main pool is.
    tier: Option<u32>,
    slow_start: Duration,
    mode: Mode,
    tracks_all: bool,
}

/// What the change of a table depends on beside the table.
#[derive(PartialEq)]
struct Choice {
    mode: u32,
    tracks_all: bool,
    /// The nodes are others than before.
    anew: bool,
    candidates: Vec<Candidate>,
}

impl Relay {
    /// Down is not dead: what becomes of a down node's connections is for `on-down` to say.
    pub(super) fn mark_dead(&mut self) {
        let mut dead = BTreeSet::new();
        let mut kept = BTreeSet::new();
        let terms = |redirect: &Redirect| {
            let operator = self.operator.of_redirect(&redirect.name);
            (Reach::of(redirect), redirect.on_down, operator)
        };
        for member in self.members_of_distinct(terms) {
            let health = self.checked_of(&member);
            let down = health.is_some_and(|c| c.tracker.health() == Health::Down);
            let Some(id) = self.backends.id_of(member.socket()) else {
                continue;
            };
            let disabled = self.operator_of(&member) == OperatorState::Disabled;
            let is_dead = disabled
                || down
                    && match member.redirect.on_down {
                        OnDown::Auto => self.silent.contains(&id),
                        OnDown::Keep => false,
                        OnDown::Reset => true,
                    };
            if is_dead {
                dead.insert(id);
            } else {
                kept.insert(id);
            }
        }
        let members = self.distinct_members();
        let members: BTreeSet<SocketAddr> = members.map(|member| member.socket()).collect();
        for (id, entry) in self.backends.iter_mut() {
            // A node that was taken out of its pool is not checked any more; silence is all there is. One that
            // two redirects check at different ports is dead when both say so.
            let is_dead = (dead.contains(&id) && !kept.contains(&id))
                || (!members.contains(&entry.address) && self.silent.contains(&id));
            entry.backend.flags =
                entry.backend.flags & !BACKEND_DEAD | if is_dead { BACKEND_DEAD } else { 0 };
        }
    }

    /// Computes the slots anew where the nodes that may take clients have changed.
    pub(super) fn retarget(&mut self, epoch: u32) {
        self.mark_dead();
        self.revision += 1;
        let mut targets = Vec::new();
        // All that the candidates depend on; redirects of one pool mostly agree in it.
        let mut known: HashMap<_, Vec<Eligible>> = HashMap::new();
        let mut eligible = |redirect: &Redirect, pool, family| {
            let operator = self.operator.of_redirect(&redirect.name);
            let basis = (pool, redirect.port, redirect.check_port, family, operator);
            let eligible = || self.eligible(redirect, pool, family);
            known.entry(basis).or_insert_with(eligible).clone()
        };
        let mut cleared = Vec::new();
        for (index, state) in &self.redirects {
            let Some(redirect) = self.configured(state) else {
                continue;
            };
            let main = eligible(redirect, redirect.pool, state.family);
            let pool = &self.config.pools[redirect.pool];
            // An agent that goes on from another's table does as that one did.
            let current = match pool.failback {
                Failback::Never if state.tier.is_none() => {
                    tiers::of_slots(&main, &state.book.owned())
                }
                Failback::Never | Failback::Auto => state.tier,
            };
            let tier = tiers::choose(pool, &main, current);
            let main = tiers::members(&main, tier);
            let (mut used, mut backup) = (pool, Vec::new());
            if let Some(index) = redirect.backup
                && main.is_empty()
            {
                used = &self.config.pools[index];
                let all = eligible(redirect, index, state.family);
                backup = tiers::members(&all, tiers::choose(used, &all, None));
            }
            if self.is_disabled(state) {
                cleared.push(*index);
            }
            let using_backup = main.is_empty() && !backup.is_empty();
            let candidates = if using_backup { backup } else { main };
            targets.push(Aim {
                index: *index,
                candidates,
                using_backup,
                tier,
                slow_start: used.slow_start,
                mode: redirect.mode,
                tracks_all: redirect.tracks_all(),
            });
        }
        let udp = self.timeouts.udp;
        let (mut choices, mut clearings) = (Changes::new(), Changes::new());
        for Aim {
            index,
            candidates,
            using_backup,
            tier,
            slow_start,
            mode,
            tracks_all,
        } in targets
        {
            let Some(state) = self.redirects.get_mut(&index) else {
                continue;
            };
            state.using_backup = using_backup;
            state.tier = tier.or(state.tier);
            let before = state.candidates.as_deref().unwrap_or_default();
            let over = u32::try_from(slow_start.as_secs()).unwrap_or(u32::MAX);
            let candidates = state.ramp.weigh(candidates, before, over, epoch);
            if cleared.contains(&index) {
                if !state.book.is_clear() {
                    clearings.make(&mut state.book, (), |book, ()| book.clear());
                }
                state.candidates = Some(candidates);
                state.owners = None;
                continue;
            }
            let mode = code(mode);
            let anew = state.candidates.as_ref() != Some(&candidates);
            if !anew && state.book.chooses_by(mode, tracks_all) {
                continue;
            }
            let choice = Choice {
                mode,
                tracks_all,
                anew,
                candidates,
            };
            let timeouts = &self.timeouts;
            let rendezvous = &mut self.rendezvous;
            let (chosen, owners) = choices.make(&mut state.book, choice, |book, choice| {
                let Choice { candidates, .. } = choice;
                let changed = book.choose_by(mode, tracks_all, timeouts, epoch);
                if !changed && !anew {
                    return (None, None);
                }
                let (winners, owners) = if mode == MODE_ROUND_ROBIN {
                    (turns(candidates), None)
                } else {
                    let owners = rendezvous.owners(candidates);
                    (owners.backends(candidates), Some(owners))
                };
                book.retarget(&winners, udp, epoch);
                (Some(candidates.clone()), owners)
            });
            if chosen.is_some() {
                state.candidates = chosen;
                state.owners = owners;
            }
        }
        self.rendezvous.forget_unused();
    }

    /// The nodes of a pool that may take clients of a family: seen up (or serving, before the first check), enabled
    /// and reachable.
    fn eligible(&self, redirect: &Redirect, pool: usize, family: Family) -> Vec<Eligible> {
        let mut eligible = Vec::new();
        let members = members(&self.config, redirect);
        for member in members.filter(|member| member.pool == pool) {
            if Family::of(member.address) != family {
                continue;
            }
            let health = self
                .checked_of(&member)
                .map_or(Health::Unknown, |checked| checked.tracker.health());
            let Some((backend, entry)) = self
                .backends
                .id_of(member.socket())
                .and_then(|id| Some((id, self.backends.get(id)?)))
            else {
                continue;
            };
            let may = match health {
                Health::Up => !self.holding,
                Health::Unknown => entry.presumed_up,
                Health::Down => false,
            };
            let may = may && self.operator_of(&member) == OperatorState::Enabled;
            if may && entry.backend.flags & BACKEND_NEXT_HOP != 0 {
                eligible.push(Eligible {
                    candidate: Candidate {
                        backend,
                        identity: Identity::of(member.node, member.address),
                        weight: member.node.weight,
                    },
                    priority: member.node.priority,
                });
            }
        }
        eligible
    }
}
