//! Checksums (RFC 1071) of built packets.

use super::Ip;

/// What a checksum field holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sum {
    /// The right checksum.
    #[default]
    Right,
    /// The right one plus this, modulo 65,536.
    Off(u16),
    /// These 16 bits; 0 in UDP over IPv4 is "no checksum" (RFC 768).
    Is(u16),
    /// The folded sum of the pseudo-header, not complemented: what Linux leaves to the network card
    /// (`CHECKSUM_PARTIAL`).
    Partial,
}

/// RFC 1071, the plain way: in network order, over all bytes.
///
/// # Panics
///
/// Never: a folded sum has 16 bits.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) * 256 + u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

impl Sum {
    /// The field's value, `bytes` being all that the checksum covers, the field zeroed, and the first
    /// `pseudo_header` of them a pseudo-header.
    pub(super) fn over(self, bytes: &[u8], pseudo_header: usize) -> u16 {
        match self {
            Self::Right => internet_checksum(bytes),
            Self::Off(by) => internet_checksum(bytes).wrapping_add(by),
            Self::Is(value) => value,
            Self::Partial => !internet_checksum(&bytes[..pseudo_header]),
        }
    }
}

/// The pseudo-header of a segment of so many bytes (RFC 9293, section 3.1; RFC 8200, section 8.1).
pub(super) fn pseudo_header(ip: &Ip, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ip {
        Ip::V4(ip) => {
            bytes.extend(ip.source);
            bytes.extend(ip.destination);
        }
        Ip::V6(ip) => {
            bytes.extend(ip.source);
            bytes.extend(ip.destination);
        }
    }
    bytes.extend(
        u32::try_from(length)
            .expect("a short segment")
            .to_be_bytes(),
    );
    bytes.extend([0, 0, 0, protocol]);
    bytes
}
