//! Takes a configuration into the state.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use redirector_common::abi::{MAX_BACKENDS, MAX_ENDPOINTS, MAX_LISTENERS, MAX_REDIRECTS};

use super::{Checked, RedirectState, Relay, RelayError, adopt::places, members, timeouts};
use crate::{
    config::{Config, Redirect},
    engine::{
        State,
        backends::Backends,
        endpoints::{self, Served, newly_tracked},
        listeners::Listener,
        ramp::Ramp,
        slots::SlotBook,
    },
    family::Family,
    health::{Health, Target, Tracker},
    names::Place,
};

/// The places of everything in a configuration.
struct Arrangement {
    backends: Backends,
    redirects: Vec<Arranged>,
}

impl Arrangement {
    /// What the maps would hold beside slot tables.
    fn state(&self, config: &Config) -> State {
        let served = self.redirects.iter().flat_map(|arranged| {
            arranged.listeners.iter().map(|listener| Served {
                listener: *listener,
                redirect: &config.redirects[arranged.position],
                pools: &config.pools,
                settled: true,
            })
        });
        let served = served.map(|one| (one.listener.id, one)).collect();
        let mut state = State::default();
        endpoints::fill(&mut state, &served, &self.backends);
        state
    }
}

/// A redirect in one family.
struct Arranged {
    index: u16,
    name: String,
    position: usize,
    family: Family,
    ignored: [u64; 2],
    listeners: Vec<Listener>,
}

/// A redirect in one family, as configured.
struct Part<'a> {
    redirect: &'a Redirect,
    position: usize,
    family: Family,
    places: Vec<Place>,
}

impl Part<'_> {
    fn has_listener_of(&self, state: &RedirectState) -> bool {
        let mut listeners = state.listeners.iter();
        listeners.any(|listener| self.places.contains(&listener.place))
    }

    fn has_name_of(&self, state: &RedirectState) -> bool {
        state.name == self.redirect.name
    }
}

/// Whose check it is, wherever that node is.
fn who(target: &Target) -> (String, String, Family) {
    let family = Family::of(target.address.ip());
    (target.pool.clone(), target.node.clone(), family)
}

