//! Checksums that the sender left to the device.
//!
//! A packet from a namespace, container or virtual machine on the same host has never been at a device: its
//! checksum field holds the sum of the pseudo-header alone, folded and not complemented (`CHECKSUM_PARTIAL` in
//! the kernel's `skbuff.h`). XDP is not told (tc can ask). But the sum can be compared: where it is equal the checksum is made
//! in full. Should a complete checksum be equal by chance, 1 in 65,535, then making it anew gives what it was, or
//! mends it.

use crate::{
    Frame,
    address::Address,
    checksum,
    parse::{Layout, OFFSETS, Packet},
    process::Outcome,
    tables::Tables,
    task::{TASK_COMPLETE, Task},
    verdict::Verdict,
    wire::{Tcp, Udp, protocol},
};

/// Whether the transport checksum is only the sum of the pseudo-header.
#[inline(always)]
pub fn is_partial<A: Address, T: Tables>(packet: &Packet<A>, tables: &T) -> bool {
    let sum = pseudo_header(packet.source, packet.destination, packet);
    checksum::folds_to(sum, u16::from_ne_bytes(packet.checksum))
        && packet.fragment.is_none()
        && !tables.checksum_is_whole()
}

/// The sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1), never 0.
#[inline(always)]
fn pseudo_header<A: Address>(source: A, destination: A, packet: &Packet<A>) -> u64 {
    let length = u32::from(packet.segment.to_be());
    let protocol = u32::from(u16::from_ne_bytes([0, packet.protocol]));
    source.wide_sum() + destination.wide_sum() + u64::from(length + protocol)
}

/// Sees to the transport checksum of a packet that now goes from `source` to `destination`. Where the kernel is going to
/// complete it, as it does behind generic XDP, it becomes that of the new pseudo-header; otherwise the `task` says that
/// it is to be made.
#[inline(always)]
pub fn prepare<A: Address, L: Layout<A>, F: Frame, T: Tables>(
    frame: &mut F,
    layout: L,
    (source, destination): (A, A),
    packet: &Packet<A>,
    task: &mut Task,
    tables: &T,
) -> Option<()> {
    let pseudo = checksum::fold_wide(pseudo_header(source, destination, packet));
    let checksum = layout.checksum_mut(frame)?;
    if tables.kernel_completes_checksums() {
        *checksum = pseudo.to_ne_bytes();
    } else {
        *checksum = [0; 2];
        task.pseudo = pseudo;
        task.flags |= TASK_COMPLETE;
    }
    Some(())
}

/// The program that completes the checksum of the [`Task`].
#[inline(always)]
pub fn complete<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Outcome {
    let task = tables.task();
    let (Some(outcome), Some(())) = (task.outcome(), write(frame, &task)) else {
        return Verdict::DropPartialChecksum.into();
    };
    outcome
}

#[inline(always)]
fn write<F: Frame>(frame: &mut F, task: &Task) -> Option<()> {
    let offset = usize::from(task.transport) % OFFSETS;
    let sum = frame.sum(offset, usize::from(task.segment))?;
    let whole = !checksum::fold_wide(u64::from(sum) + u64::from(task.pseudo));
    if task.protocol == protocol::UDP {
        let udp = frame.header_mut::<Udp>(offset)?;
        udp.checksum = if whole == 0 {
            [0xff; 2]
        } else {
            whole.to_ne_bytes()
        };
    } else {
        let tcp = frame.header_mut::<Tcp>(offset)?;
        tcp.checksum = whole.to_ne_bytes();
    }
    Some(())
}
