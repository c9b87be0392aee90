//! Desired state → the smallest list of writes that gets the kernel's maps there.
//!
//! The order of the writes is what makes a change safe while packets run: something is written before
//! anything points to it, and taken away after nothing does. A list that breaks off half way leaves maps
//! that are consistent, and the next plan goes on from there.

use std::collections::BTreeMap;

use bytemuck::Zeroable as _;
use redirector_common::abi::{
    Backend, ENDPOINT_LISTENER, Endpoint, EndpointKey4, Listener, PortFilter,
};

/// What the maps should hold, or what they do hold. Slot tables are stood for by their generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Listeners and nodes' sockets.
    pub endpoints: BTreeMap<EndpointKey4, Endpoint>,
    /// Listeners by number. Their entries are overwritten, never removed: a fragment may name them still.
    pub listeners: BTreeMap<u16, Listener>,
    /// Backends by id.
    pub backends: BTreeMap<u16, Backend>,
    /// Generation of each redirect's slot table.
    pub tables: BTreeMap<u16, u32>,
}

/// One write to the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Write a listener.
    Listener(u16, Listener),
    /// Write a backend.
    Backend(u16, Backend),
    /// Put the slot table of a redirect in place; its generation.
    Table(u16, u32),
    /// Replace the set of ports.
    Ports(Box<PortFilter>),
    /// Write an endpoint.
    Endpoint(EndpointKey4, Endpoint),
    /// Remove an endpoint.
    RemoveEndpoint(EndpointKey4),
    /// Clear a backend.
    ClearBackend(u16),
}

/// The writes that turn `held` into `desired`.
pub fn plan(held: &State, desired: &State) -> Vec<Write> {
    let mut writes = Vec::new();
    for (id, backend) in &desired.backends {
        if held.backends.get(id) != Some(backend) {
            writes.push(Write::Backend(*id, *backend));
        }
    }
    for (redirect, generation) in &desired.tables {
        if held.tables.get(redirect) != Some(generation) {
            writes.push(Write::Table(*redirect, *generation));
        }
    }
    for (number, listener) in &desired.listeners {
        if held.listeners.get(number) != Some(listener) {
            writes.push(Write::Listener(*number, *listener));
        }
    }
    let before = ports(held.endpoints.keys());
    let after = ports(desired.endpoints.keys());
    let both = ports(held.endpoints.keys().chain(desired.endpoints.keys()));
    if both != before {
        writes.push(Write::Ports(both.clone()));
    }
    // Nodes before listeners: the first client's answer must find its way back.
    let (listeners, nodes): (Vec<_>, Vec<_>) = desired
        .endpoints
        .iter()
        .filter(|(key, endpoint)| held.endpoints.get(key) != Some(endpoint))
        .partition(|(_, endpoint)| endpoint.kind == ENDPOINT_LISTENER);
    writes.extend(
        nodes
            .into_iter()
            .chain(listeners)
            .map(|(key, endpoint)| Write::Endpoint(*key, *endpoint)),
    );

    let (listeners, nodes): (Vec<_>, Vec<_>) = held
        .endpoints
        .iter()
        .filter(|(key, _)| !desired.endpoints.contains_key(key))
        .partition(|(_, endpoint)| endpoint.kind == ENDPOINT_LISTENER);
    writes.extend(
        listeners
            .into_iter()
            .chain(nodes)
            .map(|(key, _)| Write::RemoveEndpoint(*key)),
    );
    if both != after {
        writes.push(Write::Ports(after));
    }
    let gone = held
        .backends
        .keys()
        .filter(|id| !desired.backends.contains_key(id));
    writes.extend(gone.map(|id| Write::ClearBackend(*id)));
    writes
}

/// The set of the endpoints' ports; an address as such has none.
fn ports<'a>(keys: impl Iterator<Item = &'a EndpointKey4>) -> Box<PortFilter> {
    let mut filter: Box<PortFilter> = Box::new(PortFilter::zeroed());
    for key in keys.filter(|key| key.protocol != 0) {
        let port = u16::from_be_bytes(key.port);
        filter.words[usize::from(port >> 6)] |= 1 << (port & 63);
    }
    filter
}

impl State {
    /// Forgets the tables that `desired` has no redirect for: no packet reads them any more, and the next
    /// redirect in that place has another, whatever its generation.
    pub fn forget_tables(&mut self, desired: &Self) {
        self.tables
            .retain(|redirect, _| desired.tables.contains_key(redirect));
    }

