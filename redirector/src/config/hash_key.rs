//! From the text of `hash-key` to the 128-bit key of the client hash.
//!
//! Two relays with the same text must get the same key, whatever their versions, so the derivation is
//! part of the configuration format: 32 hexadecimal digits are the key itself, and any other text of
//! [`MIN_LENGTH`] bytes or more is hashed. Word `i` of the key is then SipHash-2-4 of the text
//! under the key (`i`, 0).

/// Shortest accepted text, in bytes: what 16 random letters hold is out of reach for guessing.
pub(crate) const MIN_LENGTH: usize = 16;

/// The key for a text; `None` when it is shorter than [`MIN_LENGTH`].
pub(super) fn derive(text: &str) -> Option<[u64; 2]> {
    if text.len() < MIN_LENGTH {
        return None;
    }
    if text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && let Ok(key) = u128::from_str_radix(text, 16)
    {
        let bytes = key.to_be_bytes();
        let (high, low) = bytes.split_at(8);
        return Some([
            word(high, u64::from_be_bytes),
            word(low, u64::from_be_bytes),
        ]);
    }
    Some([0, 1].map(|index| siphash_2_4([index, 0], text.as_bytes())))
}

/// Reads up to eight bytes, the missing ones as 0.
fn word(bytes: &[u8], read: fn([u8; 8]) -> u64) -> u64 {
    let mut whole = [0; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    read(whole)
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
fn siphash_2_4(key: [u64; 2], message: &[u8]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        v[3] ^= word;
        rounds(&mut v, 2);
        v[0] ^= word;
    };
    let chunks = message.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        absorb(word(chunk, u64::from_le_bytes));
    }
    absorb(word(rest, u64::from_le_bytes) | (message.len() as u64) << 56);
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation: key 00 01 … 0f, message 00 01 … of the given length.
    #[test]
    fn siphash_agrees_with_its_published_vectors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: Vec<u8> = (0..15).collect();
        for (length, hash) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(
                siphash_2_4(key, &message[..length]),
                hash,
                "length {length}"
            );
        }
    }

    #[test]
    fn hexadecimal_digits_are_the_key_itself() {
        assert_eq!(
            derive("00112233445566778899AABBccddeeff"),
            Some([0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff])
        );
    }

    #[test]
    fn any_other_text_is_hashed_and_stays_the_same_in_every_version() {
        assert_eq!(
            derive("correct horse battery staple"),
            Some([
                siphash_2_4([0, 0], b"correct horse battery staple"),
                siphash_2_4([1, 0], b"correct horse battery staple")
            ])
        );
        assert_ne!(
            derive("correct horse battery staple"),
            derive("correct horse battery stable")
        );
        // One sign among 32 hexadecimal digits is a text, not a number.
        let [high, low] = derive("+0112233445566778899aabbccddeeff").unwrap();
        assert_ne!([high, low], [0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff]);
        assert_ne!(high, low);
    }

    #[test]
    fn a_short_text_is_refused() {
        assert_eq!(derive("fifteen letters"), None);
        assert!(derive("sixteen letters!").is_some());
    }
}
