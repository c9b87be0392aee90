//! Who speaks with whom.

use std::{net::IpAddr, ops::RangeInclusive};

use crate::fixture::{
    self, KERNEL_CLIENT, KERNEL_LOCAL, LOST_CLIENT6, LOST_NETWORK, NARROW_CLIENT, NEIGHBOUR6,
    NODE_PORT, RELAY, RELAY6, Redirect,
};
use crate::oracle::Mode;

/// What a client and the nodes have said to each other.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) client: IpAddr,
    pub(super) port: u16,
    pub(super) redirect: &'static Redirect,
    /// IP protocol number of the listener.
    pub(super) protocol: u8,
    /// The port of the VIP.
    pub(super) vip_port: u16,
    /// Index of the node that was sent the client's latest packet.
    pub(super) node: u8,
    /// Sequence number of the latest SYN-ACK.
    pub(super) node_sequence: u32,
    /// How far a SOCKS dialogue has come.
    pub(super) dialogue: usize,
    /// The step of the history at which it began.
    pub(super) began: u64,
    /// Sequence number of its SYN and SYN-ACK.
    pub(super) first: u32,
}

impl Conversation {
    /// The address of a node, by its index.
    pub(super) fn node_address(&self, index: u8) -> IpAddr {
        let mut nodes = self.redirect.nodes();
        nodes.nth(usize::from(index)).expect("five nodes").1
    }

    /// The port that a node speaks from.
    pub(super) fn node_port(&self) -> u16 {
        match self.redirect.mode {
            Mode::Nat => self.redirect.node_port,
            Mode::NatKeepsPort | Mode::Routed => self.vip_port,
        }
    }

    /// Whether a SOCKS dialogue is under way, which does not take long.
    pub(super) const fn is_negotiating(&self) -> bool {
        matches!(self.dialogue, 1..=7)
    }

    /// A packet of it went there.
    pub(super) fn sent_to(&mut self, destination: IpAddr) {
        let mut nodes = (0..).zip(self.redirect.nodes());
        if let Some((index, _)) = nodes.find(|(_, (_, address))| *address == destination) {
            self.node = index;
        }
    }
}

/// The clients of a redirect: for the first redirect three of every kind of slot with a few ports each, for others
/// one of every kind with two, and some special ones.
fn clients(redirect: &Redirect) -> (Vec<IpAddr>, &'static [u16]) {
    let of_each = if redirect.number == 0 { 3 } else { 1 };
    let (mut clients, special): (Vec<IpAddr>, Vec<IpAddr>) = if redirect.vip.is_ipv4() {
        let [a, b, c] = LOST_NETWORK;
        (
            (0..8)
                .flat_map(|kind| fixture::clients_of(kind).take(of_each))
                .map(IpAddr::from)
                .collect(),
            [
                RELAY,
                KERNEL_CLIENT,
                KERNEL_LOCAL,
                NARROW_CLIENT,
                [a, b, c, 7],
            ]
            .map(IpAddr::from)
            .to_vec(),
        )
    } else {
        (
            (0..8)
                .flat_map(|kind| fixture::clients6_of(kind).take(of_each))
                .map(IpAddr::from)
                .collect(),
            [RELAY6, NEIGHBOUR6, LOST_CLIENT6]
                .map(IpAddr::from)
                .to_vec(),
        )
    };
    clients.extend(special);
    if redirect.number == 0 {
        (clients, &[40_000, 40_001, 40_002, 65_535, NODE_PORT])
    } else {
        (clients, &[40_000, 40_001])
    }
}

/// A port of a listener: the only one, or one among several.
fn port_of(ports: &RangeInclusive<u16>, client_port: u16) -> u16 {
    let span = ports.end() - ports.start();
    ports.start() + if span == 0 { 0 } else { client_port % span }
}

/// All conversations of a redirect.
pub(super) fn all_of(redirect: &'static Redirect) -> Vec<Conversation> {
    let (clients, ports) = clients(redirect);
    let mut all = Vec::new();
    for (_, protocol, vip_ports) in redirect.listeners {
        for client in &clients {
            for port in ports {
                all.push(Conversation {
                    client: *client,
                    port: *port,
                    redirect,
                    protocol: *protocol,
                    vip_port: port_of(vip_ports, *port),
                    node: 0,
                    node_sequence: 0,
                    dialogue: 0,
                    began: 0,
                    first: 0,
                });
            }
        }
    }
    all
}
