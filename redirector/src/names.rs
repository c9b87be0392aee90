//! What entries of the maps are named by, whichever their family.
//!
//! The maps have keys of two widths. Only [`crate::datapath`] sees them; everybody else has these names, and
//! only the border between the two converts.

use std::net::{IpAddr, SocketAddr};

use redirector_common::{
    abi::{
        ENDPOINT_IPV4, EndpointKey4, EndpointKey6, EndpointWords, FLOW_REVERSE, FlowKey4, FlowKey6,
        PINHOLE_IN_USE, PinholeKey4, PinholeKey6,
    },
    address::Address,
    hash,
};

/// Name of an endpoint: a transport socket, every port of an address, or the address as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 stands for every port.
    pub port: u16,
    /// IP protocol number; 0, with port 0, stands for the address as such.
    pub protocol: u8,
}

impl Place {
    /// An address, whatever the port and protocol.
    pub const fn address(address: IpAddr) -> Self {
        Self {
            address,
            port: 0,
            protocol: 0,
        }
    }

    /// The address with the port; the address alone where it stands for every port.
    pub fn socket(self) -> String {
        match self.port {
            0 => self.address.to_string(),
            port => SocketAddr::from((self.address, port)).to_string(),
        }
    }

    /// Its key in the table of endpoints.
    pub(crate) fn words(self) -> EndpointWords {
        let port = self.port.to_be_bytes();
        match self.address {
            IpAddr::V4(address) => {
                <[u8; 4]>::endpoint_words(&address.octets().endpoint_key(port, self.protocol))
            }
            IpAddr::V6(address) => {
                <[u8; 16]>::endpoint_words(&address.octets().endpoint_key(port, self.protocol))
            }
        }
    }
}

impl From<EndpointWords> for Place {
    fn from(words: EndpointWords) -> Self {
        let key: EndpointKey6 = bytemuck::cast(words);
        if bytemuck::bytes_of(&key).last() == Some(&ENDPOINT_IPV4) {
            let key: EndpointKey4 = bytemuck::cast(words[0]);
            key.into()
        } else {
            key.into()
        }
    }
}

impl From<EndpointKey4> for Place {
    fn from(key: EndpointKey4) -> Self {
        Self {
            address: key.address.into(),
            port: u16::from_be_bytes(key.port),
            protocol: key.protocol,
        }
    }
}

impl From<EndpointKey6> for Place {
    fn from(key: EndpointKey6) -> Self {
        Self {
            address: key.address.into(),
            port: u16::from_be_bytes(key.port),
            protocol: key.protocol,
        }
    }
}

/// Name of a recorded flow, or of the control connection of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowName {
    /// The client's address and port.
    pub client: SocketAddr,
    /// What it speaks with.
    pub with: With,
}

/// The other end of a recorded flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum With {
    /// A listener; the record names the backend.
    Listener(u16),
    /// A backend, in a reverse record; the record names the listener.
    Backend(u16),
}

impl FlowName {
    /// The listener that it is a flow of; 0 in a reverse record.
    pub fn listener(self) -> u16 {
        match self.with {
            With::Listener(listener) => listener,
            With::Backend(_) => 0,
        }
    }

    fn new(client: SocketAddr, listener: [u8; 2]) -> Self {
        let listener = u16::from_ne_bytes(listener);
        let with = if listener & FLOW_REVERSE == 0 {
            With::Listener(listener)
        } else {
            With::Backend(listener & !FLOW_REVERSE)
        };
        Self { client, with }
    }

    /// Its key in a map of the family whose addresses are `A`; `client` is its address.
    pub(crate) fn key<A: Address>(self, client: A) -> A::FlowKey {
        let with = match self.with {
            With::Listener(listener) => listener,
            With::Backend(backend) => backend | FLOW_REVERSE,
        };
        client.flow_key(self.client.port().to_be_bytes(), with)
    }
}

impl From<FlowKey4> for FlowName {
    fn from(key: FlowKey4) -> Self {
        Self::new(
            (key.client, u16::from_be_bytes(key.port)).into(),
            key.listener,
        )
    }
}

impl From<FlowKey6> for FlowName {
    fn from(key: FlowKey6) -> Self {
        Self::new(
            (key.client, u16::from_be_bytes(key.port)).into(),
            key.listener,
        )
    }
}

/// Name of a pinhole, or of the mark that somebody's pinhole has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinholeName {
    /// The client's address; the VIP's in a mark.
    pub address: IpAddr,
    /// BND.PORT.
    pub port: u16,
    /// Whether it is a mark.
    pub in_use: bool,
}

impl PinholeName {
    /// Its key in a map of the family whose addresses are `A`.
    pub(crate) fn key<A: Address>(self, address: A) -> A::PinholeKey {
        let mark = if self.in_use { PINHOLE_IN_USE } else { 0 };
        address.pinhole_key(self.port.to_be_bytes(), mark)
    }
}

impl From<PinholeKey4> for PinholeName {
    fn from(key: PinholeKey4) -> Self {
        Self {
            address: key.client.into(),
            port: u16::from_be_bytes(key.port),
            in_use: key.mark & PINHOLE_IN_USE != 0,
        }
    }
}

impl From<PinholeKey6> for PinholeName {
    fn from(key: PinholeKey6) -> Self {
        Self {
            address: key.client.into(),
            port: u16::from_be_bytes(key.port),
            in_use: key.mark & PINHOLE_IN_USE != 0,
        }
    }
}

/// The slot of a client of either family.
pub fn slot_of(key: [u64; 2], client: IpAddr) -> u16 {
    match client {
        IpAddr::V4(client) => hash::slot_of(key, client.octets()),
        IpAddr::V6(client) => hash::slot_of(key, client.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_from_its_key() {
        let addresses: [IpAddr; 2] = [[10, 0, 0, 1].into(), "2001:db8::1".parse().unwrap()];
        for address in addresses {
            let place = Place {
                address,
                port: 1080,
                protocol: 17,
            };
            let flows = [With::Listener(7), With::Backend(9)].map(|with| FlowName {
                client: (address, 40_000).into(),
                with,
            });
            let pinholes = [false, true].map(|in_use| PinholeName {
                address,
                port: 5000,
                in_use,
            });
            assert_eq!(Place::from(place.words()), place);
            match address {
                IpAddr::V4(address) => {
                    let address = address.octets();
                    assert_eq!(flows.map(|name| FlowName::from(name.key(address))), flows);
                    let read = pinholes.map(|name| PinholeName::from(name.key(address)));
                    assert_eq!(read, pinholes);
                }
                IpAddr::V6(address) => {
                    let address = address.octets();
                    assert_eq!(flows.map(|name| FlowName::from(name.key(address))), flows);
                    let read = pinholes.map(|name| PinholeName::from(name.key(address)));
                    assert_eq!(read, pinholes);
                }
            }
        }
    }
}
