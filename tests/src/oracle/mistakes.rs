//! Mistakes that an agent could make in the tables, to be caught by the oracle.

use redirector_common::{
    abi::{ENDPOINT_LISTENER, ENDPOINT_NODE, Endpoint},
    checksum,
    host::HostTables,
};

use crate::fixture::{NODE_PORT, VIP};

/// Takes the ports out of every transport checksum's change, as if they were not translated.
pub fn forget_ports(tables: &mut HostTables) {
    let (vip, node) = (VIP.1.to_be_bytes(), NODE_PORT.to_be_bytes());
    for endpoint in sockets(tables) {
        endpoint.l4_delta -= if endpoint.kind == ENDPOINT_LISTENER {
            checksum::removed(&vip)
        } else {
            checksum::removed(&node) + checksum::added(&vip)
        };
    }
    for backend in tables.backends.values_mut() {
        backend.l4_delta -= checksum::added(&node);
    }
}

/// Listeners and nodes' sockets. The entries of addresses as such translate nothing.
pub fn sockets(tables: &mut HostTables) -> impl Iterator<Item = &mut Endpoint> {
    let endpoints = tables.ipv4.endpoints.values_mut();
    endpoints.filter(|endpoint| matches!(endpoint.kind, ENDPOINT_LISTENER | ENDPOINT_NODE))
}
