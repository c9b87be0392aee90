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
    tables::Tables,
    verdict::Verdict,
    wire::{Ethernet, Icmp, Ipv4, VlanTag},
};

/// Answers a packet whose IP header is at `ip`. One in IPv4 that may be fragmented would have to be, which is left
/// out; its sender is answered nothing then, nor is that of a fragment.
#[inline(always)]
pub fn answer<A: Address, F: Frame, T: Tables>(
    frame: &mut F,
    ip: usize,
    packet: &Packet<A>,
    hop: &NextHop,
    tables: &T,
) -> Outcome {
    if packet.fragment.is_some() || !A::forbids_fragments(frame, ip) {
        return Verdict::DropTooBig.into();
    }
    let Some(link) = Link::read(frame, ip) else {
        return Verdict::PassTruncated.into();
    };
    let quoted = A::QUOTED;
    let headers = size_of::<A::Header>() + size_of::<Icmp>();
    if frame.full_length() < ip + quoted || !frame.make_room(headers, ip + headers + quoted) {
        return Verdict::DropTooBig.into();
    }
    // From here on the packet is not what it was: there is no way back.
    let written = link
        .write_turned(frame)
        .and_then(|()| A::write_too_big(frame, ip, packet, hop.mtu));
    if written.is_none() {
        return Verdict::DropTooBig.into();
    }
    Outcome {
        verdict: Verdict::AnswerTooBig,
        ifindex: tables.ingress(),
    }
}

/// The link-layer header, with up to two tags.
struct Link {
    ethernet: Ethernet,
    tags: [VlanTag; 2],
    count: usize,
}

impl Link {
    #[inline(always)]
    fn read<F: Frame>(frame: &F, ip: usize) -> Option<Self> {
        let first = size_of::<Ethernet>();
        let second = first + size_of::<VlanTag>();
        let mut link = Self {
            ethernet: *frame.header(0)?,
            tags: [VlanTag::default(); 2],
            count: 0,
        };
        if ip > first {
            link.tags[0] = *frame.header(first)?;
            link.count = 1;
        }
        if ip > second {
            link.tags[1] = *frame.header(second)?;
            link.count = 2;
        }
        Some(link)
    }

    /// Writes it at the front of a frame, back to its sender.
    #[inline(always)]
    fn write_turned<F: Frame>(&self, frame: &mut F) -> Option<()> {
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

/// Whether an IPv4 header forbids to fragment its packet.
#[inline(always)]
pub(crate) const fn has_dont_fragment(header: &Ipv4) -> bool {
    header.fragment[0] & 0x40 != 0
}
