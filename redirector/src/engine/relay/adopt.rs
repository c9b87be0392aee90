//! Goes on from what an earlier agent has left in the kernel.

use std::collections::BTreeMap;

use redirector_common::abi::{BACKEND_NEXT_HOP, Backend, ENDPOINT_LISTENER, ENDPOINT_NODE};

use super::{Found, RedirectState, Relay, socket};
use crate::{
    config::Config,
    engine::{
        backends::{Entry, Listener},
        slots::SlotBook,
    },
};

impl Relay {
    /// Takes over redirects whose listeners are configured still, and all their backends.
    pub(super) fn adopt(&mut self, found: Found, config: &Config, epoch: u32) {
        let mut listeners: BTreeMap<u16, Vec<Listener>> = BTreeMap::new();
        for (key, endpoint) in &found.endpoints {
            if endpoint.kind == ENDPOINT_LISTENER {
                let listener = Listener {
                    address: socket(*key),
                    redirect: endpoint.redirect,
                    id: endpoint.listener,
                };
                listeners
                    .entry(endpoint.redirect)
                    .or_default()
                    .push(listener);
            }
        }
        for (index, table) in found.tables {
            let listeners = listeners.remove(&index).unwrap_or_default();
            let configured = config.redirects.iter().find(|redirect| {
                listeners
                    .iter()
                    .any(|l| redirect.listen.contains(&l.address))
            });
            let Some(configured) = configured else {
                continue;
            };
            let book = SlotBook::adopt(table, epoch);
            let owned = book.owned();
            for (key, endpoint) in &found.endpoints {
                let listener = listeners
                    .iter()
                    .find(|listener| listener.id == endpoint.listener);
                if let (ENDPOINT_NODE, true, Some(listener), Some(backend)) = (
                    endpoint.kind,
                    endpoint.redirect == index,
                    listener,
                    found.backends.get(&endpoint.backend),
                ) {
                    let entry = Entry {
                        address: socket(*key),
                        listener: *listener,
                        backend: Backend {
                            flags: backend.flags & BACKEND_NEXT_HOP,
                            ..*backend
                        },
                        presumed_up: owned.contains_key(&endpoint.backend),
                    };
                    self.backends.adopt(endpoint.backend, entry);
                }
            }
            let state = RedirectState {
                name: configured.name.clone(),
                listeners,
                book,
                using_backup: false,
                candidates: None,
            };
            self.redirects.insert(index, state);
        }
    }
}
