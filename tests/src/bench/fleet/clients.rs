//! The addresses that clients of a large fleet may have.

use redirector_common::abi::{SLOTS, SlotTable};
use serde::{Deserialize, Serialize};

/// How clients' addresses lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addresses {
    /// One after the other, so that whole /16s are full: the customers of a provider.
    Dense,
    /// One in each /24: offices and carriers behind address translation.
    Gateways,
    /// Anywhere in unicast space.
    Random,
}

/// The first of the dense ones (RFC 6598).
const DENSE: u32 = 0x6440_0000;
/// The first gateway.
const GATEWAY: u32 = 0x0b00_0001;

impl Addresses {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dense, Self::Gateways, Self::Random];

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "consecutive addresses",
            Self::Gateways => "one of each /24",
            Self::Random => "random addresses",
        }
    }

    /// So many of them, each once; there are less than 2^24 gateways.
    pub fn of(self, count: u32) -> impl Iterator<Item = [u8; 4]> {
        let address = move |number: u32| match self {
            Self::Dense => DENSE.wrapping_add(number),
            Self::Gateways => GATEWAY.wrapping_add(number << 8),
            Self::Random => scatter(number),
        };
        let unicast = |address: &[u8; 4]| (1..224).contains(&address[0]) && address[0] != 127;
        (0..=u32::MAX)
            .map(move |number| address(number).to_be_bytes())
            .filter(unicast)
            .take(count as usize)
    }

    /// How many of so many clients are in each slot.
    pub fn by_slot(self, table: &SlotTable, count: u32) -> Vec<u32> {
        let mut clients = vec![0; SLOTS];
        for client in self.of(count) {
            clients[usize::from(table.slot_of(client))] += 1;
        }
        clients
    }
}

/// Another number for each number: every step can be undone.
fn scatter(number: u32) -> u32 {
    let x = number.wrapping_mul(0x9e37_79b1);
    let x = (x ^ (x >> 15)).wrapping_mul(0x85eb_ca6b);
    x ^ (x >> 13)
}
