//! The world, described.

use std::{net::IpAddr, ops::RangeInclusive};

use super::hash;

/// A neighbour: whom the frame goes to, from which of our addresses, by which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its link-layer address.
    pub to: [u8; 6],
    /// Ours.
    pub from: [u8; 6],
    /// Our interface.
    pub ifindex: u32,
    /// The longest IP packet that goes this way, bytes; 0: any.
    pub mtu: u16,
}

/// How packets get to the nodes of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They get the node's address, and its port.
    Nat,
    /// They get the node's address and keep the client's port.
    NatKeepsPort,
    /// They stay as they are, but for the link layer.
    Routed,
}

/// Where clients speak to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its number.
    pub number: u16,
    /// The VIP.
    pub address: IpAddr,
    /// The ports; all of them where every port is meant.
    pub ports: RangeInclusive<u16>,
    /// IP protocol number.
    pub protocol: u8,
    /// The redirect, whose slots decide.
    pub redirect: u16,
    /// How its nodes are reached.
    pub mode: Mode,
    /// Whether every connection is recorded.
    pub tracked: bool,
    /// Whether UDP associations go by way of the VIP.
    pub shared: bool,
    /// Whether the sender of a packet that no node takes is told so.
    pub refuses: bool,
}

/// A node as one redirect reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: u16,
    /// Its address.
    pub address: IpAddr,
    /// Its port, where ports are translated.
    pub port: u16,
    /// How to reach it.
    pub way: Neighbour,
}

/// Where a node speaks from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The node's number.
    pub node: u16,
    /// Its address.
    pub address: IpAddr,
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// IP protocol number.
    pub protocol: u8,
    /// The listener that answers are restored to; `None` where several share the socket.
    pub listener: Option<u16>,
    /// Whether clients may speak to it without the VIP.
    pub direct: bool,
}

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    /// All listeners.
    pub listeners: Vec<Listener>,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// Their sockets; routed nodes have none.
    pub sockets: Vec<Socket>,
    /// The way to clients, unless `special_clients` says otherwise.
    pub clients: Neighbour,
    /// Clients that have a way of their own, by the first bytes of their addresses.
    pub special_clients: Vec<(Vec<u8>, Neighbour)>,
    /// Key of the client hash, the same in all redirects.
    pub key: [u64; 2],
    /// Whether the program runs in the driver, so that it has to complete partial checksums itself.
    pub native: bool,
}

impl World {
    /// The slot of a client.
    pub fn slot_of(&self, client: impl Into<IpAddr>) -> usize {
        hash::slot_of(self.key, client.into())
    }

    /// The slots that are drawn for a connection of this client's socket which began with this number.
    pub fn drawn(&self, client: (IpAddr, u16), number: u32) -> (usize, usize) {
        hash::drawn(self.key, client, number)
    }

    /// The slot of a client by its address without the last bits.
    pub fn slot_of_prefix(&self, client: IpAddr, length: u32) -> usize {
        let first = match client {
            IpAddr::V4(client) => {
                let kept = u32::from(client) >> (32 - length) << (32 - length);
                IpAddr::from(kept.to_be_bytes())
            }
            IpAddr::V6(client) => {
                let kept = u128::from(client) >> (128 - length) << (128 - length);
                IpAddr::from(kept.to_be_bytes())
            }
        };
        hash::slot_of(self.key, first)
    }

    /// The node of this number.
    pub(super) fn node(&self, id: u16) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The listener of this number.
    pub(super) fn listener(&self, number: u16) -> Option<&Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.number == number)
    }

    /// The listener at a socket; one of a port of its own comes before one of every port.
    pub(super) fn listener_at(
        &self,
        address: IpAddr,
        port: u16,
        protocol: u8,
    ) -> Option<&Listener> {
        let all = || {
            self.listeners
                .iter()
                .filter(|listener| (listener.address, listener.protocol) == (address, protocol))
                .filter(|listener| listener.ports.contains(&port))
        };
        all().min_by_key(|listener| listener.ports.len())
    }

    /// The node's socket there.
    pub(super) fn socket_at(&self, address: IpAddr, port: u16, protocol: u8) -> Option<&Socket> {
        self.sockets.iter().find(|socket| {
            (socket.address, socket.protocol) == (address, protocol) && socket.ports.contains(&port)
        })
    }

    /// Whether a listener has this address.
    pub(super) fn is_vip(&self, address: IpAddr) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.address == address)
    }

    /// Whether the nodes behind a VIP hold it themselves.
    pub(super) fn is_routed(&self, address: IpAddr) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.address == address && listener.mode == Mode::Routed)
    }

    /// Whether a node that is spoken to by its own address has this one.
    pub(super) fn is_node(&self, address: IpAddr) -> bool {
        self.sockets.iter().any(|socket| socket.address == address)
    }

    /// The way to a client.
    pub(super) fn way_to(&self, client: IpAddr) -> &Neighbour {
        self.special_clients
            .iter()
            // A prefix longer than an IPv4 address is one in IPv6, a shorter one is not.
            .find(|(prefix, _)| {
                client.is_ipv6() == (prefix.len() > 4) && bytes_of(client).starts_with(prefix)
            })
            .map_or(&self.clients, |(_, way)| way)
    }
}

/// The bytes of an address.
pub fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
