//! Listeners and nodes' sockets, with the flags that tell the data path how to treat their packets.

use std::collections::{BTreeMap, BTreeSet};

use redirector_common::abi::{
    self, ENDPOINT_ANY_PORT, ENDPOINT_DIRECT, ENDPOINT_NODE, ENDPOINT_REFUSES, ENDPOINT_ROUTE,
    ENDPOINT_SHARED, ENDPOINT_TRACKED, Endpoint,
};

use super::{
    backends::{Backends, Entry},
    listeners::Listener,
    plan::State,
};
use crate::{
    config::{Delivery, DirectTcp, HostName, Pool, Redirect, UdpAssociate, WhenEmpty},
    family::Family,
    names::Place,
};

/// A listener with what its redirect says.
#[derive(Clone, Copy)]
pub(super) struct Served<'a> {
    pub(super) listener: Listener,
    pub(super) redirect: &'a Redirect,
    /// All pools of the configuration.
    pub(super) pools: &'a [Pool],
    /// Whether it is known by now which nodes are up. As long as it is not, packets that no node takes are dropped
    /// whatever the redirect says: their senders try again.
    pub(super) settled: bool,
}

impl<'a> Served<'a> {
    /// The names of the nodes that it reaches.
    fn hosts(&self) -> BTreeSet<&'a HostName> {
        let pools = [Some(self.redirect.pool), self.redirect.backup];
        let pools = pools.into_iter().flatten();
        pools
            .filter_map(|pool| self.pools.get(pool))
            .flat_map(|pool| &pool.nodes)
            .filter_map(|node| node.host.as_ref())
            .collect()
    }

    fn routes(&self) -> bool {
        self.redirect.delivery == Delivery::Route
    }

    /// The flags that do not depend on other listeners.
    fn flags(&self) -> u16 {
        let flag = |condition, flag| if condition { flag } else { 0 };
        flag(self.redirect.port.is_none(), ENDPOINT_ANY_PORT)
            | flag(self.routes(), ENDPOINT_ROUTE)
            | flag(
                self.redirect.udp_associate == UdpAssociate::Shared,
                ENDPOINT_SHARED,
            )
    }

    fn allows_direct(&self) -> bool {
        self.redirect.direct_tcp == DirectTcp::Allow
    }

    /// The socket of a node that it reaches.
    fn node_place(&self, entry: &Entry) -> Place {
        let port = match entry.address.port() {
            0 => self.listener.place.port,
            port => port,
        };
        Place {
            address: entry.address.ip(),
            port,
            protocol: self.listener.place.protocol,
        }
    }
}

/// A node's socket, and the listeners that it is reached from.
struct NodeSocket<'a> {
    backend: u16,
    entry: &'a Entry,
    listeners: Vec<Served<'a>>,
}

/// Puts listeners, endpoints and backends into `state`.
pub(super) fn fill(state: &mut State, served: &BTreeMap<u16, Served<'_>>, backends: &Backends) {
    let sockets = node_sockets(served, backends);
    let tracked = tracked_listeners(served, &sockets);
    let is_tracked = |id: u16| tracked.contains(&id);
    for (place, socket) in &sockets {
        let Some(first) = socket.listeners.first() else {
            continue;
        };
        let mut flags = 0;
        for listener in &socket.listeners {
            flags |= listener.flags() & (ENDPOINT_SHARED | ENDPOINT_ANY_PORT);
            if is_tracked(listener.listener.id) {
                flags |= ENDPOINT_TRACKED;
            }
            if listener.allows_direct() {
                flags |= ENDPOINT_DIRECT;
            }
        }
        let Listener {
            place: vip,
            redirect,
            id,
        } = first.listener;
        let backend = &socket.entry.backend;
        let node = Endpoint::node(
            backend,
            socket.backend,
            vip.address,
            vip.port,
            redirect,
            id,
            flags,
        );
        state.endpoints.insert(*place, node);
        let address = Place::address(place.address);
        let known = state.endpoints.get(&address).map_or(0, |node| node.flags);
        state
            .endpoints
            .insert(address, Endpoint::node_address(known | flags));
    }
    for one in served.values() {
        let tracked = if is_tracked(one.listener.id) {
            ENDPOINT_TRACKED
        } else {
            0
        };
        let flags = one.flags() | tracked;
        let Listener {
            place,
            redirect,
            id,
        } = one.listener;
        let Place {
            address,
            port,
            protocol,
        } = place;
        let listener = abi::Listener::new(address, port, protocol, redirect, flags);
        state.listeners.insert(id, listener);
        let refuses = if one.settled && one.redirect.when_empty == WhenEmpty::Reset {
            ENDPOINT_REFUSES
        } else {
            0
        };
        let endpoint = Endpoint::listener(address, port, redirect, id, flags | refuses);
        state.endpoints.insert(place, endpoint);
        vip(state, address, &one.listener, flags);
    }
    for (id, entry) in backends.iter() {
        state.backends.insert(id, entry.backend);
    }
}

