//! New connection → backend, by the mode of its redirect.
//!
//! A connection that was not chosen by its client's slot is found again only by its record. So wherever that is the
//! mode, every slot is split: the node's answer records each connection, see [`crate::learn`].

use crate::{
    abi::{MODE_LEAST_STATES, MODE_RANDOM, MODE_ROUND_ROBIN, Slot, SlotTable},
    address::Address,
    parse::Packet,
    tables::Tables,
};

/// The backend of a connection that begins with this SYN; `slot` is its client's.
#[inline(always)]
pub(crate) fn choose<A: Address, T: Tables>(
    slot: Slot,
    table: &SlotTable,
    packet: &Packet<A>,
    redirect: u16,
    tables: &T,
) -> u16 {
    let client = (packet.source, packet.source_port);
    match table.mode {
        MODE_RANDOM => drawn(table, client, packet.sequence),
        MODE_ROUND_ROBIN => table.slots[usize::from(tables.turn(redirect))].now,
        MODE_LEAST_STATES => {
            let backend = lesser(table, client, packet.sequence, tables);
            tables.add_load(backend);
            backend
        }
        _ => slot.now,
    }
}

/// The backend of the slot that is drawn for a connection.
#[inline(always)]
pub(crate) fn drawn<A: Address>(table: &SlotTable, client: (A, [u8; 2]), number: u32) -> u16 {
    table.slots[usize::from(table.draw(client, number).0)].now
}

/// The less loaded of two backends that are drawn.
///
/// Two choices are as good as looking at all: with n nodes the fullest exceeds the mean by about log log n, where one
/// choice makes it log n / log log n (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS
/// 2001). And they need no table that is made anew whenever a connection begins, nor do they send all newcomers to the
/// one node that was found empty some seconds ago.
#[inline(always)]
fn lesser<A: Address, T: Tables>(
    table: &SlotTable,
    client: (A, [u8; 2]),
    number: u32,
    tables: &T,
) -> u16 {
    let (one, other) = table.draw(client, number);
    let one = table.slots[usize::from(one)].now;
    let other = table.slots[usize::from(other)].now;
    if tables.load(other) < tables.load(one) {
        other
    } else {
        one
    }
}
