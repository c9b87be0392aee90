//! What a change would do: tried on a copy of the relay, of which nothing is ever written.

use std::{collections::BTreeSet, net::SocketAddr, time::Instant};

use redirector_common::abi::{BACKEND_NEXT_HOP, SLOTS};

use super::{Agent, reload::refuse};
use crate::{
    config::{Config, Difference, HostName, differences},
    control::{
        Operation,
        plan::{Move, Plan, Proposal, RedirectPlan},
    },
    engine::{OperatorState, Relay, Said, newly_tracked},
    health::Health,
};

impl Agent {
    /// What would become of slots and connections.
    pub(super) fn plan(&self, proposal: &Proposal) -> anyhow::Result<Plan> {
        match proposal {
            Proposal::Configuration { name, text } => self.plan_config(name, text),
            Proposal::Operation(operation) => self.plan_operation(operation),
        }
    }

    /// Everything that a reload would refuse is refused here too, but for files that checks need: whoever asks has read
    /// them with his own rights. The agent opens nothing that a request names, since it may read more than he.
    fn plan_config(&self, name: &str, text: &str) -> anyhow::Result<Plan> {
        let config = Config::parse(name, text)?;
        let (names, config) = self.names_for(&config);
        let (book, config) = self.sources_for(&config);
        self.relay.accepts(&config)?;
        {
            let view = self.views.borrow();
            refuse(&view, &config)?;
            self.find_interfaces(&view, &config)?;
        }
        let differences = differences(self.relay.config(), &config);
        let slow = config.pools.iter().any(|pool| !pool.slow_start.is_zero());
        let then = self
            .relay
            .with_config(config, self.epoch(), Instant::now())?;
        let mut notes = Vec::new();
        let unresolved: Vec<&str> = names.unresolved().map(HostName::as_str).collect();
        if !unresolved.is_empty() {
            notes.push(format!(
                "unresolved, so without slots here: {}; a plan looks no names up, a reload does",
                unresolved.join(", ")
            ));
        }
        let undiscovered = book.unknown();
        if !undiscovered.is_empty() {
            notes.push(format!(
                "without nodes here: {}; a plan asks no source, a reload does",
                undiscovered.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        let new = unchecked(&then);
        if !new.is_empty() {
            notes.push(format!(
                "taken to be up, though not checked yet: {}",
                new.into_iter().collect::<Vec<_>>().join(", ")
            ));
            if slow {
                notes.push("with slow-start, they get these slots step by step".to_owned());
            }
        }
        for place in newly_tracked(&self.relay.desired(), &then.desired()) {
            notes.push(format!(
                "{} port {} would be reached in more than one way: its connections that are not recorded end",
                place.address, place.port
            ));
        }
        self.plan_of(&then, differences, notes)
    }

    fn plan_operation(&self, operation: &Operation) -> anyhow::Result<Plan> {
        let subjects = self.named(operation)?;
        let mut operator = self.relay.operator().clone();
        let mut differences = Vec::new();
        for subject in subjects {
            let before = operator.state(&subject);
            if before != operation.state {
                differences.push(Difference::Changed {
                    what: subject.to_string(),
                    key: "operator".to_owned(),
                    from: before.to_string(),
                    to: operation.state.to_string(),
                });
            }
            operator.say(Said {
                subject,
                state: operation.state,
                at: 0,
                until: None,
            });
        }
        let then = self.relay.with_operator(operator, self.epoch());
        self.plan_of(&then, differences, Vec::new())
    }

    fn plan_of(
        &self,
        then: &Relay,
        differences: Vec<Difference>,
        notes: Vec<String>,
    ) -> anyhow::Result<Plan> {
        let flows = self.applied.maps.flows()?;
        let moves = self.relay.moves_to(then, &flows, self.epoch());
        let name = |id: u16| {
            let entry = then.backends().get(id).or(self.relay.backends().get(id))?;
            Some(name_in(&[then, &self.relay], entry.address))
        };
        let mut redirects = Vec::new();
        for moves in moves {
            redirects.push(RedirectPlan {
                redirect: moves.redirect,
                family: moves.family.to_string(),
                slots: u32::try_from(SLOTS)?,
                moved: moves.slots.values().sum(),
                moves: moves
                    .slots
                    .into_iter()
                    .map(|((from, to), slots)| Move {
                        from: name(from),
                        to: name(to),
                        slots,
                    })
                    .collect(),
                connections_stay: moves.stay,
                connections_end: moves.end,
                digest: moves.before,
                digest_then: moves.after,
            });
        }
        Ok(Plan {
            differences,
            redirects,
            notes,
        })
    }
}

/// Nodes that may take clients without having been checked.
fn unchecked(relay: &Relay) -> BTreeSet<String> {
    let waits = |address: SocketAddr| {
        let id = relay.backends().id_of(address);
        let entry = id.and_then(|id| relay.backends().get(id));
        entry.is_some_and(|e| e.presumed_up && e.backend.flags & BACKEND_NEXT_HOP != 0)
    };
    relay
        .members()
        .filter(|member| {
            let checked = relay.checked_of(member);
            checked.is_none_or(|checked| checked.tracker.health() == Health::Unknown)
                && relay.operator_of(member) == OperatorState::Enabled
                && waits(member.socket())
        })
        .map(|member| member.node.name.clone())
        .collect()
}

/// What a node is called by the first of these relays that has it.
fn name_in(relays: &[&Relay], address: SocketAddr) -> String {
    let found = relays.iter().find_map(|relay| {
        let mut members = relay.members();
        members.find(|member| member.socket() == address)
    });
    found.map_or_else(|| address.to_string(), |member| member.node.name.clone())
}
