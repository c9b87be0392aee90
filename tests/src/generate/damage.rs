//! Frames that are not as they should be.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::packets::refresh_checksums;

/// Changes a frame in a way that a parser may trip over.
pub(super) fn damage(frame: &mut Vec<u8>, random: &mut StdRng) {
    let is_plain = frame.len() >= 54 && frame[12..15] == [0x08, 0x00, 0x45] && frame[23] == 6;
    let is_fragment = is_plain && u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0;
    if is_plain && !is_fragment && !random.random_ratio(1, 4) {
        damage_plain(frame, random);
        return;
    }
    let headers = frame.len().min(120);
    match random.random_range(0..6) {
        0 | 1 => frame.truncate(random.random_range(0..frame.len())),
        2 => frame.resize(frame.len() + random.random_range(1..40), 0xa5),
        3 => frame[random.random_range(12..headers)] = random.random(),
        4 => frame[random.random_range(12..headers)] ^= 1 << random.random_range(0..8),
        // The first bytes behind Ethernet: versions and lengths.
        _ => frame[random.random_range(14..22)] = random.random(),
    }
}

/// The same for a plain TCP segment in IPv4, whose fields have fixed places.
fn damage_plain(frame: &mut Vec<u8>, random: &mut StdRng) {
    match random.random_range(0..14) {
        0 => frame.truncate(random.random_range(0..frame.len())),
        1 => frame.resize(frame.len() + random.random_range(1..40), 0xa5),
        2 => {
            let at = random.random_range(0..frame.len());
            frame[at] ^= 1 << random.random_range(0..8);
        }
        3 => frame[random.random_range(14..54)] = random.random(),
        4 => {
            frame[14] = *[0x44, 0x46, 0x4f, 0x40, 0x55, 0x65]
                .choose(random)
                .expect("some");
        }
        5 => {
            let total = u16::from_be_bytes([frame[16], frame[17]]);
            let by = random.random_range(1..30);
            let total = if random.random() {
                total + by
            } else {
                total.saturating_sub(by)
            };
            frame[16..18].copy_from_slice(&total.to_be_bytes());
        }
        6 => {
            let bits = *[0x2000_u16, 0x0001, 0x1fff, 0x20b9, 0x8000, 0x4000]
                .choose(random)
                .expect("some");
            frame[20..22].copy_from_slice(&bits.to_be_bytes());
        }
        7 => frame[23] = *[0, 1, 17, 47, 58, 132, 255].choose(random).expect("some"),
        8 => {
            let kind = *[0x8100_u16, 0x88a8, 0x86dd, 0x0806, 0x88cc, 0x0008]
                .choose(random)
                .expect("some");
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
        }
        9 => frame[46] = random.random(),
        // Checksums that are wrong, or right in their other form.
        10 => frame[24] ^= 0x10,
        11 => frame[50..52].copy_from_slice(&[0, 0]),
        12 => frame[24..26].copy_from_slice(&[0xff, 0xff]),
        _ => {
            // Bytes that a checksum covers, which is made to fit again: the sum itself takes any value.
            let at = *[18, 19, 38, 39, 40, 41, 48, 49, 52, 53]
                .choose(random)
                .expect("some");
            frame[at] = random.random();
            refresh_checksums(frame);
        }
    }
}
