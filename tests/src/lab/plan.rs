//! Who has which address. Nothing here touches the machine.
//!
//! ```text
//!  far clients            on-link clients
//!  198.51.100.16..          10.0.0.16..
//!        |                       |
//!     router 10.0.0.254 ----- (clients) ----- relay ------ (nodes) ---+--- node 0 10.0.1.2  192.0.2.2 ---+
//!                                        10.0.0.1  10.0.1.1           +--- node 1 10.0.1.3  192.0.2.3 ---+
//!                                       IP-SHARED                                                    (outside)
//!                                                                                                        |
//!                                                                                              target 192.0.2.80
//! ```
//!
//! With one arm `(clients)` and `(nodes)` are the same network, and both addresses of the relay are on
//! its one interface. The nodes' default route is the relay.

use std::net::{Ipv4Addr, SocketAddrV4};

/// IP-SHARED: the address of the relay that the clients know.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The relay as the nodes see it: their default route and the source of health checks.
pub const RELAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The router before the far clients, and the relay's default route.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// The router as the far clients see it.
pub const ROUTER_FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// IP-TARGET: what the clients want to reach through SOCKS.
pub const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// The port of SOCKS, on the relay and on the nodes.
pub const SOCKS_PORT: u16 = 1080;
/// The target's HTTP server.
pub const HTTP: SocketAddrV4 = SocketAddrV4::new(TARGET, 80);
/// The target's server that tells who is connected, then echoes.
pub const ECHO: SocketAddrV4 = SocketAddrV4::new(TARGET, 7);
/// IP-SHARED with its port.
pub const SHARED: SocketAddrV4 = SocketAddrV4::new(VIP, SOCKS_PORT);
/// The most nodes that have an address.
pub const MAX_NODES: usize = 60;
/// The most clients on either side of the router.
pub const MAX_CLIENTS: usize = 200;
/// Sources of floods: routed to the router, which drops what is sent to them.
pub const FLOOD_SOURCES: &str = "198.18.0.0/15";

/// How the relay is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// A client-side and a node-side interface, as in Dante's figure.
    TwoArmed,
    /// Clients and nodes behind the same interface.
    OneArmed,
}

impl Topology {
    /// Both.
    pub const ALL: [Self; 2] = [Self::TwoArmed, Self::OneArmed];

    /// The relay's interfaces; the first is the clients' side.
    pub fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::TwoArmed => &["clients", "nodes"],
            Self::OneArmed => &["lan"],
        }
    }

    /// The relay's interface towards the nodes.
    pub fn node_side(self) -> &'static str {
        match self {
            Self::TwoArmed => "nodes",
            Self::OneArmed => "lan",
        }
    }
}

/// IP-DANTE of the node with this number.
pub fn node_inside(node: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(10, 0, 1, 0), 2 + node)
}

/// IP-DANTEEXT of the node with this number.
pub fn node_outside(node: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(192, 0, 2, 0), 2 + node)
}

/// The node whose IP-DANTEEXT this is.
pub fn node_of_outside(address: Ipv4Addr) -> Option<usize> {
    (0..MAX_NODES).find(|node| node_outside(*node) == address)
}

/// The client with this number on the relay's own network.
pub fn on_link_client(client: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(10, 0, 0, 0), 16 + client)
}

/// The client with this number behind the router.
pub fn far_client(client: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(198, 51, 100, 0), 16 + client)
}

fn host(network: Ipv4Addr, number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    Ipv4Addr::from_bits(network.to_bits().saturating_add(number))
}

/// A locally administered MAC address made of an IPv4 address: a host that comes back has its old one.
pub fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let mut all: Vec<_> = (0..MAX_NODES)
            .flat_map(|node| [node_inside(node), node_outside(node)])
            .collect();
        all.extend(
            (0..MAX_CLIENTS).flat_map(|client| [on_link_client(client), far_client(client)]),
        );
        all.extend([VIP, RELAY_INSIDE, ROUTER, ROUTER_FAR, TARGET]);
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_node_is_known_by_its_outside_address_and_the_target_is_none() {
        assert_eq!(node_of_outside(node_outside(3)), Some(3));
        assert_eq!(node_of_outside(TARGET), None);
    }
}
