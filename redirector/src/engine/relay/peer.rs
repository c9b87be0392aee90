//! What peers are told of slots and flows, and what is taken of theirs.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use redirector_common::{
    abi::{Association, FLOW_FIN_CLIENT, FLOW_FIN_NODE, FLOW_RESET, Flow, Pinhole},
    wire::protocol,
};

use super::{RedirectState, Relay, books::Changes};
use crate::{
    engine::{
        flows::{Timeouts, is_over},
        slots::{SlotBook, SlotsTaken, Standing},
    },
    names::{FlowName, PinholeName, Place, With},
    peer::{
        AssociationRecord, Document, FlowRecord, ListenerRecord, RedirectRecord, TableRecord,
        VERSION, fingerprint,
    },
};

/// An association by its control connection.
type NamedAssociation = (FlowName, Association);

/// A pinhole or a mark.
type NamedPinhole = (PinholeName, Pinhole);

/// What a relay tells, with the places that backends and listeners have in it.
pub struct Told {
    /// What is told.
    pub document: Document,
    nodes: HashMap<u16, u16>,
    listeners: HashMap<u16, u16>,
}

/// What the places of a peer's document are here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromPeer {
    /// Backends, 0 for nodes that are not known here.
    backends: Vec<u16>,
    /// Numbers of listeners with their redirects, where there are such.
    listeners: Vec<Option<(u16, u16, Place)>>,
    /// Nodes that are not known here.
    pub unknown: BTreeSet<SocketAddr>,
}

/// What was taken over of a peer's slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Slots whose older connections live elsewhere than was known, or that were split or settled.
    pub slots: usize,
    /// Slots whose older connections live on nodes that are not known here.
    pub unknown: usize,
    /// Slots of which both relays, while both carry clients, know another thing.
    pub conflicts: usize,
    /// Redirects whose new connections go elsewhere than at the peer, or that the peer does not have.
    pub differing: BTreeSet<String>,
}

impl Relay {
    /// What peers are told but for flows and associations; `digest` gives that of a redirect's table.
    pub fn tell(&self, digest: impl Fn(u16) -> Option<String>, epoch: u32) -> Told {
        let mut told = Told {
            document: Document {
                version: VERSION,
                key: fingerprint(self.key),
                ..Document::default()
            },
            nodes: HashMap::new(),
            listeners: HashMap::new(),
        };
        for (id, entry) in self.backends.iter() {
            told.nodes.insert(id, number(told.document.nodes.len()));
            told.document.nodes.push(entry.address);
        }
        let place = |id: u16| told.nodes.get(&id).map_or(0, |place| place + 1);
        let mut books: Vec<(&Arc<SlotBook>, TableRecord)> = Vec::new();
        for (index, state) in &self.redirects {
            for listener in &state.listeners {
                let Place {
                    address,
                    port,
                    protocol,
                } = listener.place;
                let next = number(told.document.listeners.len());
                told.listeners.insert(listener.id, next);
                told.document.listeners.push(ListenerRecord {
                    address,
                    port,
                    protocol,
                });
            }
            let redirect = RedirectRecord {
                name: state.name.clone(),
                family: state.family.to_string(),
                digest: digest(*index),
            };
            let mut known = books.iter_mut();
            if let Some((_, record)) = known.find(|(book, _)| Arc::ptr_eq(book, &state.book)) {
                record.redirects.push(redirect);
                continue;
            }
            let table = state.book.table();
            let record = TableRecord {
                redirects: vec![redirect],
                mode: table.mode,
                ignored: table.ignored,
                slots: state.book.told(place, epoch),
            };
            books.push((&state.book, record));
        }
        told.document.tables = books.into_iter().map(|(_, record)| record).collect();
        told
    }

    /// What a peer's document names, here.
    pub fn from_peer(&self, document: &Document) -> FromPeer {
        let mut from = FromPeer::default();
        for node in &document.nodes {
            let backend = self.backends.id_of(*node).unwrap_or(0);
            from.backends.push(backend);
            if backend == 0 {
                from.unknown.insert(*node);
            }
        }
        let states = self.redirects.values();
        let known: HashMap<Place, (u16, u16, Place)> = states
            .flat_map(|state| &state.listeners)
            .map(|one| (one.place, (one.id, one.redirect, one.place)))
            .collect();
        let places = document.listeners.iter().map(|listener| Place {
            address: listener.address,
            port: listener.port,
            protocol: listener.protocol,
        });
        from.listeners = places.map(|place| known.get(&place).copied()).collect();
        from
    }

