//! What recorded flows still hold up, and which of them are over.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use redirector_common::{
    abi::{Association, BACKEND_DEAD, ENDPOINT_TRACKED, Flow, Pinhole},
    wire::protocol,
};

use super::{Reach, RedirectState, Relay, books::Changes, members};
use crate::{
    engine::{
        associations::{Closed, Surroundings},
        flows::{Census, Timeouts, is_over},
        slots::SlotBook,
    },
    names::{FlowName, PinholeName, With},
};

/// A connection by its two ends and the listener: what a forward record and its reverse one have in common.
type Connection = (SocketAddr, u16, u16);

/// A recorded flow.
type Recorded = (FlowName, Flow);

/// The recorded flows of a round.
#[derive(Default)]
struct Sorted<'a> {
    /// Live ones by redirect, with whether their listener is tracked.
    live: BTreeMap<u16, Vec<(&'a Recorded, bool)>>,
    /// Those to be forgotten.
    forgotten: Vec<Recorded>,
    /// Listener and backend of the live ones.
    named: BTreeSet<(u16, u16)>,
}

/// What a book settles where none of its flows is recorded. The book is not looked at, only told from others: one that is
/// held by several outlives the round.
struct Quiet {
    book: *const SlotBook,
    timeouts: Timeouts,
    settling: Vec<u16>,
}

impl Relay {
    /// The round over recorded flows: settles slots, forgets backends that nothing names any more. Gives the
    /// flows to be forgotten, which may be done once the new tables are in place, and to those only that
    /// are still as they were read: a client may have used its port again meanwhile.
    pub fn round(&mut self, flows: &[(FlowName, Flow)], epoch: u32) -> Vec<(FlowName, Flow)> {
        let Sorted {
            live,
            mut forgotten,
            named,
        } = self.sort(flows, epoch);
        let mut settled = false;
        let mut changes = Changes::new();
        let mut known: Option<Quiet> = None;
        for (index, state) in &mut self.redirects {
            if state.book.table().split_slots == 0 {
                continue;
            }
            let flows = live.get(index).map(Vec::as_slice).unwrap_or_default();
            let mut listeners = state.listeners.iter();
            let timeouts = if listeners.all(|l| l.place.protocol == protocol::UDP) {
                self.timeouts.of_udp()
            } else {
                self.timeouts
            };
            // Without flows a book settles alike for all who hold it.
            let book = Arc::as_ptr(&state.book);
            let settling = match &known {
                Some(quiet)
                    if (quiet.book, quiet.timeouts) == (book, timeouts) && flows.is_empty() =>
                {
                    quiet.settling.clone()
                }
                Some(_) | None => {
                    let clients = flows.iter();
                    let clients = clients.map(|((name, flow), _)| (name.client.ip(), flow));
                    let census = Census::take(&state.book, clients);
                    state.book.may_settle(&census, &timeouts, epoch)
                }
            };
            known = flows.is_empty().then(|| Quiet {
                book,
                timeouts,
                settling: settling.clone(),
            });
            if !settling.is_empty() {
                changes.make(&mut state.book, settling, |book, slots| book.settle(slots));
                settled = true;
            }
        }
        for (index, flows) in live {
            let book = &self.redirects[&index].book;
            // Where a node's socket alone does not tell the listener, settled slots need their flows too.
            let settled = flows.into_iter().filter(|((name, _), tracked)| {
                !tracked && !book[book.slot_of(name.client.ip())].is_split()
            });
            forgotten.extend(settled.map(|(entry, _)| *entry));
        }
        self.revision += u64::from(settled);
        self.forget_backends(named);
        let mentioned: BTreeSet<u16> = flows
            .iter()
            .map(|(name, flow)| match name.with {
                With::Listener(listener) => listener,
                With::Backend(_) => flow.backend,
            })
            .collect();
        self.retired
            .release(|id| mentioned.contains(&id), self.timeouts.handshake, epoch);
        forgotten
    }

