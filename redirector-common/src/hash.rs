//! The keyed hash that maps a client to its slot.
//!
//! What it must do: spread any set of client addresses evenly over the slots, agree between two relays
//! with the same key, and be impossible to compute without the key, so that nobody can pick addresses
//! beforehand that all fall on one node. It need not resist somebody who owns the addresses anyway: he
//! learns each one's node by connecting from it, whatever the hash.
//!
//! So two rounds of multiply and xor-shift (as in the finaliser of `SplitMix64`, Steele et al., OOPSLA 2014),
//! a word of the key going in before each, are enough; `SipHash`, measured, would be a third of the whole
//! packet's budget, for BPF has no rotate instruction.

use crate::{
    abi::{SLOTS, SlotTable},
    address::Address,
};

/// The slot of a client by its whole address.
#[inline(always)]
pub fn slot_of<A: Address>(key: [u64; 2], client: A) -> u16 {
    slot_of_prefix(key, [0; 2], client)
}

/// The slot of a client by its address without the `ignored` bits: the top 16 bits of the hash, no modulo.
#[inline(always)]
pub fn slot_of_prefix<A: Address>(key: [u64; 2], ignored: [u64; 2], client: A) -> u16 {
    const { assert!(SLOTS == 1 << 16) };
    (two_rounds(key, client.hashed(key, ignored)) >> 48) as u16
}

impl SlotTable {
    /// The slot of a client.
    #[inline(always)]
    pub fn slot_of<A: Address>(&self, client: A) -> u16 {
        slot_of_prefix(self.key, self.ignored, client)
    }

    /// Two slots for a connection, equally likely to be any: the same for every packet that tells the same `client` and
    /// `number`, which in TCP is the sequence number that the connection began with.
    ///
    /// So no random number is drawn, a SYN that comes again goes where it went, and a handshake whose note was washed
    /// away by a flood still ends where it began. Who knows the key could choose a port for a node; who does not can't.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the 16 bits that are meant"
    )]
    pub fn draw<A: Address>(&self, client: (A, [u8; 2]), number: u32) -> (u16, u16) {
        let of_client = mix(self.key, client.0.hashed(self.key, [0; 2]));
        let port = u64::from(u16::from_be_bytes(client.1));
        let drawn = mix(self.key, of_client ^ (port << 32 | u64::from(number)));
        ((drawn >> 48) as u16, (drawn >> 32) as u16)
    }
}

/// A pseudo-random function of `value`, all bits of the result alike; equal on every machine.
#[inline(always)]
pub fn mix(key: [u64; 2], value: u64) -> u64 {
    let x = two_rounds(key, value);
    let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

/// Good in its top bits: a product's top bits depend on every bit below them.
#[inline(always)]
pub(crate) fn two_rounds(key: [u64; 2], value: u64) -> u64 {
    let x = (value ^ key[0]).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 32) ^ key[1]).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    #[test]
    fn the_mapping_is_the_same_on_every_machine_and_in_every_release() {
        let slots = [[10, 0, 0, 1], [10, 0, 0, 2], [198, 51, 100, 7]].map(|a| slot_of(KEY, a));
        assert_eq!(slots, [44875, 58632, 26348]);
    }

    #[test]
    fn neighbouring_addresses_spread_evenly() {
        // 2^20 consecutive addresses over 256 groups of slots: 4096 expected in each, standard
        // deviation 64; six of them is a generous bound for 256 groups.
        let mut groups = vec![0_u32; 256];
        for address in 0..1_u32 << 20 {
            groups[usize::from(slot_of(KEY, (0x0a00_0000 + address).to_be_bytes()) >> 8)] += 1;
        }
        let (low, high) = (groups.iter().min().unwrap(), groups.iter().max().unwrap());
        assert!(*low > 4096 - 384 && *high < 4096 + 384, "{low}..{high}");
    }

    #[test]
    fn every_bit_of_the_key_moves_clients() {
        for bit in 0..128 {
            let mut other = KEY;
            other[bit / 64] ^= 1 << (bit % 64);
            let moved = (0..1024_u32)
                .filter(|a| slot_of(KEY, a.to_be_bytes()) != slot_of(other, a.to_be_bytes()))
                .count();
            assert!(moved > 1000, "bit {bit}: {moved} of 1024 moved");
        }
    }
}