    /// Whether it can take anything: not while no node takes clients yet.
    pub fn hears_peers(&self) -> bool {
        !self.holding
    }

    /// Takes over where older connections live.
    pub fn take_slots(
        &mut self,
        document: &Document,
        from: &FromPeer,
        digest: impl Fn(u16) -> Option<String>,
        standing: Standing,
        epoch: u32,
    ) -> Carried {
        let mut carried = Carried::default();
        let mut changes = Changes::new();
        let mut last: Option<(*const SlotBook, usize, SlotsTaken)> = None;
        let disabled: BTreeSet<u16> = self
            .redirects
            .iter()
            .filter(|(_, state)| self.is_disabled(state))
            .map(|(index, _)| *index)
            .collect();
        let (timeouts, udp) = (self.timeouts, self.timeouts.udp);
        let mut changed = false;
        for (index, state) in &mut self.redirects {
            let Some((position, table, theirs)) = told_of(document, state) else {
                carried.differing.insert(state.name.clone());
                continue;
            };
            let own = state.book.table();
            if theirs.digest.is_none() || theirs.digest != digest(*index) {
                carried.differing.insert(state.name.clone());
            }
            let comparable = state.book.goes_by_slots()
                && (table.mode, table.ignored) == (own.mode, own.ignored)
                && !disabled.contains(index);
            if !comparable {
                continue;
            }
            let book = Arc::as_ptr(&state.book);
            let taken = match &last {
                Some((of, at, taken)) if (*of, *at) == (book, position) => taken.clone(),
                Some(_) | None => {
                    let told = &table.slots;
                    let book = &state.book;
                    book.to_take(told, &from.backends, standing, &timeouts, epoch)
                }
            };
            carried.unknown += taken.unknown;
            carried.conflicts += taken.conflicts;
            if !taken.is_empty() {
                let swap = changes.make(&mut state.book, taken.clone(), |book, taken| {
                    book.take(taken, udp, epoch)
                });
                carried.slots += swap.moved;
                changed |= swap.moved > 0;
            }
            last = Some((book, position, taken));
        }
        self.revision += u64::from(changed);
        carried
    }

    /// A flow of a peer as it would be recorded here; `tracked` says of which listeners every one is recorded. None where
    /// nothing would be asked of the record, or where it is over.
    pub fn flow_from(
        &self,
        record: &FlowRecord,
        from: &FromPeer,
        tracked: impl Fn(u16) -> bool,
        epoch: u32,
    ) -> Option<(FlowName, Flow)> {
        let FlowRecord(client, listener, node, flags, idle) = *record;
        let (id, redirect, place) = from.listener(listener)?;
        let backend = from.backend(node)?;
        let flow = Flow {
            backend,
            flags: flags & (FLOW_FIN_CLIENT | FLOW_FIN_NODE | FLOW_RESET),
            seen: epoch.saturating_sub(idle),
        };
        let book = &self.redirects.get(&redirect)?.book;
        let asked = tracked(id) || book[book.slot_of(client.ip())].is_split();
        let is_of_family = client.is_ipv4() == place.address.is_ipv4();
        let name = FlowName {
            client,
            with: With::Listener(id),
        };
        let wanted = asked && is_of_family && !is_over(&flow, &self.timeouts_of(place), epoch);
        wanted.then_some((name, flow))
    }

    /// What is to be recorded of a peer's flow where `known` is; none where that may stay.
    pub fn flow_to_take(
        &self,
        known: Option<Flow>,
        theirs: Flow,
        standing: Standing,
    ) -> Option<Flow> {
        let Some(own) = known else {
            return Some(theirs);
        };
        match standing {
            Standing::Behind | Standing::Level if own.backend == theirs.backend => {
                // Ages are told in whole seconds.
                let current = theirs.seen.saturating_add(2) >= own.seen;
                let merged = Flow {
                    flags: own.flags | if current { theirs.flags } else { 0 },
                    seen: own.seen.max(theirs.seen),
                    ..own
                };
                // That it has spoken again need not be noted each time.
                let stale =
                    merged.seen - own.seen > self.timeouts.udp.min(self.timeouts.session) / 8;
                (merged.flags != own.flags || stale).then_some(merged)
            }
            Standing::Behind => (theirs.seen >= own.seen).then_some(theirs),
            Standing::Level | Standing::Ahead => None,
        }
    }

