//! Mistakes that an agent could make in the tables, to be caught by the oracle.

use redirector_common::{
    abi::{ENDPOINT_LISTENER, ENDPOINT_NODE},
    checksum,
    host::HostTables,
};

use crate::fixture::{NODE_PORT, VIP};

/// Takes the ports out of every transport checksum's change, as if they were not translated.
pub fn forget_ports(tables: &mut HostTables) {
    let (vip, node) = (VIP.1.to_be_bytes(), NODE_PORT.to_be_bytes());
    for endpoint in tables.ipv4.endpoints.values_mut() {
        endpoint.l4_delta -= match endpoint.kind {
            ENDPOINT_LISTENER => checksum::removed(&vip),
            ENDPOINT_NODE => checksum::removed(&node) + checksum::added(&vip),
            _ => 0,
        };
    }
    for backend in tables.backends.values_mut() {
        backend.l4_delta -= checksum::added(&node);
    }
}
