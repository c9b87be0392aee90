//! Goes on from what an earlier agent has left in the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use redirector_common::abi::{BACKEND_DEAD, ENDPOINT_LISTENER, ENDPOINT_NODE};

use super::{Found, RedirectState, Relay};
use crate::{
    config::{Config, Redirect},
    engine::{backends::Entry, listeners::Listener, ramp::Ramp, slots::SlotBook},
    family::Family,
    names::Place,
};

/// The listeners of a redirect in a family, as sockets.
pub(super) fn places(redirect: &Redirect, family: Family) -> Vec<Place> {
    let mut places = Vec::new();
    let listen = redirect.listen.iter();
    for listen in listen.filter(|listen| Family::of(listen.address) == family) {
        for protocol in redirect.protocol.numbers() {
            places.extend(listen.ports().map(|port| Place {
                address: listen.address,
                port,
                protocol: *protocol,
            }));
        }
    }
    places
}

impl Relay {
    /// Takes over redirects whose listeners are configured still, and all their backends.
    pub(super) fn adopt(&mut self, found: Found, config: &Config, epoch: u32) {
        let mut listeners: BTreeMap<u16, Vec<Listener>> = BTreeMap::new();
        for (place, endpoint) in &found.endpoints {
            if endpoint.kind == ENDPOINT_LISTENER {
                let listener = Listener {
                    place: *place,
                    redirect: endpoint.redirect,
                    id: endpoint.listener,
                };
                let mine = listeners.entry(endpoint.redirect).or_default();
                mine.push(listener);
            }
        }
        let mut reached: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
        let mut owning = BTreeSet::new();
        for (index, table) in found.tables {
            let mut listeners = listeners.remove(&index).unwrap_or_default();
            let Some(family) = listeners.first().map(|l| Family::of(l.place.address)) else {
                continue;
            };
            let mut configured = config.redirects.iter().enumerate();
            let configured = configured.find(|(_, redirect)| {
                let places = places(redirect, family);
                listeners.iter().any(|l| places.contains(&l.place))
            });
            let Some((position, configured)) = configured else {
                continue;
            };
            listeners.sort_by_key(|listener| listener.id);
            let ids = || listeners.iter().map(|listener| listener.id);
            let bytes = bytemuck::bytes_of(&*table);
            let mut adopted = self.redirects.values().map(|state| &state.book);
            let book = adopted
                .find(|book| bytemuck::bytes_of(book.table()) == bytes)
                .map_or_else(
                    || Arc::new(SlotBook::adopt(table.clone(), epoch)),
                    Arc::clone,
                );
            owning.extend(book.owned().into_keys());
            let named = book.named();
            for id in found.backends.keys().filter(|id| named.contains(id)) {
                reached.entry(*id).or_default().extend(ids());
            }
            let nodes = found.endpoints.values();
            let nodes = nodes.filter(|endpoint| endpoint.kind == ENDPOINT_NODE);
            let nodes = nodes.map(|endpoint| (endpoint.listener, endpoint.backend));
            for (listener, backend) in nodes.chain(found.flows.iter().copied()) {
                if ids().any(|id| id == listener) {
                    reached.entry(backend).or_default().insert(listener);
                }
            }
            let state = RedirectState {
                name: configured.name.clone(),
                position,
                family,
                listeners,
                book,
                using_backup: false,
                tier: None,
                ramp: Ramp::default(),
                candidates: None,
                owners: None,
            };
            self.redirects.insert(index, state);
        }
        for (id, listeners) in reached {
            let Some(backend) = found.backends.get(&id).filter(|backend| backend.is_set()) else {
                continue;
            };
            let mut backend = *backend;
            backend.flags &= !BACKEND_DEAD;
            let port = u16::from_be_bytes(backend.port);
            let entry = Entry {
                address: SocketAddr::from((backend.ip(), port)),
                listeners,
                backend,
                presumed_up: owning.contains(&id),
            };
            self.backends.adopt(id, entry);
        }
        // Flows of listeners that are gone may still be there.
        let named = found.flows.iter().map(|(listener, _)| *listener);
        let given_up = found.listeners.keys().copied().chain(named);
        let kept: BTreeSet<u16> = self.listener_ids().collect();
        self.retired
            .extend(given_up.filter(|id| !kept.contains(id)), epoch);
    }
}
