//! Takes a configuration into the state.

use std::{collections::BTreeSet, net::SocketAddrV4, time::Instant};

use redirector_common::abi::{MAX_BACKENDS, MAX_REDIRECTS};

use super::{Checked, RedirectState, Relay, RelayError, pools, timeouts};
use crate::{
    config::{Config, Redirect},
    engine::{
        backends::{Backends, Listener},
        slots::SlotBook,
    },
    health::{Health, Tracker},
};

/// The places of everything in a configuration.
struct Arrangement {
    backends: Backends,
    /// Index, name and listeners.
    redirects: Vec<(u16, String, Vec<Listener>)>,
}

impl Relay {
    /// Whether [`Relay::reconfigure`] would take this configuration.
    ///
    /// # Errors
    ///
    /// See [`RelayError`].
    pub fn accepts(&self, config: &Config) -> Result<(), RelayError> {
        self.arrange(config).map(drop)
    }

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
        let Arrangement {
            backends,
            redirects,
        } = self.arrange(&config)?;
        self.backends = backends;
        self.redirects
            .retain(|index, _| redirects.iter().any(|(kept, ..)| kept == index));
        for (index, name, listeners) in redirects {
            let state = self
                .redirects
                .entry(index)
                .or_insert_with(|| RedirectState {
                    name: String::new(),
                    listeners: Vec::new(),
                    book: SlotBook::new(self.key),
                    using_backup: false,
                    candidates: None,
                });
            state.name = name;
            state.listeners = listeners;
        }
        self.timeouts = timeouts(&config);
        self.config = config;
        let targets = self.targets();
        let serving: BTreeSet<SocketAddrV4> = self
            .checked
            .iter()
            .filter(|(_, checked)| checked.tracker.health() == Health::Up)
            .map(|(target, _)| target.address)
            .collect();
        self.checked
            .retain(|target, _| targets.iter().any(|(kept, _)| kept == target));
        for (target, timing) in targets {
            // Under another name, or with another check, it is still the node that was up.
            if !self.checked.contains_key(&target) && serving.contains(&target.address) {
                for (_, entry) in self.backends.iter_mut() {
                    entry.presumed_up |= entry.address == target.address;
                }
            }
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

    /// Finds a place for everything in `config`.
    fn arrange(&self, config: &Config) -> Result<Arrangement, RelayError> {
        if config.hash_key.is_some_and(|key| key != self.key) {
            return Err(RelayError::KeyChange);
        }
        let limit = u16::try_from(MAX_REDIRECTS).unwrap_or(u16::MAX);
        let known = self.known(config);
        let mut backends = self.backends.clone();
        let mut redirects = Vec::new();
        let mut taken: BTreeSet<u16> = self.redirects.keys().copied().collect();
        let mut next_listener: u16 = self
            .redirects
            .values()
            .flat_map(|state| state.listeners.iter().map(|listener| listener.id))
            .max()
            .unwrap_or(0);
        for (redirect, known) in config.redirects.iter().zip(known) {
            let index = known
                .or_else(|| (0..limit).find(|index| !taken.contains(index)))
                .ok_or(RelayError::TooManyRedirects(MAX_REDIRECTS))?;
            taken.insert(index);
            let old = known
                .and_then(|index| self.redirects.get(&index))
                .map(|state| &state.listeners[..])
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
            redirects.push((index, redirect.name.clone(), listeners));
        }
        Ok(Arrangement {
            backends,
            redirects,
        })
    }

    /// For each redirect of `config` the index of the one that it goes on from: the one with its listener,
    /// since that is what clients are connected to, else the one with its name.
    fn known(&self, config: &Config) -> Vec<Option<u16>> {
        let by_listener = |redirect: &Redirect| {
            let mut states = self.redirects.iter();
            states
                .find(|(_, state)| {
                    let mut listeners = state.listeners.iter();
                    listeners.any(|listener| redirect.listen.contains(&listener.address))
                })
                .map(|(index, _)| *index)
        };
        let claimed: Vec<Option<u16>> = config.redirects.iter().map(by_listener).collect();
        let by_name = |redirect: &Redirect| {
            let mut states = self.redirects.iter();
            states
                .find(|(index, state)| {
                    state.name == redirect.name && !claimed.contains(&Some(**index))
                })
                .map(|(index, _)| *index)
        };
        let redirects = config.redirects.iter().zip(&claimed);
        redirects
            .map(|(redirect, claimed)| claimed.or_else(|| by_name(redirect)))
            .collect()
    }
}
