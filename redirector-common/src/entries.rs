//! Entries of the maps, made from addresses and ports, with the checksum deltas that go with them.

use core::net::IpAddr;

use crate::{
    abi::{
        BACKEND_IPV6, BACKEND_NEXT_HOP, Backend, ENDPOINT_ANY_PORT, ENDPOINT_LISTENER,
        ENDPOINT_NODE, ENDPOINT_NODE_ADDRESS, ENDPOINT_TRACKED, ENDPOINT_VIP, Endpoint, Listener,
        NextHop,
    },
    address::{Address as _, stored},
    checksum,
    wire::Ethernet,
};

/// What a half of a rewrite adds to the two checksums.
struct Half {
    l3: u32,
    l4: u32,
}

fn removed(address: IpAddr, port: u16) -> Half {
    let port = if port == 0 {
        0
    } else {
        checksum::removed(&port.to_be_bytes())
    };
    match address {
        IpAddr::V4(address) => Half {
            l3: address.octets().removed(),
            l4: address.octets().removed() + port,
        },
        IpAddr::V6(address) => Half {
            l3: 0,
            l4: address.octets().removed() + port,
        },
    }
}

fn added(address: IpAddr, port: u16) -> Half {
    let port = checksum::added(&port.to_be_bytes());
    match address {
        IpAddr::V4(address) => Half {
            l3: address.octets().added(),
            l4: address.octets().added() + port,
        },
        IpAddr::V6(address) => Half {
            l3: 0,
            l4: address.octets().added() + port,
        },
    }
}

const fn ttl(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => checksum::TTL_DECREMENT,
        IpAddr::V6(_) => 0,
    }
}

impl Endpoint {
    /// The entry for packets to `address:port` of a redirect's listener. Ports are not translated where `flags`
    /// has [`ENDPOINT_ANY_PORT`].
    pub fn listener(address: IpAddr, port: u16, redirect: u16, listener: u16, flags: u16) -> Self {
        let port = if flags & ENDPOINT_ANY_PORT == 0 {
            port
        } else {
            0
        };
        let half = removed(address, port);
        Self {
            kind: ENDPOINT_LISTENER,
            flags,
            redirect,
            listener,
            l3_delta: half.l3 + ttl(address),
            l4_delta: half.l4,
            ..Self::default()
        }
    }

    /// The entry for packets from `backend`, to be restored to the VIP `address:port` of a listener. With
    /// [`ENDPOINT_TRACKED`] the deltas hold only the half that takes the node away.
    pub fn node(
        backend: &Backend,
        id: u16,
        address: IpAddr,
        port: u16,
        redirect: u16,
        listener: u16,
        flags: u16,
    ) -> Self {
        let node = backend.ip();
        let node_port = u16::from_be_bytes(backend.port);
        let port = if flags & ENDPOINT_ANY_PORT == 0 {
            port
        } else {
            0
        };
        let gone = removed(node, if port == 0 { 0 } else { node_port });
        let come = if flags & ENDPOINT_TRACKED == 0 {
            added(address, port)
        } else {
            Half { l3: 0, l4: 0 }
        };
        Self {
            kind: ENDPOINT_NODE,
            flags,
            redirect,
            listener,
            backend: id,
            address: stored(address),
            port: port.to_be_bytes(),
            l3_delta: gone.l3 + come.l3 + ttl(node),
            l4_delta: gone.l4 + come.l4,
        }
    }

    /// The entry for a VIP as such.
    pub fn vip(redirect: u16, listener: u16, flags: u16) -> Self {
        Self {
            kind: ENDPOINT_VIP,
            flags,
            redirect,
            listener,
            ..Self::default()
        }
    }

    /// The entry for a node's address as such.
    pub fn node_address(flags: u16) -> Self {
        Self {
            kind: ENDPOINT_NODE_ADDRESS,
            flags,
            ..Self::default()
        }
    }
}

impl Listener {
    /// The entry for a listener at `address:port`; port 0 stands for every port.
    pub fn new(address: IpAddr, port: u16, protocol: u8, redirect: u16, flags: u16) -> Self {
        Self {
            address: stored(address),
            port: port.to_be_bytes(),
            redirect,
            flags,
            protocol,
            family: if address.is_ipv6() { 6 } else { 4 },
        }
    }
}

impl Backend {
    /// The entry for a node at `address:port`, without a next hop; port 0 where ports are not translated.
    pub fn new(address: IpAddr, port: u16) -> Self {
        let half = added(address, port);
        Self {
            address: stored(address),
            port: port.to_be_bytes(),
            flags: if address.is_ipv6() { BACKEND_IPV6 } else { 0 },
            l3_delta: half.l3,
            l4_delta: half.l4,
            ..Self::default()
        }
    }

    /// The node's address.
    pub fn ip(&self) -> IpAddr {
        if self.flags & BACKEND_IPV6 == 0 {
            <[u8; 4]>::read(&self.address).into()
        } else {
            self.address.into()
        }
    }

    /// Whether there is a node in this entry. A kernel map has an entry at every index, zeroed where
    /// none was written.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.address != [0; 16]
    }

    /// The same entry, reached by way of `hop`.
    #[must_use]
    pub fn via(self, hop: NextHop) -> Self {
        Self {
            hop,
            flags: self.flags | BACKEND_NEXT_HOP,
            ..self
        }
    }
}

impl NextHop {
    /// The way back to whoever sent a frame, by the interface that it came in by; its MTU is not known.
    ///
    /// Made of whole words: pieces of six bytes would be copied byte by byte, at places on the stack that the verifier
    /// does not accept.
    #[inline(always)]
    pub fn back(from: &Ethernet, ifindex: u32) -> Self {
        let words: &[[u8; 2]; 7] = bytemuck::cast_ref(from);
        let pair = |first: usize, second: usize| {
            let [[a, b], [c, d]] = [words[first], words[second]];
            u32::from_ne_bytes([a, b, c, d])
        };
        bytemuck::cast([pair(3, 4), pair(5, 0), pair(1, 2), ifindex, 0, 0])
    }

    /// A next hop from what the kernel says of it; its MTU is not known.
    #[inline(always)]
    pub fn new(destination: [u8; 6], source: [u8; 6], ifindex: u32) -> Self {
        let from = Ethernet {
            destination: source,
            source: destination,
            ..Ethernet::default()
        };
        Self::back(&from, ifindex)
    }
}
