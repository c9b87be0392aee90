//! Mistakes that an agent could make in the tables, to be caught by the oracle.

use std::net::IpAddr;

use redirector_common::{
    abi::{ENDPOINT_LISTENER, ENDPOINT_NODE},
    checksum,
    host::HostTables,
};

use crate::fixture::{NODE_PORT, NODES, VIP};

/// Takes the ports out of every transport checksum's change at [`VIP`] and its nodes, as if they were not
/// translated.
pub fn forget_ports(tables: &mut HostTables) {
    let (vip, node) = (VIP.1.to_be_bytes(), NODE_PORT.to_be_bytes());
    for (key, endpoint) in &mut tables.ipv4.endpoints {
        endpoint.l4_delta -= match endpoint.kind {
            ENDPOINT_LISTENER if (key.address, key.port) == (VIP.0, vip) => checksum::removed(&vip),
            ENDPOINT_NODE if NODES.contains(&key.address) && key.port == node => {
                checksum::removed(&node) + checksum::added(&vip)
            }
            _ => 0,
        };
    }
    for backend in tables.backends.values_mut() {
        if NODES
            .iter()
            .any(|address| backend.ip() == IpAddr::from(*address))
            && backend.port == node
        {
            backend.l4_delta -= checksum::added(&node);
        }
    }
}
