//! What the operator's words do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redirector_common::{abi::Flow, wire::protocol};

use super::{Member, RedirectState, Relay};
use crate::{
    config::Readiness,
    engine::{
        flows::{is_closed, is_over},
        operator::{Operator, OperatorState, Said, Subject},
    },
    names::{FlowName, With},
};

/// Connections that live between one listener and one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many are recorded and not over.
    pub connections: u64,
    /// Seconds since a packet of any of them was seen.
    pub idle: u32,
}

impl Live {
    /// Of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let idle = match (self.connections, other.connections) {
            (0, _) => other.idle,
            (_, 0) => self.idle,
            (_, _) => self.idle.min(other.idle),
        };
        Self {
            connections: self.connections + other.connections,
            idle,
        }
    }
}

/// Live connections by listener and backend.
pub type LiveFlows = BTreeMap<(u16, u16), Live>;

impl Relay {
    /// What the operator has said.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Takes what the operator says now, in place of all that was said before.
    pub fn operate(&mut self, operator: Operator, epoch: u32) {
        self.operator = operator;
        self.retarget(epoch);
    }

    /// What holds for a node as a redirect reaches it: the stricter of the operator's words and those of who names the node.
    pub fn operator_of(&self, member: &Member<'_>) -> OperatorState {
        let readiness = member.node.standing.as_ref().map(|of| of.readiness);
        let named = match readiness {
            None | Some(Readiness::Ready) => OperatorState::Enabled,
            Some(Readiness::Terminating | Readiness::NotReady) => OperatorState::Draining,
        };
        if self.operator.is_empty() {
            return named;
        }
        let pool = &self.config.pools[member.pool].name;
        let said = self
            .operator
            .of_node(&member.redirect.name, pool, &member.node.name);
        said.max(named)
    }

    /// What was said about the redirect of a state.
    pub(in crate::engine) fn is_disabled(&self, state: &RedirectState) -> bool {
        self.operator.of_redirect(&state.name) == OperatorState::Disabled
    }

    /// What was said about something, enabled included.
    pub fn said_about(&self, subject: &Subject) -> Said {
        let said = self.operator.about(subject).cloned();
        said.unwrap_or_else(|| Said {
            subject: subject.clone(),
            state: OperatorState::Enabled,
            at: 0,
            until: None,
        })
    }

    /// Counts the recorded connections that are not over; those that were silent for longer than `silent` seconds
    /// are taken to be.
    pub fn live(&self, flows: &[(FlowName, Flow)], silent: Option<u32>, epoch: u32) -> LiveFlows {
        let mut protocols = BTreeMap::new();
        for listener in self.redirects.values().flat_map(|state| &state.listeners) {
            protocols.insert(listener.id, listener.place.protocol);
        }
        let mut live = LiveFlows::new();
        for (name, flow) in flows {
            let With::Listener(listener) = name.with else {
                continue;
            };
            let timeouts = match protocols.get(&listener) {
                Some(&protocol::UDP) => self.timeouts.of_udp(),
                Some(_) => self.timeouts,
                None => continue,
            };
            let idle = epoch.saturating_sub(flow.seen);
            let over = is_closed(flow)
                || is_over(flow, &timeouts, epoch)
                || silent.is_some_and(|silent| idle > silent);
            if !over {
                let one = Live {
                    connections: 1,
                    idle,
                };
                let sum = live.entry((listener, flow.backend)).or_default();
                *sum = sum.and(one);
            }
        }
        live
    }

    /// The listeners and backends by which clients come to something.
    pub fn ways_of(&self, subject: &Subject) -> BTreeSet<(u16, u16)> {
        let mut listeners: HashMap<&str, Vec<u16>> = HashMap::new();
        for state in self.redirects.values() {
            let mine = listeners.entry(&state.name).or_default();
            mine.extend(state.listeners.iter().map(|listener| listener.id));
        }
        let mut ways = BTreeSet::new();
        for member in self.members() {
            let pool = &self.config.pools[member.pool].name;
            if !subject.covers(&member.redirect.name, pool, &member.node.name) {
                continue;
            }
            let listeners = listeners.get(member.redirect.name.as_str());
            if let (Some(listeners), Some(backend)) =
                (listeners, self.backends.id_of(member.socket()))
            {
                ways.extend(listeners.iter().map(|listener| (*listener, backend)));
            }
        }
        ways
    }
}
