//! The client hash, from its description: two rounds of "xor a word of the key, multiply", the upper half
//! folded into the lower one in between; the slot is the top 16 bits. The upper half of an IPv6 address goes
//! through the rounds first, and is folded into the lower half.

use std::net::IpAddr;

/// The product modulo 2^64, by schoolbook multiplication in base 2^32.
fn times(a: u64, b: u64) -> u64 {
    let (a_high, a_low) = (u128::from(a >> 32), u128::from(a & 0xffff_ffff));
    let (b_high, b_low) = (u128::from(b >> 32), u128::from(b & 0xffff_ffff));
    let product = a_low * b_low + ((a_high * b_low + a_low * b_high) << 32);
    u64::try_from(product % (1 << 64)).expect("reduced to 64 bits")
}

fn two_rounds(key: [u64; 2], value: u64) -> u64 {
    let first = times(value ^ key[0], 0xbf58_476d_1ce4_e5b9);
    times(first ^ (first / (1 << 32)) ^ key[1], 0x94d0_49bb_1331_11eb)
}

/// The slot of a client.
pub(super) fn slot_of(key: [u64; 2], client: IpAddr) -> usize {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |value, byte| value * 256 + u64::from(*byte))
    };
    let hash = match client {
        IpAddr::V4(client) => two_rounds(key, number(&client.octets())),
        IpAddr::V6(client) => {
            let (high, low) = (number(&client.octets()[..8]), number(&client.octets()[8..]));
            two_rounds(key, two_rounds(key, high) ^ low)
        }
    };
    usize::try_from(hash / (1 << 48)).expect("16 bits")
}

/// A third round, for all bits alike: xor with the upper 35 bits, multiply, fold the upper half.
fn three_rounds(key: [u64; 2], value: u64) -> u64 {
    let two = two_rounds(key, value);
    let three = times(two ^ (two / (1 << 29)), 0xbf58_476d_1ce4_e5b9);
    three ^ (three / (1 << 32))
}

/// The two slots that are drawn for a connection of a client which began with this number: the uppermost 16 bits, and
/// the next ones, of the hash of the client, its port and the number.
pub(super) fn drawn(key: [u64; 2], (client, port): (IpAddr, u16), number: u32) -> (usize, usize) {
    let client = match client {
        IpAddr::V4(client) => u64::from(u32::from(client)),
        IpAddr::V6(client) => {
            let (high, low) = (u128::from(client) >> 64, u128::from(client) % (1 << 64));
            let half = |half: u128| u64::try_from(half).expect("64 bits");
            two_rounds(key, half(high)) ^ half(low)
        }
    };
    let rest = u64::from(port) * (1 << 32) + u64::from(number);
    let hash = three_rounds(key, three_rounds(key, client) ^ rest);
    let bits = |shift: u32| usize::try_from((hash >> shift) % (1 << 16)).expect("16 bits");
    (bits(48), bits(32))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_agrees_with_numbers_worked_out_elsewhere() {
        let key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
        let slots = [
            "10.0.0.1",
            "10.0.0.2",
            "198.51.100.7",
            "2001:db8::1",
            "2001:db8:0:1::7",
            "fd00::1",
        ]
        .map(|client| super::slot_of(key, client.parse().expect("an address")));
        assert_eq!(slots, [44_875, 58_632, 26_348, 8163, 11_052, 27_959]);
    }
}
