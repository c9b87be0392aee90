//! Checksums that the sender left to the device.
//!
//! A packet from a namespace, container or virtual machine on the same host has never been at a device: its
//! checksum field holds the sum of the pseudo-header alone, folded and not complemented (`CHECKSUM_PARTIAL` in
//! the kernel's `skbuff.h`). XDP is not told. But the sum can be compared: where it is equal the checksum is made
//! in full. Should a complete checksum be equal by chance, 1 in 65,535, then making it anew gives what it was, or
//! mends it.

use crate::{
    Frame,
    address::Address,
    checksum,
    parse::{Layout, Packet},
    tables::Tables,
    wire::protocol,
};

/// Whether the transport checksum is only the sum of the pseudo-header.
#[inline(always)]
pub fn is_partial<A: Address>(packet: &Packet<A>) -> bool {
    let sum = pseudo_header(packet.source, packet.destination, packet);
    sum.to_ne_bytes() == packet.checksum && packet.fragment.is_none()
}

/// The folded sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1), never 0.
#[inline(always)]
fn pseudo_header<A: Address>(source: A, destination: A, packet: &Packet<A>) -> u16 {
    let length = u32::from(packet.segment.to_be());
    let protocol = u32::from(u16::from_ne_bytes([0, packet.protocol]));
    checksum::fold_wide(source.wide_sum() + destination.wide_sum() + u64::from(length + protocol))
}

/// Makes the transport checksum of a packet that now goes from `source` to `destination`. Where the kernel is
/// going to complete it, as it does behind generic XDP, that of the pseudo-header.
#[inline(always)]
pub fn complete<A: Address, L: Layout<A>, F: Frame, T: Tables>(
    frame: &mut F,
    layout: L,
    source: A,
    destination: A,
    packet: &Packet<A>,
    tables: &T,
) -> Option<()> {
    let pseudo = pseudo_header(source, destination, packet);
    if tables.kernel_completes_checksums() {
        *layout.checksum_mut(frame)? = pseudo.to_ne_bytes();
        return Some(());
    }
    *layout.checksum_mut(frame)? = [0; 2];
    let sum = frame.sum(layout.transport(), usize::from(packet.segment))?;
    let whole = !checksum::fold_wide(u64::from(sum) + u64::from(pseudo));
    let zero_means_none = layout.protocol() == protocol::UDP && whole == 0;
    *layout.checksum_mut(frame)? = if zero_means_none {
        [0xff; 2]
    } else {
        whole.to_ne_bytes()
    };
    Some(())
}
