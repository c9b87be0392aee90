//! By what two relays compare their tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::SocketAddr,
};

use redirector_common::abi::{SLOTS, SlotTable};
use sha2::{Digest as _, Sha256};

use super::Relay;
use crate::config::HostName;

/// What a slot belongs to, as two relays can compare it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableOwner {
    /// A node that the configuration has an address of: its socket.
    Socket(SocketAddr),
    /// A node that it has the name of, and the port: where that is may differ for a while between two relays that ask at
    /// different times.
    Name(HostName, u16),
}

impl fmt::Display for TableOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => socket.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// What the backends of a relay are to the digest.
pub struct TableOwners<'a> {
    relay: &'a Relay,
    named: HashMap<SocketAddr, &'a HostName>,
}

impl TableOwners<'_> {
    /// Of one backend.
    pub fn of(&self, id: u16) -> Option<TableOwner> {
        let socket = self.relay.backends().get(id)?.address;
        Some(match self.named.get(&socket) {
            Some(name) => TableOwner::Name((*name).clone(), socket.port()),
            None => TableOwner::Socket(socket),
        })
    }
}

impl Relay {
    /// What its backends are to [`digest`].
    pub fn table_owners(&self) -> TableOwners<'_> {
        let mut nodes = self.config().pools.iter().flat_map(|pool| &pool.nodes);
        let mut named = HashMap::new();
        // Mostly there are none, and very many members.
        if nodes.any(|node| node.lasting_name().is_some()) {
            for member in self.members() {
                let name = member.node.lasting_name();
                named.extend(name.map(|name| (member.socket(), name)));
            }
        }
        TableOwners { relay: self, named }
    }
}

/// Numbers that a slot may name.
const BACKENDS: usize = 1 << 16;

/// Digest of a table: the same on two relays exactly when both choose nodes for new connections in the same way, and
/// by `source-hash` that is the same node for every client. It depends on the mode, on the key of the client hash and
/// the bits that it ignores, since they pick the slot, and on the nodes' sockets or names, not on the numbers that the relays
/// have given them, nor on where older connections live. 16 hexadecimal digits, the first of SHA-256 (FIPS 180-4).
pub fn digest(table: &SlotTable, owner: impl Fn(u16) -> Option<TableOwner>) -> String {
    let mut owning = vec![false; BACKENDS];
    for slot in &table.slots {
        owning[usize::from(slot.now)] = true;
    }
    let owning = (0..=u16::MAX).zip(owning).filter(|(_, owns)| *owns);
    let owner_of: Vec<(u16, Option<TableOwner>)> = owning.map(|(id, _)| (id, owner(id))).collect();
    let owners: BTreeSet<&Option<TableOwner>> = owner_of.iter().map(|(_, owner)| owner).collect();
    let mut hash = Sha256::new();
    hash.update(table.key[0].to_le_bytes());
    hash.update(table.key[1].to_le_bytes());
    hash.update(table.mode.to_le_bytes());
    hash.update(table.ignored[0].to_le_bytes());
    hash.update(table.ignored[1].to_le_bytes());
    for owner in &owners {
        let name = owner.as_ref().map_or_else(String::new, ToString::to_string);
        hash.update(name);
        hash.update([0]);
    }
    let rank_of: BTreeMap<_, u16> = owners.into_iter().zip(0..).collect();
    let mut ranks = vec![[0; 2]; BACKENDS];
    for (id, owner) in &owner_of {
        ranks[usize::from(*id)] = rank_of[owner].to_le_bytes();
    }
    // Every slot goes through here at every change of a table, so nothing is searched for.
    let mut places = vec![[0; 2]; SLOTS];
    for (place, slot) in places.iter_mut().zip(&table.slots) {
        *place = ranks[usize::from(slot.now)];
    }
    hash.update(places.as_flattened());
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use redirector_common::abi::{MODE_RANDOM, Slot};

    use super::*;

    fn table(owner: impl Fn(usize) -> u16) -> Box<SlotTable> {
        let mut table: Box<SlotTable> = bytemuck::zeroed_box();
        table.key = [1, 2];
        for (index, slot) in table.slots.iter_mut().enumerate() {
            *slot = Slot::settled_on(owner(index));
        }
        table
    }

    fn of(table: &SlotTable, first: u16) -> String {
        digest(table, |id| {
            let node = u8::try_from(id.checked_sub(first)?).ok()?;
            Some(TableOwner::Socket(([10, 0, 1, node], 1080).into()))
        })
    }

    fn parity(index: usize) -> u16 {
        u16::from(index % 2 == 1)
    }

    #[test]
    fn relays_that_number_their_nodes_differently_have_the_same_digest() {
        let one = table(|index| 1 + parity(index));
        let other = table(|index| 7 + parity(index));
        assert_eq!(of(&one, 1), of(&other, 7));
        assert_eq!(of(&one, 1).len(), 16);
    }

    #[test]
    fn digests_are_those_of_every_release() {
        // Computed by a program that shares no code with this one: relays of two releases must agree.
        let mut table = table(|index| 1 + parity(index));
        assert_eq!(of(&table, 1), "4a165f1be84cc843");
        table.slots[77] = Slot::default();
        assert_eq!(of(&table, 1), "a4a5b1218219a547");
    }

    #[test]
    fn one_slot_the_key_the_prefix_the_mode_a_node_or_none_at_all_make_another_digest() {
        let plain = table(|index| 1 + parity(index));
        let mut slot = table(|index| 1 + parity(index));
        slot.slots[77] = Slot::settled_on(1);
        let mut key = table(|index| 1 + parity(index));
        key.key = [1, 3];
        let mut mode = table(|index| 1 + parity(index));
        mode.mode = MODE_RANDOM;
        let mut prefix = table(|index| 1 + parity(index));
        prefix.ignored = [0xff, 0];
        let swapped = table(|index| 2 - parity(index));
        let mut none = table(|index| 1 + parity(index));
        none.slots[77] = Slot::default();
        let mut all = vec![of(&plain, 1), of(&plain, 0)];
        all.extend(
            [slot, key, mode, prefix, swapped, none]
                .iter()
                .map(|table| of(table, 1)),
        );
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }

    #[test]
    fn where_older_connections_live_makes_no_difference() {
        let settled = table(|_| 2);
        let mut split = table(|_| 1);
        for slot in &mut split.slots {
            *slot = slot.retarget(2);
        }
        assert_eq!(of(&settled, 1), of(&split, 1));
    }
}