/// Adds a listener to the entry of its address. The entry names a listener with shared associations if there is
/// one, and says that packets are routed only if that one's are.
fn vip(state: &mut State, address: std::net::IpAddr, listener: &Listener, flags: u16) {
    let vip = Endpoint::vip(listener.redirect, listener.id, flags);
    let place = Place::address(address);
    let both = match state.endpoints.get(&place) {
        Some(known) if known.kind == vip.kind => {
            let (chosen, other) =
                if known.flags & ENDPOINT_SHARED == 0 && flags & ENDPOINT_SHARED != 0 {
                    (vip, *known)
                } else {
                    (*known, vip)
                };
            Endpoint {
                flags: chosen.flags | (other.flags & !ENDPOINT_ROUTE),
                ..chosen
            }
        }
        Some(_) | None => vip,
    };
    state.endpoints.insert(place, both);
}

/// The sockets that answers come from. Those of nodes that packets are routed to are not among them: they answer
/// from the VIP.
fn node_sockets<'a>(
    served: &BTreeMap<u16, Served<'a>>,
    backends: &'a Backends,
) -> BTreeMap<Place, NodeSocket<'a>> {
    let mut sockets = BTreeMap::new();
    for (backend, entry) in backends.iter() {
        let listeners = entry.listeners.iter().filter_map(|id| served.get(id));
        for listener in listeners.filter(|listener| !listener.routes()) {
            sockets
                .entry(listener.node_place(entry))
                .or_insert_with(|| NodeSocket {
                    backend,
                    entry,
                    listeners: Vec::new(),
                })
                .listeners
                .push(*listener);
        }
    }
    sockets
}

/// The listeners whose connections must be recorded, since a node's socket alone does not tell which listener an
/// answer belongs to, or whether it is one at all.
fn tracked_listeners(
    served: &BTreeMap<u16, Served<'_>>,
    sockets: &BTreeMap<Place, NodeSocket<'_>>,
) -> BTreeSet<u16> {
    let mut tracked: BTreeSet<u16> = served
        .values()
        .filter(|one| !one.routes())
        .filter(|one| one.listener.place.port == 0 || one.allows_direct())
        .map(|one| one.listener.id)
        .collect();
    for (place, socket) in sockets {
        let every_port = Place { port: 0, ..*place };
        if socket.listeners.len() > 1 || (place.port != 0 && sockets.contains_key(&every_port)) {
            tracked.extend(socket.listeners.iter().map(|one| one.listener.id));
        }
    }
    tracked.extend(sharers_of_names(served));
    tracked
}

/// The listeners that reach a name which another listener reaches as well. They record from the beginning, whatever the name
/// stands for: were it to begin when the name is found, their connections from before would be lost.
fn sharers_of_names(served: &BTreeMap<u16, Served<'_>>) -> BTreeSet<u16> {
    let mut hosts = BTreeMap::new();
    let mut sockets: BTreeMap<_, Vec<u16>> = BTreeMap::new();
    for one in served.values().filter(|one| !one.routes()) {
        let Listener {
            place,
            redirect,
            id,
        } = one.listener;
        let family = Family::of(place.address);
        let port = one.redirect.port.unwrap_or(place.port);
        for host in hosts.entry(redirect).or_insert_with(|| one.hosts()).iter() {
            let socket = (*host, family, place.protocol, port);
            sockets.entry(socket).or_default().push(id);
        }
    }
    let shared = sockets.iter().filter(|(socket, ids)| {
        let (host, family, protocol, port) = **socket;
        ids.len() > 1 || port != 0 && sockets.contains_key(&(host, family, protocol, 0))
    });
    shared.flat_map(|(_, ids)| ids).copied().collect()
}

/// The nodes' sockets whose answers are restored, from now on, only for connections that were recorded from their
/// beginning.
pub fn newly_tracked(before: &State, after: &State) -> Vec<Place> {
    let tracked = |endpoint: &Endpoint| {
        endpoint.kind == ENDPOINT_NODE && endpoint.flags & ENDPOINT_TRACKED != 0
    };
    let after = after.endpoints.iter();
    after
        .filter(|(place, endpoint)| {
            let was = before.endpoints.get(place);
            tracked(endpoint) && was.is_some_and(|was| !tracked(was))
        })
        .map(|(place, _)| *place)
        .collect()
}
