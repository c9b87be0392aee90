//! The link layer: Ethernet and its VLAN tags.

use crate::{
    Frame,
    verdict::Verdict,
    wire::{Ethernet, VlanTag, ethertype},
};

/// VLAN tags that are looked through.
const MAX_TAGS: usize = 2;

/// Looks through VLAN tags: the type of what follows them, and its offset.
///
/// # Errors
/// The verdict with which the frame is left alone.
#[inline(always)]
pub fn link<F: Frame>(frame: &F) -> Result<([u8; 2], usize), Verdict> {
    let ethernet = frame.header::<Ethernet>(0).ok_or(Verdict::PassTruncated)?;
    let mut kind = ethernet.ethertype;
    let mut offset = size_of::<Ethernet>();
    let mut tags = 0;
    while kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN {
        if tags == MAX_TAGS {
            return Err(Verdict::PassVlan);
        }
        let tag = frame
            .header::<VlanTag>(offset)
            .ok_or(Verdict::PassTruncated)?;
        kind = tag.ethertype;
        offset += size_of::<VlanTag>();
        tags += 1;
    }
    Ok((kind, offset))
}
