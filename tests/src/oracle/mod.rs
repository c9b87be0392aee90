//! A stranger's opinion on what leaves the relay.
//!
//! The oracle knows the world as an operator would describe it and the RFCs, and shares no code with
//! the product: it reads frames by the offsets of RFC 791 and RFC 9293, adds every checksum up anew over
//! all bytes, and works the client hash out by long multiplication. What it says is compared byte for
//! byte with what the product sends.
//!
//! A packet that came in with a wrong checksum must leave with one that is wrong by the same amount, so
//! that its receiver still sees the damage; see [`defect`].

mod account;
mod frame;
mod hash;
pub mod mistakes;
#[cfg(test)]
mod mutants;

pub use account::{claim, slots_of};
pub use frame::{Kind, defect};

use crate::fixture;

/// A neighbour: whom the frame goes to, from which of our addresses, by which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its link-layer address.
    pub to: [u8; 6],
    /// Ours.
    pub from: [u8; 6],
    /// Our interface.
    pub ifindex: u32,
}

/// The world, described.
#[derive(Clone, Debug)]
pub struct World {
    /// The shared address and port.
    pub vip: ([u8; 4], u16),
    /// Nodes 1, 2, ...: address, port and way.
    pub nodes: Vec<([u8; 4], u16, Neighbour)>,
    /// The way to clients, unless `special_client` says otherwise.
    pub clients: Neighbour,
    /// One client that has a way of its own.
    pub special_client: ([u8; 4], Neighbour),
    /// Key of the client hash.
    pub key: [u64; 2],
}

/// Who a packet was sent to, by the product's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The node of new connections in the client's slot.
    Now,
    /// The node of the slot's unrecorded connections.
    Unrecorded,
    /// The node that the connection is recorded on.
    Recorded(u16),
    /// The client.
    Client,
}

/// The nodes of a slot: of new and of unrecorded connections. 0 is none.
pub type SlotNodes = (u16, u16);

impl World {
    /// The world of [`crate::fixture`].
    pub fn of_fixture() -> Self {
        let neighbour = |hop: redirector_common::abi::NextHop| Neighbour {
            to: hop.destination,
            from: hop.source,
            ifindex: hop.ifindex,
        };
        Self {
            vip: fixture::VIP,
            nodes: fixture::NODES
                .iter()
                .map(|node| {
                    let way = neighbour(fixture::node_hop(node[3]));
                    (*node, fixture::NODE_PORT, way)
                })
                .collect(),
            clients: neighbour(fixture::client_hop()),
            special_client: (fixture::KERNEL_CLIENT, neighbour(fixture::KERNEL_HOP)),
            key: fixture::KEY,
        }
    }

    /// The slot of a client.
    pub fn slot_of(&self, client: [u8; 4]) -> usize {
        hash::slot_of(self.key, client)
    }

    /// The frame that must leave, and the interface, when `input` was sent according to `claim` and
    /// `slots` gives the nodes of a slot.
    ///
    /// # Errors
    ///
    /// Such a packet must not be sent at all, or not so; says why.
    pub fn sent(
        &self,
        input: &[u8],
        claim: Claim,
        slots: impl Fn(usize) -> SlotNodes,
    ) -> Result<(Vec<u8>, u32), String> {
        match (self.kind(input), claim) {
            (Kind::ToVip, Claim::Client)
            | (Kind::FromNode(_), Claim::Now | Claim::Unrecorded | Claim::Recorded(_)) => {
                Err(format!("sent in the wrong direction: {claim:?}"))
            }
            (Kind::ToVip, _) => {
                let slot = self.slot_of(frame::source(input));
                let (now, unrecorded) = slots(slot);
                let node = match claim {
                    Claim::Now | Claim::Client => now,
                    Claim::Unrecorded => unrecorded,
                    Claim::Recorded(node) => node,
                };
                let (address, port, way) = usize::from(node)
                    .checked_sub(1)
                    .and_then(|index| self.nodes.get(index))
                    .ok_or_else(|| {
                        format!("slot {slot} has no node for {claim:?}, yet it was sent")
                    })?;
                let output =
                    frame::readdressed(input, frame::Side::Destination, *address, *port, way);
                Ok((output, way.ifindex))
            }
            (Kind::FromNode(_), Claim::Client) => {
                let client = frame::destination(input);
                let way = if client == self.special_client.0 {
                    self.special_client.1
                } else {
                    self.clients
                };
                let (address, port) = self.vip;
                let output = frame::readdressed(input, frame::Side::Source, address, port, &way);
                Ok((output, way.ifindex))
            }
            (kind @ (Kind::ToNode | Kind::Foreign), _) => Err(format!("sent, but it is {kind:?}")),
        }
    }

    /// Compares what left with what must leave.
    ///
    /// # Errors
    ///
    /// Names the first byte that is wrong, and what it belongs to.
    pub fn judge(
        &self,
        input: &[u8],
        claim: Claim,
        slots: impl Fn(usize) -> SlotNodes,
        (output, ifindex): (&[u8], u32),
    ) -> Result<(), String> {
        let (expected, expected_ifindex) = self.sent(input, claim, slots)?;
        if expected.len() != output.len() {
            return Err(format!("{} bytes became {}", expected.len(), output.len()));
        }
        if let Some(at) = (0..output.len()).find(|at| output[*at] != expected[*at]) {
            return Err(format!(
                "byte {at} ({}) is {:02x} and should be {:02x}",
                frame::field(at),
                output[at],
                expected[at]
            ));
        }
        if ifindex != expected_ifindex {
            return Err(format!(
                "left by interface {ifindex}, not {expected_ifindex}"
            ));
        }
        Ok(())
    }
}