    /// Notes that a write was made.
    pub fn note(&mut self, write: &Write) {
        match write {
            Write::Listener(number, listener) => {
                self.listeners.insert(*number, *listener);
            }
            Write::Backend(id, backend) => {
                self.backends.insert(*id, *backend);
            }
            Write::Table(redirect, generation) => {
                self.tables.insert(*redirect, *generation);
            }
            Write::Ports(_) => {}
            Write::Endpoint(key, endpoint) => {
                self.endpoints.insert(*key, *endpoint);
            }
            Write::RemoveEndpoint(key) => {
                self.endpoints.remove(key);
            }
            Write::ClearBackend(id) => {
                self.backends.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use redirector_common::wire::protocol;

    use super::*;

    fn key(last: u8, port: u16) -> EndpointKey4 {
        EndpointKey4 {
            address: [10, 0, 0, last],
            port: port.to_be_bytes(),
            protocol: protocol::TCP,
            reserved: 0,
        }
    }

    fn state(nodes: &[u8]) -> State {
        let mut state = State::default();
        state.tables.insert(0, u32::try_from(nodes.len()).unwrap());
        state.endpoints.insert(
            key(1, 1080),
            Endpoint::listener([10, 0, 0, 1].into(), 1080, 0, 1, 0),
        );
        for node in nodes {
            let backend = Backend::new([10, 0, 0, *node].into(), 1081);
            let id = u16::from(*node);
            state.backends.insert(id, backend);
            let endpoint = Endpoint::node(&backend, id, [10, 0, 0, 1].into(), 1080, 0, 1, 0);
            state.endpoints.insert(key(*node, 1081), endpoint);
        }
        state
    }

    fn position(writes: &[Write], wanted: impl Fn(&Write) -> bool) -> usize {
        writes.iter().position(wanted).unwrap()
    }

    #[test]
    fn nothing_is_written_when_nothing_changes() {
        assert_eq!(plan(&state(&[2, 3]), &state(&[2, 3])), []);
    }

    #[test]
    fn a_node_is_written_before_the_table_that_names_it_and_the_listener_comes_last() {
        let writes = plan(&State::default(), &state(&[2]));
        let backend = position(&writes, |w| matches!(w, Write::Backend(2, _)));
        let table = position(&writes, |w| matches!(w, Write::Table(0, 1)));
        let ports = position(&writes, |w| matches!(w, Write::Ports(_)));
        let node = position(
            &writes,
            |w| matches!(w, Write::Endpoint(k, _) if *k == key(2, 1081)),
        );
        let listener = position(
            &writes,
            |w| matches!(w, Write::Endpoint(k, _) if *k == key(1, 1080)),
        );
        assert!(backend < table && table < node && ports < node && node < listener);
        assert_eq!(writes.len(), 5);
    }

    #[test]
    fn a_node_is_taken_away_after_the_table_that_no_longer_names_it() {
        let writes = plan(&state(&[2, 3]), &state(&[2]));
        let table = position(&writes, |w| matches!(w, Write::Table(0, 1)));
        let node = position(
            &writes,
            |w| matches!(w, Write::RemoveEndpoint(k) if *k == key(3, 1081)),
        );
        let backend = position(&writes, |w| matches!(w, Write::ClearBackend(3)));
        assert!(table < node && node < backend);
        assert_eq!(writes.len(), 3);
    }

    #[test]
    fn a_port_stays_in_the_filter_until_its_endpoints_are_gone() {
        let mut desired = state(&[2]);
        let endpoint = desired.endpoints.remove(&key(1, 1080)).unwrap();
        desired.endpoints.insert(key(1, 2080), endpoint);
        let writes = plan(&state(&[2]), &desired);
        let filters: Vec<_> = writes
            .iter()
            .filter_map(|w| {
                if let Write::Ports(filter) = w {
                    return Some(
                        [1080_usize, 1081, 2080].map(|p| filter.words[p / 64] >> (p % 64) & 1),
                    );
                }
                None
            })
            .collect();
        assert_eq!(filters, [[1, 1, 1], [0, 1, 1]]);
    }

    #[test]
    fn noting_every_write_of_a_plan_gives_the_desired_state() {
        let (mut held, desired) = (state(&[2, 3]), state(&[3, 4, 5]));
        for write in plan(&held, &desired) {
            held.note(&write);
        }
        assert_eq!(held, desired);
    }
}
