//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are made of 16-bit words **in memory order**: the ones' complement sum does not depend on byte
//! order as long as it is read and written the same way (RFC 1071, section 2(B)), so nothing is swapped.
//! Deltas computed here are therefore only good on the machine that computed them.
//!
//! RFC 1624 gives `HC' = ~(~HC + ~m + m')` for a word that changes from `m` to `m'`. A *delta* is a sum
//! of such `~m` and `m'`, not yet folded; [`update`] applies it. Halves of a delta may be added:
//!
//! ```
//! use redirector_common::checksum::{added, removed, update};
//!
//! let (old, new) = ([10, 0, 0, 1], [10, 0, 1, 2]);
//! let delta = removed(&old) + added(&new);
//! assert_eq!(update([0xb1, 0xe6], delta), [0xb0, 0xe5]);
//! ```

/// Sum of the 16-bit words of `bytes`, which has an even length of at most 16.
#[inline(always)]
pub fn added<const N: usize>(bytes: &[u8; N]) -> u32 {
    const { assert!(N.is_multiple_of(2) && N <= 16) };
    let mut sum = 0;
    let mut at = 0;
    while at < N {
        sum += u32::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        at += 2;
    }
    sum
}

/// Sum of the complements of the 16-bit words of `bytes`: takes them out of a checksum.
#[inline(always)]
pub fn removed<const N: usize>(bytes: &[u8; N]) -> u32 {
    const { assert!(N.is_multiple_of(2) && N <= 16) };
    let mut sum = 0;
    let mut at = 0;
    while at < N {
        sum += u32::from(!u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        at += 2;
    }
    sum
}

/// The delta of decrementing the time to live, the first byte of its 16-bit word, by one.
pub const TTL_DECREMENT: u32 = !u16::from_ne_bytes([1, 0]) as u32;

/// Folds a sum into 16 bits, the carries added in (RFC 1071, section 4.1).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits")]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Folds a sum of 32-bit words, which are sums of 16-bit words not yet folded, into 16 bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the folds leave 16 bits")]
pub const fn fold_wide(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Whether `sum`, at most 2^63, folds to `folded`, which is quicker to say than what it folds to.
///
/// A fold leaves what remains of a division by 65,535, and of that 1 to 65,535, unless the sum is 0. The difference of two
/// numbers with equal remainders can be divided, which a product with the inverse tells (Granlund and Montgomery, PLDI 1994,
/// section 9). A sum of 0 is not provided for.
#[inline(always)]
pub const fn folds_to(sum: u64, folded: u16) -> bool {
    const DIVISOR: u64 = 0xffff;
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const { assert!(DIVISOR.wrapping_mul(INVERSE) == 1) };
    let difference = sum + DIVISOR - folded as u64;
    folded != 0 && difference.wrapping_mul(INVERSE) <= u64::MAX / DIVISOR
}

/// Applies `delta` to the checksum `check`, as it stands in the packet.
///
/// `delta` must be below 2^31, which any sum of a few hundred words is.
#[inline(always)]
pub fn update(check: [u8; 2], delta: u32) -> [u8; 2] {
    (!fold(u32::from(!u16::from_ne_bytes(check)) + delta)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 4.1, written anew in network order.
    fn checksum(bytes: &[u8]) -> [u8; 2] {
        let mut sum: u64 = bytes
            .chunks(2)
            .map(|w| u64::from(w[0]) << 8 | u64::from(w[1]))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    #[test]
    fn the_example_of_rfc_1624_gives_its_result() {
        // Section 4: HC = 0xdd2f, m = 0x5555, m' = 0x3285; the right answer is 0x0000.
        let delta = removed(&[0x55, 0x55]) + added(&[0x32, 0x85]);
        assert_eq!(update([0xdd, 0x2f], delta), [0, 0]);
    }

    proptest! {
        #[test]
        fn a_sum_folds_to_what_it_folds_to_and_to_nothing_else(
            sum in prop_oneof![1_u64..1 << 18, 1_u64..1 << 37],
            other in any::<u16>(),
        ) {
            let folded = fold_wide(sum);
            prop_assert!(folds_to(sum, folded));
            prop_assert_eq!(folds_to(sum, other), other == folded);
            prop_assert!(!folds_to(sum, folded.wrapping_add(1)));
            prop_assert!(!folds_to(sum, folded.wrapping_sub(1)));
        }

        #[test]
        fn an_update_equals_a_recomputation(
            mut words in prop::array::uniform20(any::<u8>()),
            new in any::<[u8; 4]>(),
            at in 0_usize..4,
        ) {
            words[0] |= 1; // a header is never all zeros
            let before = checksum(&words);
            let old: [u8; 4] = words[at * 4..at * 4 + 4].try_into().unwrap();
            words[at * 4..at * 4 + 4].copy_from_slice(&new);
            words[18] |= 1;
            let mut base = words;
            base[at * 4..at * 4 + 4].copy_from_slice(&old);
            let before = if base == words { before } else { checksum(&base) };
            prop_assert_eq!(update(before, removed(&old) + added(&new)), checksum(&words));
        }

        #[test]
        fn the_decrement_of_ttl_equals_a_recomputation(
            mut header in prop::array::uniform20(any::<u8>()),
            ttl in 1_u8..,
        ) {
            header[8] = ttl;
            header[0] = 0x45;
            let before = checksum(&header);
            header[8] -= 1;
            prop_assert_eq!(update(before, TTL_DECREMENT), checksum(&header));
        }
    }
}
