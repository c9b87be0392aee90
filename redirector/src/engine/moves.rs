//! What would move from one relay to another that went on from it: the answer to "what if".
//!
//! The other relay is a copy that was told what nobody has told the real one, so nothing of it is ever written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use redirector_common::abi::{BACKEND_DEAD, BACKEND_NEXT_HOP, Flow, SlotTable};

use super::{
    digest::digest,
    operator::Operator,
    relay::{Relay, RelayError},
};
use crate::{config::Config, family::Family, health::Health, names::FlowName};

/// What becomes of a redirect in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    /// Its name, the new one if it gets another.
    pub redirect: String,
    /// Its family.
    pub family: Family,
    /// Digest of its table now; none where there is no such redirect yet.
    pub before: Option<String>,
    /// Digest of its table then; none where there is no such redirect any more.
    pub after: Option<String>,
    /// Slots whose new connections go elsewhere, by the backends that they go to now and then; 0 for none.
    pub slots: BTreeMap<(u16, u16), u32>,
    /// Recorded live connections that stay where they are.
    pub stay: u64,
    /// Recorded live connections that end.
    pub end: u64,
}

impl Relay {
    /// The relay as it would be once it had taken this configuration, and every node that it does not know yet had come up
    /// and had its whole share.
    ///
    /// # Errors
    ///
    /// As [`Relay::reconfigure`].
    pub fn with_config(
        &self,
        mut config: Config,
        epoch: u32,
        at: Instant,
    ) -> Result<Self, RelayError> {
        for pool in &mut config.pools {
            pool.slow_start = std::time::Duration::ZERO;
        }
        let mut then = self.clone();
        then.reconfigure(config, epoch, at)?;
        let unknown: BTreeSet<_> = then
            .members()
            .filter(|member| {
                let checked = then.checked_of(member);
                checked.is_none_or(|checked| checked.tracker.health() == Health::Unknown)
            })
            .map(|member| member.socket())
            .collect();
        then.presume(|entry| {
            if unknown.contains(&entry.address) {
                entry.presumed_up = true;
                entry.backend.flags |= BACKEND_NEXT_HOP;
            }
        });
        then.release(epoch);
        then.operate(then.operator().clone(), epoch);
        Ok(then)
    }

    /// The relay as it would be if the operator had said this.
    #[must_use]
    pub fn with_operator(&self, operator: Operator, epoch: u32) -> Self {
        let mut then = self.clone();
        then.operate(operator, epoch);
        then
    }

    /// What would move if this relay became like `then`, which was made of it, given the recorded flows.
    pub fn moves_to(&self, then: &Self, flows: &[(FlowName, Flow)], epoch: u32) -> Vec<Moves> {
        let mut fates = self.fates(then, flows, epoch);
        let indices: BTreeSet<u16> = self
            .redirects()
            .keys()
            .chain(then.redirects().keys())
            .copied()
            .collect();
        let mut all = Vec::new();
        for index in indices {
            let (before, after) = (self.redirects().get(&index), then.redirects().get(&index));
            let Some(state) = after.or(before) else {
                continue;
            };
            let (stay, end) = fates.remove(&index).unwrap_or_default();
            let digest_of = |relay: &Self, table: Option<&SlotTable>| {
                let owners = relay.table_owners();
                table.map(|table| digest(table, |id| owners.of(id)))
            };
            all.push(Moves {
                redirect: state.name.clone(),
                family: state.family,
                before: digest_of(self, self.table(index)),
                after: digest_of(then, then.table(index)),
                slots: moved(self.table(index), then.table(index)),
                stay,
                end,
            });
        }
        all
    }

    /// How many recorded connections of each redirect stay and end.
    fn fates(
        &self,
        then: &Self,
        flows: &[(FlowName, Flow)],
        epoch: u32,
    ) -> BTreeMap<u16, (u64, u64)> {
        let mut redirect_of = BTreeMap::new();
        for (index, state) in self.redirects() {
            redirect_of.extend(state.listeners.iter().map(|listener| (listener.id, *index)));
        }
        let lives = |relay: &Self, listener: u16, backend: u16| {
            let mut states = relay.redirects().values();
            let serves = states.any(|state| {
                let mut listeners = state.listeners.iter();
                listeners.any(|one| one.id == listener) && !relay.is_disabled(state)
            });
            let entry = relay.backends().get(backend);
            serves && entry.is_some_and(|entry| entry.backend.flags & BACKEND_DEAD == 0)
        };
        let mut fates: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        for ((listener, backend), live) in self.live(flows, None, epoch) {
            if !lives(self, listener, backend) {
                continue;
            }
            let Some(index) = redirect_of.get(&listener) else {
                continue;
            };
            let (stay, end) = fates.entry(*index).or_default();
            if lives(then, listener, backend) {
                *stay += live.connections;
            } else {
                *end += live.connections;
            }
        }
        fates
    }
}

/// The slots that go elsewhere.
fn moved(before: Option<&SlotTable>, after: Option<&SlotTable>) -> BTreeMap<(u16, u16), u32> {
    let now =
        |table: Option<&SlotTable>, slot: usize| table.map_or(0, |table| table.slots[slot].now);
    let mut moved = BTreeMap::new();
    for slot in 0..redirector_common::abi::SLOTS {
        let (from, to) = (now(before, slot), now(after, slot));
        if from != to {
            *moved.entry((from, to)).or_default() += 1;
        }
    }
    moved
}