    /// The record by which a node's answer is known to belong to a flow.
    pub fn reverse_of(&self, name: FlowName, flow: Flow) -> Option<(FlowName, Flow)> {
        let With::Listener(listener) = name.with else {
            return None;
        };
        let reverse = FlowName {
            with: With::Backend(flow.backend),
            ..name
        };
        let flow = Flow {
            backend: listener,
            flags: 0,
            ..flow
        };
        Some((reverse, flow))
    }

    /// An association of a peer with its pinhole and the mark of its port, as they would be here.
    pub fn association_from(
        &self,
        record: &AssociationRecord,
        from: &FromPeer,
        epoch: u32,
    ) -> Option<(NamedAssociation, [NamedPinhole; 2])> {
        let (listener, _, place) = from.listener(record.listener)?;
        let backend = from.backend(record.node)?;
        if record.client.is_ipv4() != place.address.is_ipv4() {
            return None;
        }
        let name = FlowName {
            client: record.client,
            with: With::Listener(listener),
        };
        let association = Association {
            port: record.port.to_be_bytes(),
            backend,
            opened: epoch.saturating_sub(record.age),
            client_next: record.client_next,
            reserved: 0,
        };
        let pinhole = Pinhole {
            backend,
            listener,
            control: record.client.port().to_be_bytes(),
            reserved: [0; 3],
            seen: epoch.saturating_sub(record.idle),
        };
        let at = |address, in_use| PinholeName {
            address,
            port: record.port,
            in_use,
        };
        let hole = (at(record.client.ip(), false), pinhole);
        let mark = (at(place.address, true), Pinhole::default());
        Some(((name, association), [hole, mark]))
    }

    fn timeouts_of(&self, place: Place) -> Timeouts {
        if place.protocol == protocol::UDP {
            self.timeouts.of_udp()
        } else {
            self.timeouts
        }
    }
}

impl Told {
    /// Adds flows.
    pub fn add_flows(&mut self, flows: &[(FlowName, Flow)], epoch: u32) {
        for (name, flow) in flows {
            if let Some((listener, node)) = self.places(*name, flow.backend) {
                let idle = epoch.saturating_sub(flow.seen);
                let record = FlowRecord(name.client, listener, node, flow.flags, idle);
                self.document.flows.push(record);
            }
        }
    }

    /// Adds associations, with when datagrams of them were seen.
    pub fn add_associations(
        &mut self,
        associations: &[(FlowName, Association)],
        pinholes: &[(PinholeName, Pinhole)],
        epoch: u32,
    ) {
        let seen: HashMap<PinholeName, u32> = pinholes
            .iter()
            .map(|(name, pinhole)| (*name, pinhole.seen))
            .collect();
        for (name, association) in associations {
            let Some((listener, node)) = self.places(*name, association.backend) else {
                continue;
            };
            let port = u16::from_be_bytes(association.port);
            let hole = PinholeName {
                address: name.client.ip(),
                port,
                in_use: false,
            };
            let spoke = seen.get(&hole).copied().unwrap_or(association.opened);
            self.document.associations.push(AssociationRecord {
                client: name.client,
                listener,
                node,
                port,
                client_next: association.client_next,
                age: epoch.saturating_sub(association.opened),
                idle: epoch.saturating_sub(spoke),
            });
        }
    }

    fn places(&self, name: FlowName, backend: u16) -> Option<(u16, u16)> {
        let With::Listener(listener) = name.with else {
            return None;
        };
        let listener = self.listeners.get(&listener)?;
        Some((*listener, *self.nodes.get(&backend)?))
    }
}

impl FromPeer {
    fn listener(&self, place: u16) -> Option<(u16, u16, Place)> {
        self.listeners.get(usize::from(place)).copied().flatten()
    }

    fn backend(&self, place: u16) -> Option<u16> {
        let backend = self.backends.get(usize::from(place)).copied();
        backend.filter(|backend| *backend != 0)
    }
}

/// The table that a peer has for a redirect, with its place.
fn told_of<'a>(
    document: &'a Document,
    state: &RedirectState,
) -> Option<(usize, &'a TableRecord, &'a RedirectRecord)> {
    let family = state.family.to_string();
    let mut tables = document.tables.iter().enumerate();
    tables.find_map(|(position, table)| {
        let mut redirects = table.redirects.iter();
        let redirect = redirects.find(|one| one.name == state.name && one.family == family)?;
        Some((position, table, redirect))
    })
}

/// Fewer than 2^15 backends and listeners have numbers.
fn number(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
