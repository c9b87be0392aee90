//! What is shown by HTTP: the state of the agent, without going through the large maps for each who looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use redirector_common::abi::{
    Association, MAX_ASSOCIATIONS, MAX_BACKENDS, MAX_ENDPOINTS, MAX_LISTENERS, MAX_PINHOLES,
    MAX_REDIRECTS,
};

use super::Agent;
use crate::{
    config,
    engine::{Relay, SlotBook},
    family::Family,
    health::{Observation, Target},
    http::{Ask, Http, HttpError, Prepared, Slots, Snapshot},
    metrics::{Fill, Measured, Probed},
    names::{FlowName, With},
};

/// The UDP associations, as of the last time that they were gone through.
#[derive(Default)]
pub(super) struct Tally {
    /// Live ones by listener.
    pub(super) associations: BTreeMap<u16, u64>,
    /// Their pinholes and marks.
    pub(super) pinholes: u64,
}

impl Tally {
    /// Counts associations.
    pub(super) fn of(associations: &[(FlowName, Association)]) -> Self {
        let mut tally = Self::default();
        for (name, _) in associations {
            if let With::Listener(listener) = name.with {
                *tally.associations.entry(listener).or_default() += 1;
            }
        }
        tally
    }
}

/// What is kept for those who look.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) tally: Tally,
    pub(super) measured: Measured,
    /// Owners of the slots, of each redirect's table as of [`Slots::generation`].
    slots: BTreeMap<u16, Arc<Slots>>,
}

impl Shown {
    /// Takes in the result of a check.
    pub(super) fn observe(&mut self, observation: &Observation) {
        let probed = probed(&observation.target);
        let result = (observation.check_name(), observation.outcome.cause().word());
        self.measured.probed(probed, result, observation.took);
    }
}

fn probed(target: &Target) -> Probed {
    Probed {
        pool: target.pool.clone(),
        node: target.node.clone(),
    }
}

/// What becomes of the HTTP server.
pub(super) enum HttpChange {
    /// It stays as it is.
    None,
    /// There is none any more.
    End,
    /// Another takes its place.
    Begin(Box<Prepared>),
}

impl Agent {
    /// Makes sure that the HTTP server can be as a configuration wants it.
    ///
    /// # Errors
    /// It can't; nothing has changed.
    pub(super) fn prepare_http(
        &self,
        wanted: Option<&config::Http>,
    ) -> Result<HttpChange, HttpError> {
        let current = self.http.as_ref();
        Ok(match wanted {
            wanted if wanted == current.map(Http::config) => HttpChange::None,
            None => HttpChange::End,
            Some(wanted) => HttpChange::Begin(Box::new(Prepared::new(wanted, current)?)),
        })
    }

    /// Starts, ends or changes the HTTP server.
    ///
    /// # Errors
    /// There are no threads left.
    pub(super) fn serve_http(&mut self, change: HttpChange) -> Result<(), HttpError> {
        match change {
            HttpChange::None => {}
            HttpChange::End => self.http = None,
            HttpChange::Begin(prepared) => {
                let (ask, calls) = (self.ask.clone(), self.call_sender.clone());
                self.http = Some(Http::start(*prepared, ask, calls)?);
            }
        }
        Ok(())
    }

    /// Tells whoever asks by HTTP.
    pub(super) fn show_to(&mut self, ask: Ask) {
        // Who has gone away meanwhile does not miss it.
        let told = match ask {
            Ask::Snapshot(reply) => self
                .snapshot()
                .map(|snapshot| drop(reply.send(Arc::new(snapshot)))),
            Ask::Peer(reply) => self.tell_peer().map(|document| drop(reply.send(document))),
        };
        if let Err(error) = told {
            log::error!("{error:#}");
        }
    }

    fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        let slots = self.slots_now();
        let counted = self.entries_of_nodes()?;
        let status = self.status_of(&self.shown.tally, &slots, &counted)?;
        let answers = counted.into_iter().filter_map(|(id, counted)| {
            let answers = counted.answers;
            (answers.count() > 0).then_some((u32::from(id), answers))
        });
        let of_redirect = |(index, slots)| (u32::from(index), slots);
        Ok(Snapshot {
            at_ms: Snapshot::now(),
            status,
            measured: Measured {
                fills: self.fills(),
                ..self.shown.measured.clone()
            },
            answers: answers.collect(),
            slots: slots.into_iter().map(of_redirect).collect(),
        })
    }

    /// Who owns the slots; only tables that have changed are gone through.
    pub(super) fn slots_now(&mut self) -> BTreeMap<u16, Arc<Slots>> {
        let mut known = std::mem::take(&mut self.shown.slots);
        let mut of_books: Vec<(&Arc<SlotBook>, Arc<Slots>)> = Vec::new();
        let mut shown = BTreeMap::new();
        for (index, state) in self.relay.redirects() {
            let same_book = of_books
                .iter()
                .find(|(book, _)| Arc::ptr_eq(book, &state.book))
                .map(|(_, slots)| Arc::clone(slots));
            let table = state.book.table();
            let slots = same_book.unwrap_or_else(|| {
                let slots = known
                    .remove(index)
                    .filter(|slots| slots.generation == table.generation)
                    .unwrap_or_else(|| Arc::new(Slots::of(table)));
                of_books.push((&state.book, Arc::clone(&slots)));
                slots
            });
            shown.insert(*index, slots);
        }
        self.shown.slots = shown;
        self.shown.slots.clone()
    }

    fn fills(&self) -> Vec<Fill> {
        let tally = &self.shown.tally;
        let associations: u64 = tally.associations.values().sum();
        let held = self.applied.held();
        let families = Family::BOTH.len() as u64;
        let fill = |map, used: usize, max: u32| Fill {
            map,
            used: used as u64,
            max: u64::from(max),
        };
        vec![
            fill("redirects", held.tables.len(), MAX_REDIRECTS),
            // Number 0 of each is for none.
            fill("listeners", held.listeners.len(), MAX_LISTENERS - 1),
            fill("backends", held.backends.len(), MAX_BACKENDS - 1),
            fill("endpoints", held.endpoints.len(), MAX_ENDPOINTS - 1),
            Fill {
                map: "flows",
                used: self.counted.records,
                max: u64::from(self.relay.config().flows.max),
            },
            Fill {
                map: "associations",
                used: associations,
                max: families * u64::from(MAX_ASSOCIATIONS),
            },
            Fill {
                map: "pinholes",
                used: tally.pinholes,
                max: families * u64::from(MAX_PINHOLES),
            },
        ]
    }

    /// Changes what is wanted in the maps, and notes how long it took to work that out.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Relay) -> T) -> T {
        let (start, before) = (Instant::now(), self.relay.revision());
        let result = change(&mut self.relay);
        if self.relay.revision() != before {
            self.shown.measured.rebuilt.add(start.elapsed());
        }
        result
    }

    /// Brings the maps up to date, and notes how long that took.
    pub(super) fn try_apply(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let result = self.applied.apply(&self.relay);
        let measured = &mut self.shown.measured;
        measured.applied(matches!(result, Ok(true)), result.is_ok(), start.elapsed());
        if result? {
            self.write_loads(false)?;
        }
        Ok(())
    }

    /// Tells the data path how loaded nodes are, by the connections that were counted last.
    pub(super) fn write_loads(&mut self, just_counted: bool) -> anyhow::Result<()> {
        let loads = self.relay.loads(&self.counted.live);
        Ok(self.applied.write_loads(&loads, just_counted)?)
    }

    /// Forgets what was measured of nodes that are not checked any more.
    pub(super) fn forget_unchecked(&mut self) {
        let checked: Vec<Probed> = self
            .relay
            .targets()
            .iter()
            .map(|(target, _)| probed(target))
            .collect();
        self.shown.measured.keep(|probed| checked.contains(probed));
    }
}
