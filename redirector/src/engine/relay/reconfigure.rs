//! Takes a configuration into the state.

use std::{collections::BTreeSet, net::SocketAddrV4, time::Instant};

use redirector_common::abi::{MAX_BACKENDS, MAX_REDIRECTS};

use super::{Checked, RedirectState, Relay, RelayError, pools, timeouts};
use crate::{
    config::Config,
    engine::{backends::Listener, slots::SlotBook},
    health::Tracker,
};

impl Relay {
    /// Takes another configuration. Health, slots and flows are kept.
    ///
    /// # Errors
    ///
    /// See [`RelayError`]; nothing has changed then.
    pub fn reconfigure(
        &mut self,
        config: Config,
        epoch: u32,
        at: Instant,
    ) -> Result<(), RelayError> {
        if config.hash_key.is_some_and(|key| key != self.key) {
            return Err(RelayError::KeyChange);
        }
        if config.redirects.len() > MAX_REDIRECTS as usize {
            return Err(RelayError::TooManyRedirects(MAX_REDIRECTS));
        }
        let mut backends = self.backends.clone();
        let mut plans = Vec::new();
        let mut taken: BTreeSet<u16> = self.redirects.keys().copied().collect();
        let mut next_listener: u16 = self
            .redirects
            .values()
            .flat_map(|state| state.listeners.iter().map(|listener| listener.id))
            .max()
            .unwrap_or(0);
        for redirect in &config.redirects {
            let known = self
                .redirects
                .iter()
                .find(|(_, state)| state.name == redirect.name);
            let index = match known {
                Some((index, _)) => *index,
                None => (0..u16::MAX)
                    .find(|index| !taken.contains(index))
                    .ok_or(RelayError::TooManyRedirects(MAX_REDIRECTS))?,
            };
            taken.insert(index);
            let old = known
                .map(|(_, state)| &state.listeners[..])
                .unwrap_or_default();
            let listeners: Vec<Listener> = redirect
                .listen
                .iter()
                .map(|address| {
                    let same = old.iter().find(|listener| listener.address == *address);
                    let id = same.map_or_else(
                        || {
                            next_listener = next_listener.wrapping_add(1).max(1);
                            next_listener
                        },
                        |listener| listener.id,
                    );
                    Listener {
                        address: *address,
                        redirect: index,
                        id,
                    }
                })
                .collect();
            for pool in pools(redirect) {
                for node in &config.pools[pool].nodes {
                    let address = SocketAddrV4::new(node.address, redirect.port);
                    backends
                        .ensure(address, listeners[0])
                        .ok_or(RelayError::TooManyBackends(MAX_BACKENDS))?;
                }
            }
            plans.push((index, redirect.name.clone(), listeners));
        }
        self.backends = backends;
        self.redirects
            .retain(|index, _| plans.iter().any(|(kept, ..)| kept == index));
        for (index, name, listeners) in plans {
            let state = self
                .redirects
                .entry(index)
                .or_insert_with(|| RedirectState {
                    name,
                    listeners: Vec::new(),
                    book: SlotBook::new(self.key),
                    using_backup: false,
                    candidates: Vec::new(),
                });
            state.listeners = listeners;
        }
        self.timeouts = timeouts(&config);
        self.config = config;
        let targets = self.targets();
        self.checked
            .retain(|target, _| targets.iter().any(|(kept, _)| kept == target));
        for (target, timing) in targets {
            self.checked
                .entry(target)
                .and_modify(|checked| checked.tracker.set_thresholds(timing.into()))
                .or_insert_with(|| Checked {
                    tracker: Tracker::new(timing.into(), at),
                    last: None,
                });
        }
        self.retarget(epoch);
        Ok(())
    }
}
