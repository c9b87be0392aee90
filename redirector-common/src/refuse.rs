//! A packet that no backend takes: its sender is told so at once, instead of being left to wait (`when-empty =
//! "reset"`). A TCP segment is answered by a reset (RFC 9293, section 3.10.7.1), a datagram by a port-unreachable
//! message (RFC 1122, section 4.1.3.1; RFC 4443, section 3.1), as a host does on whose port nobody listens.
//!
//! The answer comes from the VIP and is made of the packet itself. It is never longer than the packet by more than the
//! headers of a message of ICMP, so whoever pretends to be somebody else gains nothing by it.

use crate::{
    Frame,
    address::Address,
    checksum,
    parse::{Layout, Packet},
    process::Outcome,
    stage::Step,
    tables::Tables,
    task::{TASK_ACKNOWLEDGES, Task},
    too_big::Link,
    verdict::Verdict,
    wire::{Icmp, TCP_LENGTH, Tcp, protocol, tcp_flag},
};

/// Leaves a packet to be answered. A reset is not, nor is a fragment.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "verdicts are few, and what is quoted has at most 1,232 bytes"
)]
pub fn leave<A: Address, L: Layout<A>, T: Tables>(
    layout: L,
    packet: &Packet<A>,
    tables: &T,
) -> Step {
    if packet.fragment.is_some() || packet.has(tcp_flag::RST) {
        return Verdict::DropNoBackend.into();
    }
    let longest = A::QUOTED as u32;
    let quoted = if packet.length < longest {
        packet.length
    } else {
        longest
    };
    tables.leave(Task {
        ifindex: tables.ingress(),
        ip: layout.ip() as u16,
        segment: quoted as u16,
        verdict: Verdict::AnswerNoBackend.index() as u8,
        protocol: packet.protocol,
        ports: u32::from_ne_bytes([
            packet.destination_port[0],
            packet.destination_port[1],
            packet.source_port[0],
            packet.source_port[1],
        ]),
        numbers: numbers(packet),
        flags: if packet.has(tcp_flag::ACK) {
            0
        } else {
            TASK_ACKNOWLEDGES
        },
        ..Task::default()
    });
    Step::Go(A::REFUSE_STAGE)
}

/// The sequence and the acknowledgement number of the reset that answers a segment. Where the segment acknowledges
/// nothing there is no sequence number that the sender waits for, and an acknowledgement takes its place.
#[inline(always)]
fn numbers<A>(packet: &Packet<A>) -> [u32; 2] {
    if packet.has(tcp_flag::ACK) {
        return [packet.acknowledgement, 0];
    }
    let data = u32::from(packet.segment) - u32::from(packet.header);
    let controls = u32::from(packet.has(tcp_flag::SYN)) + u32::from(packet.has(tcp_flag::FIN));
    [0, packet.sequence.wrapping_add(data).wrapping_add(controls)]
}

/// The program that answers the packet of the [`Task`].
#[inline(always)]
pub fn answer<A: Address, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Outcome {
    let task = tables.task();
    let (Some(outcome), Some((link, ip))) = (task.outcome(), Link::read(frame)) else {
        return Verdict::DropNoBackend.into();
    };
    let Some(ends) = A::ends(frame, ip) else {
        return Verdict::DropNoBackend.into();
    };
    // From where room is made on the packet is not what it was: there is no way back.
    let written = if task.protocol == protocol::TCP {
        reset::<A, F>(frame, &link, ip, ends, &task)
    } else {
        unreachable::<A, F>(frame, &link, ip, ends, &task)
    };
    if written.is_none() {
        return Verdict::DropNoBackend.into();
    }
    outcome
}

#[inline(always)]
fn reset<A: Address, F: Frame>(
    frame: &mut F,
    link: &Link,
    ip: usize,
    ends: (A, A),
    task: &Task,
) -> Option<()> {
    let length = ip + size_of::<A::Header>() + size_of::<Tcp>();
    if frame.full_length() < length || !frame.make_room(0, length) {
        return None;
    }
    link.write_turned(frame)?;
    let [sequence, acknowledgement] = task.numbers;
    let acknowledges = if task.flags & TASK_ACKNOWLEDGES == 0 {
        0
    } else {
        tcp_flag::ACK
    };
    let [a, b, c, d] = task.ports.to_ne_bytes();
    let mut tcp = Tcp {
        source: [a, b],
        destination: [c, d],
        sequence: sequence.to_be_bytes(),
        acknowledgement: acknowledgement.to_be_bytes(),
        data_offset: 5 << 4,
        flags: tcp_flag::RST | acknowledges,
        ..Tcp::default()
    };
    let words: &[[u8; 4]; 5] = bytemuck::cast_ref(&tcp);
    let words: u32 = words.iter().map(checksum::added).sum();
    let length = TCP_LENGTH.to_be_bytes();
    let pseudo = ends.0.wide_sum()
        + ends.1.wide_sum()
        + u64::from(checksum::added(&length))
        + u64::from(checksum::added(&[0, protocol::TCP]));
    tcp.checksum = (!checksum::fold_wide(pseudo + u64::from(words))).to_ne_bytes();
    A::write_answer(frame, ip, ends, protocol::TCP, TCP_LENGTH)?;
    *frame.header_mut(ip + size_of::<A::Header>())? = tcp;
    Some(())
}

#[inline(always)]
fn unreachable<A: Address, F: Frame>(
    frame: &mut F,
    link: &Link,
    ip: usize,
    ends: (A, A),
    task: &Task,
) -> Option<()> {
    let headers = size_of::<A::Header>() + size_of::<Icmp>();
    let quoted = usize::from(task.segment);
    if quoted > A::QUOTED
        || frame.full_length() < ip + quoted
        || !frame.make_room(headers, ip + headers + quoted)
    {
        return None;
    }
    link.write_turned(frame)?;
    let (kind, code) = A::PORT_UNREACHABLE;
    let icmp = Icmp {
        kind,
        code,
        ..Icmp::default()
    };
    A::write_error(frame, ip, ends, icmp, quoted)
}
