//! Desired state → the smallest list of writes that gets the kernel's maps there.
//!
//! The order of the writes is what makes a change safe while packets run: something is written before
//! anything points to it, and taken away after nothing does. A list that breaks off half way leaves maps
//! that are consistent, and the next plan goes on from there.

use std::collections::BTreeMap;

use bytemuck::Zeroable as _;
use redirector_common::abi::{Backend, Endpoint, Listener, PortFilter};

use crate::names::Place;

/// What the maps should hold, or what they do hold. Slot tables are stood for by their generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Listeners, nodes' sockets, and their addresses.
    pub endpoints: BTreeMap<Place, Endpoint>,
    /// Listeners by number.
    pub listeners: BTreeMap<u16, Listener>,
    /// Backends by id.
    pub backends: BTreeMap<u16, Backend>,
    /// Generation of each redirect's slot table.
    pub tables: BTreeMap<u16, u32>,
}

/// One write to the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Write a backend.
    Backend(u16, Backend),
    /// Put the slot table of a redirect in place; its generation.
    Table(u16, u32),
    /// Write a listener.
    Listener(u16, Listener),
    /// Replace the set of ports.
    Ports(Box<PortFilter>),
    /// Replace all endpoints.
    Endpoints(BTreeMap<Place, Endpoint>),
    /// Clear a listener.
    ClearListener(u16),
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
    for (id, listener) in &desired.listeners {
        if held.listeners.get(id) != Some(listener) {
            writes.push(Write::Listener(*id, *listener));
        }
    }
    let before = ports(held.endpoints.keys());
    let after = ports(desired.endpoints.keys());
    let both = ports(held.endpoints.keys().chain(desired.endpoints.keys()));
    if both != before {
        writes.push(Write::Ports(both.clone()));
    }
    if held.endpoints != desired.endpoints {
        writes.push(Write::Endpoints(desired.endpoints.clone()));
    }
    if both != after {
        writes.push(Write::Ports(after));
    }
    let gone = held
        .listeners
        .keys()
        .filter(|id| !desired.listeners.contains_key(id));
    writes.extend(gone.map(|id| Write::ClearListener(*id)));
    let gone = held
        .backends
        .keys()
        .filter(|id| !desired.backends.contains_key(id));
    writes.extend(gone.map(|id| Write::ClearBackend(*id)));
    writes
}

/// The set of the endpoints' ports: all of them where one stands for every port.
pub fn ports<'a>(places: impl Iterator<Item = &'a Place>) -> Box<PortFilter> {
    let mut filter: Box<PortFilter> = Box::new(PortFilter::zeroed());
    for place in places.filter(|place| place.protocol != 0) {
        if place.port == 0 {
            filter.words.fill(u64::MAX);
            break;
        }
        filter.words[usize::from(place.port >> 6)] |= 1 << (place.port & 63);
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
            Write::Backend(id, backend) => {
                self.backends.insert(*id, *backend);
            }
            Write::Table(redirect, generation) => {
                self.tables.insert(*redirect, *generation);
            }
            Write::Listener(id, listener) => {
                self.listeners.insert(*id, *listener);
            }
            Write::Ports(_) => {}
            Write::Endpoints(endpoints) => self.endpoints.clone_from(endpoints),
            Write::ClearListener(id) => {
                self.listeners.remove(id);
            }
            Write::ClearBackend(id) => {
                self.backends.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use redirector_common::wire::protocol;

    use super::*;

    fn key(last: u8, port: u16) -> Place {
        Place {
            address: [10, 0, 0, last].into(),
            port,
            protocol: protocol::TCP,
        }
    }

    fn state(nodes: &[u8]) -> State {
        let mut state = State::default();
        state.tables.insert(0, u32::try_from(nodes.len()).unwrap());
        let vip = IpAddr::from([10, 0, 0, 1]);
        let listener = Listener::new(vip, 1080, protocol::TCP, 0, 0);
        state.listeners.insert(1, listener);
        state
            .endpoints
            .insert(key(1, 1080), Endpoint::listener(vip, 1080, 0, 1, 0));
        state
            .endpoints
            .insert(Place::address(vip), Endpoint::vip(0, 1, 0));
        for node in nodes {
            let backend = Backend::new([10, 0, 0, *node].into(), 1081);
            let id = u16::from(*node);
            state.backends.insert(id, backend);
            let endpoint = Endpoint::node(&backend, id, vip, 1080, 0, 1, 0);
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
    fn a_node_is_written_before_the_table_that_names_it_and_endpoints_come_last() {
        let writes = plan(&State::default(), &state(&[2]));
        let backend = position(&writes, |w| matches!(w, Write::Backend(2, _)));
        let table = position(&writes, |w| matches!(w, Write::Table(0, 1)));
        let ports = position(&writes, |w| matches!(w, Write::Ports(_)));
        let endpoints = position(&writes, |w| matches!(w, Write::Endpoints(_)));
        let number = position(&writes, |w| matches!(w, Write::Listener(1, _)));
        assert!(backend < table && table < endpoints && ports < endpoints && number < endpoints);
        assert_eq!(writes.len(), 5);
    }

    #[test]
    fn a_node_is_taken_away_after_the_table_that_no_longer_names_it() {
        let writes = plan(&state(&[2, 3]), &state(&[2]));
        let table = position(&writes, |w| matches!(w, Write::Table(0, 1)));
        let endpoints = position(&writes, |w| matches!(w, Write::Endpoints(_)));
        let backend = position(&writes, |w| matches!(w, Write::ClearBackend(3)));
        assert!(table < endpoints && endpoints < backend);
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
    fn an_endpoint_for_every_port_sets_every_port_and_an_address_sets_none() {
        let filter = ports([key(1, 0)].iter());
        assert!(filter.words.iter().all(|word| *word == u64::MAX));
        let filter = ports([Place::address(key(1, 0).address)].iter());
        assert!(filter.words.iter().all(|word| *word == 0));
    }

    #[test]
    fn a_listener_is_cleared_after_the_endpoints_that_name_it() {
        let writes = plan(&state(&[2]), &State::default());
        let clear = position(&writes, |w| matches!(w, Write::ClearListener(1)));
        let endpoints = position(&writes, |w| matches!(w, Write::Endpoints(_)));
        assert!(endpoints < clear);
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
