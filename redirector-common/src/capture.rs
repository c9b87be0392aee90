//! Which packets a capture is about.

use crate::{
    abi::{CAPTURE_SNAP, CaptureFilter},
    verdict::{EVENT_BASE, Verdict},
    wire::ethertype,
};

/// The first bytes of a packet.
pub type Front = [[u8; 8]; CAPTURE_SNAP / 8];

impl CaptureFilter {
    /// Whether these packets are wanted, as far as that can be told by what became of them.
    #[inline(always)]
    pub fn wants_outcome(&self, verdict: Verdict, backend: u16) -> bool {
        let backend = usize::from(backend);
        let word = self.backends[backend / 64 % self.backends.len()];
        self.verdicts >> (verdict.index() % EVENT_BASE) & 1 != 0
            && (self.by_backend == 0 || word >> (backend % 64) & 1 != 0)
    }

    /// Whether a packet that begins like this is the client's, or for it.
    #[inline(always)]
    pub fn wants_front(&self, front: &Front) -> bool {
        let bytes: &[u8; CAPTURE_SNAP] = bytemuck::cast_ref(front);
        // Up to two tags, as everywhere.
        self.wants_at::<14>(bytes)
            || is_tag(bytes, 12) && self.wants_at::<18>(bytes)
            || is_tag(bytes, 12) && is_tag(bytes, 16) && self.wants_at::<22>(bytes)
    }

    /// The same where the IP header begins at `IP`.
    #[inline(always)]
    fn wants_at<const IP: usize>(&self, bytes: &[u8; CAPTURE_SNAP]) -> bool {
        match (type_at(bytes, IP - 2), self.family) {
            (ethertype::IPV4, 4) => {
                self.covers::<4>(bytes, IP + 12) || self.covers::<4>(bytes, IP + 16)
            }
            (ethertype::IPV6, 6) => {
                self.covers::<16>(bytes, IP + 8) || self.covers::<16>(bytes, IP + 24)
            }
            _ => false,
        }
    }

    /// Whether the address at `at` is in the client's network.
    #[inline(always)]
    fn covers<const LENGTH: usize>(&self, bytes: &[u8; CAPTURE_SNAP], at: usize) -> bool {
        (0..LENGTH).all(|byte| (bytes[at + byte] ^ self.client[byte]) & self.mask[byte] == 0)
    }
}

#[inline(always)]
fn type_at(bytes: &[u8; CAPTURE_SNAP], at: usize) -> [u8; 2] {
    [bytes[at], bytes[at + 1]]
}

#[inline(always)]
fn is_tag(bytes: &[u8; CAPTURE_SNAP], at: usize) -> bool {
    matches!(
        type_at(bytes, at),
        ethertype::VLAN | ethertype::SERVICE_VLAN
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> CaptureFilter {
        CaptureFilter {
            verdicts: u64::MAX,
            ..bytemuck::Zeroable::zeroed()
        }
    }

    fn front(tags: usize, ipv6: bool, source: &[u8], destination: &[u8]) -> Front {
        let mut bytes = [0; CAPTURE_SNAP];
        for tag in 0..tags {
            bytes[12 + 4 * tag..14 + 4 * tag].copy_from_slice(&ethertype::VLAN);
        }
        let ip = 14 + 4 * tags;
        let (kind, at) = if ipv6 {
            (ethertype::IPV6, 8)
        } else {
            (ethertype::IPV4, 12)
        };
        bytes[ip - 2..ip].copy_from_slice(&kind);
        bytes[ip + at..ip + at + source.len()].copy_from_slice(source);
        let at = at + source.len();
        bytes[ip + at..ip + at + destination.len()].copy_from_slice(destination);
        bytemuck::cast(bytes)
    }

    #[test]
    fn a_client_is_found_at_either_end_and_behind_tags() {
        let (client, other) = ([10, 0, 0, 5], [10, 0, 0, 1]);
        let mut filter = filter();
        filter.family = 4;
        filter.client[..4].copy_from_slice(&client);
        filter.mask[..4].fill(0xff);
        for tags in 0..=2 {
            assert!(filter.wants_front(&front(tags, false, &client, &other)));
            assert!(filter.wants_front(&front(tags, false, &other, &client)));
            assert!(!filter.wants_front(&front(tags, false, &other, &other)));
            assert!(!filter.wants_front(&front(tags, true, &client, &client)));
        }
        assert!(!filter.wants_front(&front(3, false, &client, &client)));
        filter.mask[3] = 0xf8;
        assert!(filter.wants_front(&front(0, false, &other, &other)));
        filter.mask[3] = 0xfc;
        assert!(!filter.wants_front(&front(0, false, &other, &other)));
    }

    #[test]
    fn a_client_of_the_other_family_has_its_whole_address_looked_at() {
        let mut filter = filter();
        filter.family = 6;
        filter.client = [7; 16];
        filter.mask = [0xff; 16];
        let mut other = [7; 16];
        assert!(filter.wants_front(&front(1, true, &other, &[1; 16])));
        other[15] = 6;
        assert!(!filter.wants_front(&front(1, true, &other, &[1; 16])));
        assert!(!filter.wants_front(&front(0, false, &[7; 4], &[7; 4])));
    }

    #[test]
    fn verdicts_and_backends_are_wanted_one_by_one() {
        let mut filter = filter();
        assert!(filter.wants_outcome(Verdict::Reply, 0));
        filter.by_backend = 1;
        assert!(!filter.wants_outcome(Verdict::Reply, 0));
        filter.backends[65 / 64] = 1 << (65 % 64);
        assert!(filter.wants_outcome(Verdict::Reply, 65));
        assert!(!filter.wants_outcome(Verdict::Reply, 1));
        filter.verdicts = 1 << Verdict::DropDirectTcp.index();
        assert!(!filter.wants_outcome(Verdict::Reply, 65));
        assert!(filter.wants_outcome(Verdict::DropDirectTcp, 65));
    }
}
