//! SYN → how long until its node's SYN-ACK.
//!
//! Some of all new connections are timed: those whose client, port and first sequence number, which the SYN-ACK
//! acknowledges, hash to it. Their SYNs are noted in a small array, each in the cell that the hash names, in place of
//! whatever was there; the answer counts only if it finds its own SYN. So packets of established connections cost
//! nothing, nothing has to be cleaned up, and a flood of SYNs washes away times, not connections.
//!
//! A SYN that comes again is timed from the first: what a node has lost, its client has waited for.

use crate::{
    abi::{ONE_IN, OPENINGS, Opening},
    address::Address,
    parse::Packet,
    tables::Tables,
};

/// The cell of a connection that is timed.
#[inline(always)]
fn cell<A: Address>(client: (A, [u8; 2]), number: u32) -> Option<u16> {
    const CHOICE: u32 = ONE_IN.trailing_zeros();
    const CELL: u32 = OPENINGS.trailing_zeros();
    let ends = u32::from(u16::from_ne_bytes(client.1)) << 16 | u32::from(client.0.low());
    // Fibonacci hashing: the top bits depend on all.
    let mixed = (number ^ ends).wrapping_mul(0x9e37_79b1);
    let is_timed = mixed >> (32 - CHOICE) == 0;
    is_timed.then_some((mixed >> (32 - CHOICE - CELL)) as u16)
}

/// Notes a SYN on its way to `backend`.
#[inline(always)]
pub fn asked<A: Address, T: Tables>(backend: u16, packet: &Packet<A>, tables: &T) {
    let client = (packet.source, packet.source_port);
    let Some(cell) = cell(client, packet.sequence) else {
        return;
    };
    let known = tables.opening(cell);
    let is_known = known.number == packet.sequence
        && known.port == packet.source_port
        && known.backend == backend
        && known.asked != 0;
    if !is_known {
        tables.note_opening(
            cell,
            Opening {
                asked: tables.now(),
                number: packet.sequence,
                port: packet.source_port,
                backend,
            },
        );
    }
}

/// Counts how long the SYN-ACK of `backend` has taken, if its SYN was noted.
#[inline(always)]
pub fn answered<A: Address, T: Tables>(backend: u16, packet: &Packet<A>, tables: &T) {
    let client = (packet.destination, packet.destination_port);
    let number = packet.acknowledgement.wrapping_sub(1);
    let Some(cell) = cell(client, number) else {
        return;
    };
    let known = tables.opening(cell);
    if known.asked != 0
        && known.number == number
        && known.port == packet.destination_port
        && known.backend == backend
    {
        // One that comes again is no answer to anything.
        tables.note_opening(cell, Opening::default());
        tables.count_answer(backend, tables.now().saturating_sub(known.asked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_sixteen_is_timed_and_the_cells_are_all_used() {
        let mut timed = 0;
        let mut cells = std::collections::BTreeSet::new();
        let (mut number, all) = (1_u32, 1_000_000);
        for _ in 0..all {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if let Some(cell) = cell(([10, 0, 0, 7], [0x9c, 0x40]), number) {
                timed += 1;
                cells.insert(cell);
            }
        }
        let share = f64::from(timed) / f64::from(all) * f64::from(ONE_IN);
        assert!((0.97..1.03).contains(&share), "{share}");
        assert_eq!(cells.len(), OPENINGS);
        assert!(cells.iter().all(|cell| usize::from(*cell) < OPENINGS));
    }
}
