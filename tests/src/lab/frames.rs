//! Checks captured frames with code that the redirector does not use.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Why a frame is not what a well-behaved host sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The headers contradict each other.
    Malformed(String),
    /// The IPv4 header checksum is wrong.
    HeaderChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// The TCP checksum is wrong.
    TcpChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
}

/// Checks the headers and checksums of an Ethernet frame; says whether it holds TCP over IPv4.
///
/// # Errors
/// The first fault.
pub fn check(frame: &[u8]) -> Result<bool, Fault> {
    let malformed = |error: &dyn std::fmt::Display| Fault::Malformed(error.to_string());
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| malformed(&error))?;
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        return Ok(false);
    };
    let header = ip.header();
    // The sum is taken over the bytes: a parsed header has forgotten the reserved bit.
    let found = header.header_checksum();
    let expected = checksum_without(header.slice(), found, &[]);
    if !agree(found, expected) {
        return Err(Fault::HeaderChecksum { found, expected });
    }
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        return Ok(false);
    };
    let segment = tcp.slice();
    let length = u16::try_from(segment.len()).map_err(|error| malformed(&error))?;
    let mut pseudo = [header.source(), header.destination()].concat();
    pseudo.extend([0, header.protocol().0]);
    pseudo.extend(length.to_be_bytes());
    let found = tcp.checksum();
    let expected = checksum_without(segment, found, &pseudo);
    if !agree(found, expected) {
        return Err(Fault::TcpChecksum { found, expected });
    }
    Ok(true)
}

/// Whether two checksums are the same number. Ones' complement has two zeros, and Linux sends the one that the
/// sum does not give: `skb_checksum_help` writes 0xffff for any protocol, since UDP may not say 0.
fn agree(found: u16, expected: u16) -> bool {
    found == expected || (found == 0xffff && expected == 0)
}

/// RFC 1071's checksum of `bytes` and `more`, as if the checksum `present` in `bytes` were zero.
fn checksum_without(bytes: &[u8], present: u16, more: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)))
            .sum()
    };
    let mut sum = words(bytes) + words(more) - u64::from(present);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn frame() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 16], [10, 0, 0, 1], 64)
            .tcp(40_000, 1080, 7, 1024)
            .syn()
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    #[test]
    fn a_good_frame_is_accepted() {
        assert_eq!(check(&frame()), Ok(true));
    }

    #[test]
    fn either_zero_is_a_good_checksum_where_the_sum_is_zero() {
        const CHECKSUM: usize = 14 + 20 + 16;
        let mut frame = frame();
        // The data's first word takes what the checksum had, so the checksum becomes zero.
        let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let (sum, carry) = word(&frame, 54).overflowing_add(word(&frame, CHECKSUM));
        frame[54..56].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        for (checksum, good) in [(0, true), (0xffff, true), (1, false), (0xfffe, false)] {
            frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&u16::to_be_bytes(checksum));
            assert_eq!(check(&frame).is_ok(), good, "{checksum:#x}");
        }
    }

    #[test]
    fn every_flipped_bit_of_ip_and_tcp_is_noticed() {
        let good = frame();
        for bit in 14 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(check(&bad), Ok(true), "bit {bit}");
        }
    }

    #[test]
    fn what_is_not_ipv4_is_none_of_our_business() {
        let mut frame = frame();
        frame[12..14].copy_from_slice(&[0x88, 0xcc]);
        assert_eq!(check(&frame), Ok(false));
    }
}