fn parts(config: &Config) -> Vec<Part<'_>> {
    let redirects = config.redirects.iter().enumerate();
    redirects
        .flat_map(|(position, redirect)| {
            redirect.families().map(move |family| Part {
                redirect,
                position,
                family,
                places: places(redirect, family),
            })
        })
        .collect()
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

    /// The nodes' sockets whose unrecorded connections [`Relay::reconfigure`] would end, since it would have them reached in
    /// more ways than one.
    ///
    /// # Errors
    ///
    /// See [`RelayError`].
    pub fn newly_tracked_by(&self, config: &Config) -> Result<Vec<Place>, RelayError> {
        let then = self.arrange(config)?.state(config);
        Ok(newly_tracked(&self.desired(), &then))
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
        let before: BTreeSet<u16> = self.listener_ids().collect();
        self.backends = backends;
        self.redirects
            .retain(|index, _| redirects.iter().any(|kept| kept.index == *index));
        let mut new_books: Vec<Arc<SlotBook>> = Vec::new();
        let mut new_book = |key, ignored| {
            let mut known = new_books.iter();
            if let Some(book) = known.find(|book| book.table().ignored == ignored) {
                return Arc::clone(book);
            }
            let book = Arc::new(SlotBook::new(key, ignored));
            new_books.push(Arc::clone(&book));
            book
        };
        for arranged in redirects {
            let Arranged {
                index,
                name,
                position,
                family,
                ignored,
                listeners,
            } = arranged;
            let state = self
                .redirects
                .entry(index)
                .or_insert_with(|| RedirectState {
                    name: String::new(),
                    position,
                    family,
                    listeners: Vec::new(),
                    book: new_book(self.key, ignored),
                    using_backup: false,
                    tier: None,
                    ramp: Ramp::default(),
                    candidates: None,
                    owners: None,
                });
            state.name = name;
            state.position = position;
            state.listeners = listeners;
        }
        let after: BTreeSet<u16> = self.listener_ids().collect();
        for (_, entry) in self.backends.iter_mut() {
            entry.listeners.retain(|id| after.contains(id));
        }
        self.retired
            .extend(before.difference(&after).copied(), epoch);
        self.timeouts = timeouts(&config);
        self.operator.forget_strangers_to(&config);
        let moving = self.moving(&config);
        self.config = config;
        let targets = self.targets();
        let serving: BTreeSet<SocketAddr> = self
            .checked
            .iter()
            .filter(|(_, checked)| checked.tracker.health() == Health::Up)
            .map(|(target, _)| target.address)
            .collect();
        let kept: HashSet<&Target> = targets.iter().map(|(target, _)| target).collect();
        self.checked.retain(|target, _| kept.contains(target));
        // Under another name, with another check, or where its own name says that it is now, it is still the node that was
        // up.
        let presumed = self.sockets_checked_by(|target| {
            !self.checked.contains_key(target)
                && (serving.contains(&target.address) || moving.contains(&who(target)))
        });
        for (_, entry) in self.backends.iter_mut() {
            entry.presumed_up |= presumed.contains(&entry.address);
        }
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

    /// The nodes that are up and have the same host's name in another configuration, wherever that is then.
    fn moving(&self, config: &Config) -> BTreeSet<(String, String, Family)> {
        let named = |config: &Config| -> BTreeSet<_> {
            let pools = config.pools.iter();
            let nodes = pools.flat_map(|pool| pool.nodes.iter().map(move |node| (pool, node)));
            nodes
                .filter_map(|(pool, node)| {
                    let host = node.host.clone()?;
                    Some((pool.name.clone(), node.name.clone(), host))
                })
                .collect()
        };
        let (before, after) = (named(&self.config), named(config));
        let same: BTreeSet<_> = before
            .intersection(&after)
            .map(|(pool, node, _)| (pool.as_str(), node.as_str()))
            .collect();
        self.checked
            .iter()
            .filter(|(target, checked)| {
                checked.tracker.health() == Health::Up
                    && same.contains(&(target.pool.as_str(), target.node.as_str()))
            })
            .map(|(target, _)| who(target))
            .collect()
    }

    /// Finds a place for everything in `config`.
    fn arrange(&self, config: &Config) -> Result<Arrangement, RelayError> {
        if config.hash_key.is_some_and(|key| key != self.key) {
            return Err(RelayError::KeyChange);
        }
        let limit = u16::try_from(MAX_REDIRECTS).unwrap_or(u16::MAX);
        let parts = parts(config);
        let known = self.known(&parts);
        let mut backends = self.backends.clone();
        let mut redirects = Vec::new();
        let mut taken: BTreeSet<u16> = self.redirects.keys().copied().collect();
        let mut ids: BTreeSet<u16> = self.listener_ids().collect();
        for (part, known) in parts.iter().zip(known) {
            let index = known
                .or_else(|| (0..limit).find(|index| !taken.contains(index)))
                .ok_or(RelayError::TooManyRedirects(MAX_REDIRECTS))?;
            taken.insert(index);
            let ignored = part.redirect.sticky.ignored(part.family);
            let known_book = known.and_then(|index| Some(&self.redirects.get(&index)?.book));
            if known_book.is_some_and(|book| book.table().ignored != ignored) {
                return Err(RelayError::StickyChange(part.redirect.name.clone()));
            }
            let old: BTreeMap<Place, u16> = known
                .and_then(|index| self.redirects.get(&index))
                .into_iter()
                .flat_map(|state| &state.listeners)
                .map(|listener| (listener.place, listener.id))
                .collect();
            let mut listeners = Vec::new();
            for place in &part.places {
                let id = old
                    .get(place)
                    .copied()
                    .or_else(|| self.retired.next(|id| ids.contains(&id)))
                    .ok_or(RelayError::TooManyListeners(MAX_LISTENERS))?;
                ids.insert(id);
                listeners.push(Listener {
                    place: *place,
                    redirect: index,
                    id,
                });
            }
            for member in members(config, part.redirect) {
                if Family::of(member.address) == part.family {
                    backends
                        .ensure(member.socket(), listeners.iter().map(|l| l.id))
                        .ok_or(RelayError::TooManyBackends(MAX_BACKENDS))?;
                }
            }
            redirects.push(Arranged {
                index,
                name: part.redirect.name.clone(),
                position: part.position,
                family: part.family,
                ignored,
                listeners,
            });
        }
        let arrangement = Arrangement {
            backends,
            redirects,
        };
        // They are put in place all at once or not at all, so this must be known before anything is.
        if arrangement.state(config).endpoints.len() >= MAX_ENDPOINTS as usize {
            return Err(RelayError::TooManyEndpoints(MAX_ENDPOINTS - 1));
        }
        Ok(arrangement)
    }

    /// The numbers of all listeners.
    pub(super) fn listener_ids(&self) -> impl Iterator<Item = u16> + '_ {
        let listeners = self.redirects.values().flat_map(|state| &state.listeners);
        listeners.map(|listener| listener.id)
    }

    /// For each part of the configuration the index of the redirect that it goes on from: the one with its
    /// listener, since that is what clients are connected to, else the one with its name. None goes on twice.
    fn known(&self, parts: &[Part<'_>]) -> Vec<Option<u16>> {
        let mut claimed = BTreeSet::new();
        let mut known = vec![None; parts.len()];
        for same in [Part::has_listener_of, Part::has_name_of] {
            for (part, known) in parts.iter().zip(&mut known) {
                if known.is_some() {
                    continue;
                }
                let mut states = self.redirects.iter();
                let found = states.find(|(index, state)| {
                    state.family == part.family && !claimed.contains(*index) && same(part, state)
                });
                *known = found.map(|(index, _)| *index);
                claimed.extend(*known);
            }
        }
        known
    }
}
