//! Internet checksums (RFC 1071), added up anew over all bytes.
//!
//! Ones' complement addition is addition modulo 65,535. A checksum is *defective* by the remainder that the sum of
//! all covered words, the checksum among them, leaves: 0 when it is right. What is sent on must be as defective as
//! what came in.

use std::ops::Range;

/// The sum of all 16-bit words, modulo 65,535. All parts but the last have an even length.
pub(super) fn remainder(parts: &[&[u8]]) -> u16 {
    let sum: u64 = parts
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u64::from(pair[0]) * 256 + pair.get(1).map_or(0, |low| u64::from(*low)))
        .sum();
    u16::try_from(sum % 65_535).expect("a remainder of 16 bits")
}

/// `a - b` modulo 65,535.
pub(super) fn minus(a: u16, b: u16) -> u16 {
    let difference = (u32::from(a) + 65_535 - u32::from(b)) % 65_535;
    u16::try_from(difference).expect("a remainder of 16 bits")
}

/// A checksum field and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    /// Offset of the field.
    pub(super) field: usize,
    /// The addresses of a pseudo-header; empty where there is none.
    pub(super) addresses: Range<usize>,
    /// The rest of the pseudo-header: length and protocol.
    pub(super) rest: Vec<u8>,
    /// The covered bytes.
    pub(super) bytes: Range<usize>,
    /// Whether 0 stands for "no checksum" (RFC 768).
    pub(super) optional: bool,
    /// Whether all covered bytes are in the frame, so that the checksum can be computed at all.
    pub(super) whole: bool,
}

impl Covered {
    /// By how much the checksum is wrong.
    pub(super) fn defect(&self, frame: &[u8]) -> u16 {
        remainder(&[
            &frame[self.addresses.clone()],
            &self.rest,
            &frame[self.bytes.clone()],
        ])
    }

    fn stored(&self, frame: &[u8]) -> u16 {
        u16::from_be_bytes([frame[self.field], frame[self.field + 1]])
    }

    /// The sum of the pseudo-header, folded and not complemented. Never 0, since no address is.
    fn pseudo_header(&self, frame: &[u8]) -> u16 {
        match remainder(&[&frame[self.addresses.clone()], &self.rest]) {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// Whether the field holds what Linux leaves to a network card to complete (`CHECKSUM_PARTIAL`).
    pub(super) fn is_partial(&self, frame: &[u8]) -> bool {
        self.whole && !self.addresses.is_empty() && self.stored(frame) == self.pseudo_header(frame)
    }

    /// Writes the checksum that leaves `output` as defective as `input` was; what is partial is completed, or
    /// left to be when `complete` is false.
    pub(super) fn carry_over(&self, input: &[u8], output: &mut [u8], complete: bool) {
        if self.optional && self.stored(input) == 0 {
            return;
        }
        let partial = self.is_partial(input);
        let defect = if partial { 0 } else { self.defect(input) };
        output[self.field..self.field + 2].copy_from_slice(&[0, 0]);
        let checksum = if partial && !complete {
            self.pseudo_header(output)
        } else {
            match minus(defect, self.defect(output)) {
                0 if self.optional => 0xffff,
                checksum => checksum,
            }
        };
        output[self.field..self.field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::remainder;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        // Section 3: the sum of these words is 2ddf0, or ddf2 after the carries went back in.
        let sum = remainder(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]);
        assert_eq!(sum, 0xddf2);
    }
}