    fn sort<'a>(&self, flows: &'a [Recorded], epoch: u32) -> Sorted<'a> {
        if flows.is_empty() {
            return Sorted::default();
        }
        let listeners = self.desired().listeners;
        let disabled: BTreeSet<u16> = self
            .redirects
            .iter()
            .filter(|(_, state)| self.is_disabled(state))
            .map(|(index, _)| *index)
            .collect();
        let mut sorted = Sorted::default();
        let (mut alive, mut over) = (HashSet::<Connection>::new(), HashSet::<Connection>::new());
        for entry in flows {
            let (name, flow) = entry;
            let With::Listener(id) = name.with else {
                continue;
            };
            let listener = listeners
                .get(&id)
                .filter(|listener| !disabled.contains(&listener.redirect));
            let Some(listener) = listener else {
                sorted.forgotten.push(*entry);
                continue;
            };
            let timeouts = if listener.protocol == protocol::UDP {
                self.timeouts.of_udp()
            } else {
                self.timeouts
            };
            let tracked = listener.flags & ENDPOINT_TRACKED != 0;
            let connection = (name.client, id, flow.backend);
            if is_over(flow, &timeouts, epoch) {
                over.insert(connection);
                sorted.forgotten.push(*entry);
                continue;
            }
            if tracked {
                alive.insert(connection);
            }
            let live = sorted.live.entry(listener.redirect).or_default();
            live.push((entry, tracked));
            sorted.named.insert((id, flow.backend));
        }
        for entry in flows {
            let (name, flow) = entry;
            let With::Backend(backend) = name.with else {
                continue;
            };
            let listener = flow.backend;
            let connection = (name.client, listener, backend);
            // The forward record is written a moment before or after, or when the handshake completes.
            let waits = listeners.contains_key(&listener)
                && !over.contains(&connection)
                && epoch.saturating_sub(flow.seen) <= self.timeouts.handshake;
            if alive.contains(&connection) || waits {
                sorted.named.insert((listener, backend));
            } else {
                sorted.forgotten.push(*entry);
            }
        }
        sorted
    }

    /// Backends that no pool, no slot and no recorded flow names have nothing left to do; and listeners from
    /// which none of them leads to a backend don't matter to it any more.
    fn forget_backends(&mut self, named: BTreeSet<(u16, u16)>) {
        let done = self.tidied.as_ref();
        if done.is_some_and(|(revision, of)| (*revision, of) == (self.revision, &named)) {
            return;
        }
        let config = &self.config;
        let mut sockets: HashMap<Reach, HashSet<SocketAddr>> = HashMap::new();
        for redirect in &config.redirects {
            let reached = || members(config, redirect).map(|member| member.socket());
            let sockets = sockets.entry(Reach::of(redirect));
            sockets.or_insert_with(|| reached().collect());
        }
        let mut redirect_of = BTreeMap::new();
        let mut serving = Vec::new();
        for (index, state) in &self.redirects {
            redirect_of.extend(state.listeners.iter().map(|listener| (listener.id, *index)));
            let redirect = self.configured(state);
            let members = redirect.and_then(|redirect| sockets.get(&Reach::of(redirect)));
            serving.push((*index, members, LazyCell::new(|| state.book.named())));
        }
        let mut changed = false;
        let mut needed = BTreeSet::new();
        for (id, entry) in self.backends.iter_mut() {
            let serving: BTreeSet<u16> = serving
                .iter()
                .filter(|(_, members, in_slots)| {
                    let is_member = members.is_some_and(|members| members.contains(&entry.address));
                    is_member || in_slots.contains(&id)
                })
                .map(|(index, _, _)| *index)
                .collect();
            let before = entry.listeners.len();
            entry.listeners.retain(|listener| {
                let redirect = redirect_of.get(listener);
                redirect.is_some_and(|index| serving.contains(index))
                    || named.contains(&(*listener, id))
            });
            changed |= entry.listeners.len() < before;
            if !entry.listeners.is_empty() {
                needed.insert(id);
            }
        }
        needed.extend(named.iter().map(|(_, backend)| *backend));
        let before = self.backends.iter().count();
        self.backends.retain(|id, _| needed.contains(&id));
        let backends = &self.backends;
        changed |= backends.iter().count() < before;
        self.silences.retain(|id, _| backends.get(*id).is_some());
        self.silent.retain(|id| backends.get(*id).is_some());
        self.doubts.retain(|id, _| backends.get(*id).is_some());
        self.revision += u64::from(changed);
        self.tidied = Some((self.revision, named));
    }

    /// The round over UDP associations: gives those that are over without having ended. `pinholes` must have
    /// been read before `associations`.
    pub fn round_of_associations(
        &mut self,
        associations: &[(FlowName, Association)],
        pinholes: &[(PinholeName, Pinhole)],
        epoch: u32,
    ) -> Closed {
        let enabled: Vec<&RedirectState> = self
            .redirects
            .values()
            .filter(|state| !self.is_disabled(state))
            .collect();
        let backends = &self.backends;
        let around = Surroundings {
            vip: |id| {
                let mut listeners = enabled.iter().flat_map(|state| &state.listeners);
                listeners
                    .find(|listener| listener.id == id)
                    .map(|listener| listener.place.address)
            },
            lives: |id| {
                backends
                    .get(id)
                    .is_some_and(|entry| entry.backend.flags & BACKEND_DEAD == 0)
            },
            session: self.timeouts.session,
            epoch,
        };
        self.associations.round(associations, pinholes, &around)
    }
}
