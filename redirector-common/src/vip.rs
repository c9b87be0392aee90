//! Who an answer comes from, as the client knows it.

use crate::{
    abi::{ENDPOINT_ANY_PORT, ENDPOINT_DIRECT, ENDPOINT_TRACKED, Endpoint, FLOW_REVERSE, Listener},
    address::Address,
    checksum,
    tables::FamilyTables,
    verdict::Verdict,
};

/// The VIP that an answer is restored to, and what that changes in checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vip<A> {
    /// Its address.
    pub address: A,
    /// Its port; `None` where ports are not translated.
    pub port: Option<[u8; 2]>,
    /// Index of the redirect's slot table.
    pub redirect: u16,
    /// Number of the listener.
    pub listener: u16,
    /// Delta of the IPv4 header's checksum, the decrement of the TTL included; 0 in IPv6.
    pub l3_delta: u32,
    /// Delta of the transport checksum.
    pub l4_delta: u32,
}

impl<A: Address> Vip<A> {
    /// The VIP that `client` spoke with when a packet comes `from` the socket of `node`.
    ///
    /// # Errors
    /// The client did not come by way of a VIP; the verdict with which the packet is left alone.
    #[inline(always)]
    pub fn of<T: FamilyTables<A>>(
        node: &Endpoint,
        from: (A, [u8; 2]),
        client: (A, [u8; 2]),
        tables: &T,
    ) -> Result<Self, Verdict> {
        if node.flags & ENDPOINT_TRACKED != 0 {
            let found = Self::tracked(node, from, client, tables);
            return found.ok_or(if node.flags & ENDPOINT_DIRECT == 0 {
                Verdict::PassNotOurs
            } else {
                Verdict::PassDirect
            });
        }
        Ok(Self {
            address: A::read(&node.address),
            port: (node.flags & ENDPOINT_ANY_PORT == 0).then_some(node.port),
            redirect: node.redirect,
            listener: node.listener,
            l3_delta: node.l3_delta,
            l4_delta: node.l4_delta,
        })
    }

    /// The listener's address alone, for a packet that comes from this address of a node.
    #[inline(always)]
    pub fn of_address(id: u16, listener: &Listener, node: A) -> Self {
        let address = A::read(&listener.address);
        let addresses = node.removed() + address.added();
        Self {
            address,
            port: None,
            redirect: listener.redirect,
            listener: id,
            l3_delta: A::l3_delta(addresses),
            l4_delta: addresses,
        }
    }

    /// The listener's socket, for a packet that comes `from` this socket of a node.
    #[inline(always)]
    pub fn of_listener(id: u16, listener: &Listener, from: (A, [u8; 2])) -> Self {
        let port = (listener.port != [0; 2]).then_some(listener.port);
        let ports = port.map_or(0, |port| {
            checksum::removed(&from.1) + checksum::added(&port)
        });
        let vip = Self::of_address(id, listener, from.0);
        Self {
            port,
            l4_delta: vip.l4_delta + ports,
            ..vip
        }
    }

    /// By the record that the client's way left.
    #[inline(always)]
    fn tracked<T: FamilyTables<A>>(
        node: &Endpoint,
        from: (A, [u8; 2]),
        client: (A, [u8; 2]),
        tables: &T,
    ) -> Option<Self> {
        let key = client.0.flow_key(client.1, FLOW_REVERSE | node.backend);
        let recorded = tables.visit_flow(&key, |flow| flow.backend);
        let id = recorded.or_else(|| tables.embryo(&key).map(|embryo| embryo.backend))?;
        let listener = tables.listener(id).filter(|listener| listener.is_set())?;
        Some(Self::of_listener(id, listener, from))
    }
}
