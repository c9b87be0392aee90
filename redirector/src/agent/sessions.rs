//! The recorded connections and the UDP associations, one by one.

use redirector_common::{
    abi::{FLOW_FIN_CLIENT, FLOW_FIN_NODE, FLOW_RESET, Flow},
    wire::protocol,
};

use super::Agent;
use crate::{
    control::audit::{Session, SessionFilter, Sessions},
    engine::{Kind, Listener, find},
    names::With,
};

/// Most that are given, whatever was asked for.
const MOST: usize = 10_000;

impl Agent {
    /// What is recorded, as far as it matches: those that spoke last first.
    pub(super) fn sessions(&mut self, filter: &SessionFilter) -> anyhow::Result<Sessions> {
        let ways = filter
            .node
            .as_ref()
            .map(|name| find(self.relay.config(), Kind::Node, name))
            .transpose()?
            .map(|subject| self.relay.ways_of(&subject));
        let wanted = |client: std::net::SocketAddr, listener: u16, backend: u16| {
            filter.client.is_none_or(|address| address == client.ip())
                && ways
                    .as_ref()
                    .is_none_or(|ways| ways.contains(&(listener, backend)))
        };
        let epoch = self.epoch();
        let mut sessions = Sessions::default();
        for (name, flow) in self.applied.maps.flows()? {
            let With::Listener(id) = name.with else {
                continue;
            };
            sessions.recorded += 1;
            let Some((redirect, listener)) = self.listener(id) else {
                continue;
            };
            if wanted(name.client, id, flow.backend) {
                sessions.sessions.push(Session {
                    kind: transport(listener.place.protocol).to_owned(),
                    client: name.client,
                    redirect,
                    listen: listener.place.socket(),
                    node: self.name_of(flow.backend).unwrap_or_default(),
                    state: state(flow).to_owned(),
                    idle: epoch.saturating_sub(flow.seen),
                });
            }
        }
        for (name, association) in self.applied.maps.associations()? {
            let With::Listener(id) = name.with else {
                continue;
            };
            sessions.recorded += 1;
            let Some((redirect, listener)) = self.listener(id) else {
                continue;
            };
            if wanted(name.client, id, association.backend) {
                sessions.sessions.push(Session {
                    kind: "associate".to_owned(),
                    client: name.client,
                    redirect,
                    listen: listener.place.socket(),
                    node: self.name_of(association.backend).unwrap_or_default(),
                    state: format!("port {}", u16::from_be_bytes(association.port)),
                    idle: epoch.saturating_sub(association.opened),
                });
            }
        }
        sessions.matching = sessions.sessions.len() as u64;
        sessions
            .sessions
            .sort_by_key(|session| (session.idle, session.client));
        sessions.sessions.truncate(filter.limit.min(MOST));
        Ok(sessions)
    }

    /// A listener, with the name of its redirect.
    fn listener(&self, id: u16) -> Option<(String, Listener)> {
        self.relay.redirects().values().find_map(|state| {
            let mut listeners = state.listeners.iter();
            let listener = listeners.find(|listener| listener.id == id)?;
            Some((state.name.clone(), *listener))
        })
    }
}

fn transport(number: u8) -> &'static str {
    if number == protocol::UDP {
        "udp"
    } else {
        "tcp"
    }
}

fn state(flow: Flow) -> &'static str {
    let closed = FLOW_FIN_CLIENT | FLOW_FIN_NODE;
    if flow.flags & FLOW_RESET != 0 {
        "reset"
    } else if flow.flags & closed == closed {
        "closed"
    } else if flow.flags & closed != 0 {
        "closing"
    } else {
        "established"
    }
}
