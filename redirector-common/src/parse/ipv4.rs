//! IPv4, with options and in fragments.

use super::{Fragment, IpPacket};
use crate::{
    Frame,
    verdict::Verdict,
    wire::{FRAGMENT_MASK, IPV4_NO_OPTIONS, Ipv4},
};

/// Reads an IPv4 header and its options (RFC 791). A `quoted` packet may be cut behind them.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &F, ip: usize, quoted: bool) -> Result<IpPacket<[u8; 4]>, Verdict> {
    let header = *frame.header::<Ipv4>(ip).ok_or(Verdict::PassTruncated)?;
    let header_length = usize::from(header.version_ihl & 0x0f) * 4;
    let total_length = usize::from(u16::from_be_bytes(header.total_length));
    if header.version_ihl >> 4 != 4
        || header_length < size_of::<Ipv4>()
        || total_length < header_length
    {
        return Err(Verdict::PassMalformed);
    }
    let present = frame.full_length() - ip;
    if total_length > present && !quoted || header_length > present {
        return Err(Verdict::PassTruncated);
    }
    if header.version_ihl != IPV4_NO_OPTIONS {
        options(
            frame,
            ip + size_of::<Ipv4>(),
            header_length - size_of::<Ipv4>(),
        )?;
    }
    let bits = u16::from_be_bytes(header.fragment) & FRAGMENT_MASK;
    let [high, low] = header.identification;
    let identification = [high, low, 0, 0];
    Ok(IpPacket {
        source: header.source,
        destination: header.destination,
        ttl: header.ttl,
        protocol: header.protocol,
        ip,
        transport: ip + header_length,
        end: ip + total_length.min(present),
        fragment: match (bits, bits & 0x1fff) {
            (0, _) => Fragment::Whole,
            (_, 0) => Fragment::First(identification),
            _ => Fragment::Later(identification),
        },
    })
}

/// The most bytes that options can have.
const MOST_OPTIONS: usize = 40;

/// Looks for options that name the way (RFC 791, section 3.1): the destination is then only the next stop.
///
/// Byte by byte rather than from option to option, since the verifier follows only offsets that do not come from
/// the packet; and by counting what is left of an option rather than by comparing with where it ends, of which the verifier
/// would keep what it knows apart for each place.
#[inline(always)]
fn options<F: Frame>(frame: &F, start: usize, length: usize) -> Result<(), Verdict> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    // Bytes of the option in hand that are still to come, and whether the next one is its length.
    let mut left = 0;
    let mut is_length = false;
    for at in 0..MOST_OPTIONS {
        if at >= length {
            break;
        }
        let [byte] = *frame
            .header::<[u8; 1]>(start + at)
            .ok_or(Verdict::PassTruncated)?;
        if is_length {
            is_length = false;
            // It counts itself and the byte before it.
            if byte < 2 || at + usize::from(byte) > length + 1 {
                return Err(Verdict::PassMalformed);
            }
            left = byte - 2;
        } else if left > 0 {
            left -= 1;
        } else {
            match byte {
                END => return Ok(()),
                NO_OPERATION => {}
                LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Verdict::PassSourceRoute),
                _ => is_length = true,
            }
        }
    }
    if is_length {
        return Err(Verdict::PassMalformed);
    }
    Ok(())
}

#[cfg(all(test, feature = "host"))]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::host::SliceFrame;

    /// From option to option, as RFC 791 tells it.
    fn by_jumps(mut rest: &[u8]) -> Result<(), Verdict> {
        loop {
            match rest {
                [] | [0, ..] => return Ok(()),
                [1, after @ ..] => rest = after,
                [131 | 137, ..] => return Err(Verdict::PassSourceRoute),
                [_, length, ..] if *length >= 2 && usize::from(*length) <= rest.len() => {
                    rest = &rest[usize::from(*length)..];
                }
                _ => return Err(Verdict::PassMalformed),
            }
        }
    }

    #[test]
    fn options_are_walked_byte_by_byte_to_where_jumps_from_one_to_the_next_lead() {
        // Every list of up to six of these: each kind of option, and every length that ends before, at or behind the list.
        const BYTES: [u8; 8] = [0, 1, 2, 3, 4, 6, 131, 7];
        let (mut routes, mut malformed) = (0, 0);
        for length in 0..=6_u32 {
            for number in 0..8_usize.pow(length) {
                let mut list: Vec<u8> = (0..length)
                    .map(|place| BYTES[number / 8_usize.pow(place) % 8])
                    .collect();
                let expected = by_jumps(&list);
                routes += u32::from(expected == Err(Verdict::PassSourceRoute));
                malformed += u32::from(expected == Err(Verdict::PassMalformed));
                let frame = SliceFrame::new(&mut list);
                assert_eq!(options(&frame, 0, length as usize), expected, "{number:o}");
            }
        }
        assert!(routes > 1000 && malformed > 1000, "{routes}, {malformed}");
    }
}
