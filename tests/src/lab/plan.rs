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
//!
//! What some labs have besides:
//! - nodes that answer clients directly: IP-SHARED on the loopback of each node, and for its way back an address
//!   from 10.0.0.2 on in the clients' network, with two arms on an interface `clients` of its own;
//! - a smaller MTU towards the nodes: a router 10.0.1.254 between `(nodes)` and the nodes, see `gate.rs`.
//!
//! Every host has an IPv6 address beside each IPv4 address, with the same number in its network:
//!
//! | network | IPv4 | IPv6 |
//! |---|---|---|
//! | clients | `10.0.0.0/24` | `2001:db8::/64` |
//! | nodes | `10.0.1.0/24` | `2001:db8:1::/64` |
//! | far clients | `198.51.100.0/24` | `2001:db8:f::/64` |
//! | outside | `192.0.2.0/24` | `2001:db8:c000::/64` |
//!
//! So IP-SHARED is `2001:db8::1` too, node 0 is `2001:db8:1::2` and the target `2001:db8:c000::50`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// IP-SHARED: the address of the relay that the clients know.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The relay as the nodes see it: their default route and the source of health checks.
pub const RELAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The router before the far clients, and the relay's default route.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// The router before the nodes, in the labs that have one.
pub const GATE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 254);
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
/// The target's server that tells who sent a datagram; [`ECHO`] echoes datagrams too.
pub const WHO: SocketAddrV4 = SocketAddrV4::new(TARGET, 113);
/// IP-SHARED with its port.
pub const SHARED: SocketAddrV4 = SocketAddrV4::new(VIP, SOCKS_PORT);
/// [`VIP`] in IPv6.
pub const VIP6: Ipv6Addr = twin(VIP);
/// [`SHARED`] in IPv6.
pub const SHARED6: SocketAddrV6 = SocketAddrV6::new(VIP6, SOCKS_PORT, 0, 0);
/// The most nodes that have an address.
pub const MAX_NODES: usize = 60;
/// The most nodes that have an address in the clients' network as well.
pub const MAX_DIRECT_NODES: usize = 14;
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

/// The two families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: impl Into<IpAddr>) -> Self {
        match address.into() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// What a host with this IPv4 address has in this family.
    pub fn address(self, of: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => of.into(),
            Self::V6 => twin(of).into(),
        }
    }

    /// What a host with this IPv4 address listens on in this family.
    pub fn endpoint(self, of: SocketAddrV4) -> SocketAddr {
        SocketAddr::new(self.address(*of.ip()), of.port())
    }

    /// How many bits the lab's networks have.
    pub fn prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// How many bits one address has.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// What `ip address add` is told so that an address can be bound at once: IPv6 first asks whether somebody else has it
    /// (RFC 4862, section 5.4), on the loopback interface only in form, but later as well.
    pub(super) fn usable_at_once(self) -> &'static str {
        match self {
            Self::V4 => "",
            Self::V6 => "nodad",
        }
    }
}

/// The addresses of a host in both families.
pub fn both(address: Ipv4Addr) -> [IpAddr; 2] {
    Family::ALL.map(|family| family.address(address))
}

/// The network of the lab that an address is in, as `ip` wants it.
pub fn network_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => format!("{}/24", Ipv4Addr::from_bits(ip.to_bits() & !0xff)),
        IpAddr::V6(ip) => {
            let network = Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX));
            format!("{network}/64")
        }
    }
}

/// The IPv6 address of the host that has this IPv4 address; of strangers, one in a network that is nowhere.
pub const fn twin(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    let network = match [a, b, c] {
        [10, 0, 0] => 0,
        [10, 0, 1] => 1,
        [198, 51, 100] => 0xf,
        [192, 0, 2] => 0xc000,
        _ => 0xffff,
    };
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, d as u16)
}

/// IP-DANTE of the node with this number.
pub fn node_inside(node: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(10, 0, 1, 0), 2 + node)
}

/// The address in the clients' network of the node with this number, if nodes answer clients directly.
pub fn node_beside_clients(node: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(10, 0, 0, 0), 2 + node)
}

/// IP-DANTEEXT of the node with this number.
pub fn node_outside(node: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(192, 0, 2, 0), 2 + node)
}

/// Where the SOCKS server of the node with this number listens.
pub fn node_socks(node: usize, family: Family) -> SocketAddr {
    SocketAddr::new(family.address(node_inside(node)), SOCKS_PORT)
}

/// The node whose IP-DANTEEXT this is, in either family.
pub fn node_of_outside(address: impl Into<IpAddr>) -> Option<usize> {
    let address = address.into();
    (0..MAX_NODES).find(|node| both(node_outside(*node)).contains(&address))
}

/// The client with this number on the relay's own network.
pub fn on_link_client(client: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(10, 0, 0, 0), 16 + client)
}

/// The client with this number behind the router.
pub fn far_client(client: usize) -> Ipv4Addr {
    host(Ipv4Addr::new(198, 51, 100, 0), 16 + client)
}

/// Whether this is an address of the relay's own network on the clients' side.
pub fn is_on_link(client: impl Into<IpAddr>) -> bool {
    match client.into() {
        IpAddr::V4(client) => client.octets()[..3] == VIP.octets()[..3],
        IpAddr::V6(client) => client.octets()[..8] == VIP6.octets()[..8],
    }
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

    fn everyone() -> Vec<Ipv4Addr> {
        let mut all: Vec<_> = (0..MAX_NODES)
            .flat_map(|node| [node_inside(node), node_outside(node)])
            .collect();
        all.extend(
            (0..MAX_CLIENTS).flat_map(|client| [on_link_client(client), far_client(client)]),
        );
        all.extend((0..MAX_DIRECT_NODES).map(node_beside_clients));
        all.extend([VIP, RELAY_INSIDE, ROUTER, GATE, ROUTER_FAR, TARGET]);
        all
    }

    #[test]
    fn no_address_is_given_twice() {
        let mut all: Vec<_> = everyone().into_iter().flat_map(both).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn every_host_has_its_second_address_in_a_network_of_the_lab() {
        let nowhere = twin(Ipv4Addr::new(203, 0, 113, 1)).segments()[2];
        assert!(
            everyone()
                .into_iter()
                .all(|address| twin(address).segments()[2] != nowhere)
        );
    }

    #[test]
    fn a_node_is_known_by_its_outside_addresses_and_the_target_is_none() {
        assert_eq!(node_of_outside(node_outside(3)), Some(3));
        assert_eq!(node_of_outside(twin(node_outside(3))), Some(3));
        assert_eq!(node_of_outside(TARGET), None);
        assert_eq!(node_of_outside(twin(TARGET)), None);
    }

    #[test]
    fn the_network_of_an_address_has_the_bits_of_its_family() {
        assert_eq!(network_of(ROUTER_FAR.into()), "198.51.100.0/24");
        assert_eq!(network_of(twin(ROUTER_FAR).into()), "2001:db8:f::/64");
    }

    #[test]
    fn near_and_far_clients_are_told_apart_in_both_families() {
        for family in Family::ALL {
            assert!(is_on_link(family.address(on_link_client(3))));
            assert!(!is_on_link(family.address(far_client(3))));
        }
    }
}
