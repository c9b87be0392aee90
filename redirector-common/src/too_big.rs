//! A packet that the way on does not take: its sender is told how large it may be (RFC 1191, RFC 4443 section 3.2).
//!
//! The kernel can't answer: to it a packet for the VIP has arrived. So the answer is made of the packet itself, in
//! front of which the headers of the message are put.

use crate::{
    Frame,
    abi::NextHop,
    address::Address,
    parse::Packet,
    process::Outcome,
    stage::Step,
    tables::Tables,
    task::Task,
    verdict::Verdict,
    wire::{Ethernet, Icmp, Ipv4, VlanTag, ethertype},
};

/// Leaves a packet whose IP header is at `ip` to be answered. One in IPv4 that may be fragmented would have to be,
/// which is left out; its sender is answered nothing then, nor is that of a fragment.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "verdicts are few")]
pub fn leave<A: Address, F: Frame, T: Tables>(
    frame: &F,
    ip: usize,
    packet: &Packet<A>,
    hop: &NextHop,
    tables: &T,
) -> Step {
    if packet.fragment.is_some() || !A::forbids_fragments(frame, ip) {
        return Verdict::DropTooBig.into();
    }
    tables.leave(Task {
        ifindex: tables.ingress(),
        mtu: hop.mtu,
        verdict: Verdict::AnswerTooBig.index() as u8,
        ..Task::default()
    });
    Step::Go(A::TOO_BIG_STAGE)
}

/// The program that answers the packet of the [`Task`].
#[inline(always)]
pub fn answer<A: Address, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Outcome {
    let task = tables.task();
    let headers = size_of::<A::Header>() + size_of::<Icmp>();
    let (Some(outcome), Some((link, ip))) = (task.outcome(), Link::read(frame)) else {
        return Verdict::DropTooBig.into();
    };
    let Some(ends) = A::ends(frame, ip) else {
        return Verdict::DropTooBig.into();
    };
    if frame.full_length() < ip + A::QUOTED || !frame.make_room(headers, ip + headers + A::QUOTED) {
        return Verdict::DropTooBig.into();
    }
    // From here on the packet is not what it was: there is no way back.
    let written = link.write_turned(frame).and_then(|()| {
        let (kind, code) = A::TOO_BIG;
        let [high, low] = task.mtu.to_be_bytes();
        let icmp = Icmp {
            kind,
            code,
            rest: [0, 0, high, low],
            ..Icmp::default()
        };
        A::write_error(frame, ip, ends, icmp, A::QUOTED)
    });
    if written.is_none() {
        return Verdict::DropTooBig.into();
    }
    outcome
}

/// The link-layer header, with up to two tags.
pub(crate) struct Link {
    ethernet: Ethernet,
    tags: [VlanTag; 2],
    count: usize,
}

impl Link {
    /// Reads it, and gives the offset of what follows.
    #[inline(always)]
    pub(crate) fn read<F: Frame>(frame: &F) -> Option<(Self, usize)> {
        let first = size_of::<Ethernet>();
        let second = first + size_of::<VlanTag>();
        let third = second + size_of::<VlanTag>();
        let mut link = Self {
            ethernet: *frame.header(0)?,
            tags: [VlanTag::default(); 2],
            count: 0,
        };
        if !is_tag(link.ethernet.ethertype) {
            return Some((link, first));
        }
        link.tags[0] = *frame.header(first)?;
        link.count = 1;
        if !is_tag(link.tags[0].ethertype) {
            return Some((link, second));
        }
        link.tags[1] = *frame.header(second)?;
        link.count = 2;
        Some((link, third))
    }

    /// Writes it at the front of a frame, back to its sender.
    #[inline(always)]
    pub(crate) fn write_turned<F: Frame>(&self, frame: &mut F) -> Option<()> {
        let first = size_of::<Ethernet>();
        *frame.header_mut(0)? = Ethernet {
            destination: self.ethernet.source,
            source: self.ethernet.destination,
            ethertype: self.ethernet.ethertype,
        };
        if self.count > 0 {
            *frame.header_mut(first)? = self.tags[0];
        }
        if self.count > 1 {
            *frame.header_mut(first + size_of::<VlanTag>())? = self.tags[1];
        }
        Some(())
    }
}

#[inline(always)]
const fn is_tag(kind: [u8; 2]) -> bool {
    matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN)
}

/// Whether an IPv4 header forbids to fragment its packet.
#[inline(always)]
pub(crate) const fn has_dont_fragment(header: &Ipv4) -> bool {
    header.fragment[0] & 0x40 != 0
}
