//! One packet, from the first byte to the verdict.
//!
//! [`plain`] is for nearly every packet, and as fast as it gets; what it does not know [`general`] does. Both lead
//! to the same [`forward`] and [`reply`].

use crate::{
    Frame,
    abi::{BACKEND_NEXT_HOP, Endpoint, FRAGMENT_FORWARD, FRAGMENT_REPLY},
    address::Address,
    classify::{Class, classify},
    fragments, hash, learn,
    parse::{self, Fragment, IpPacket, Layout, Offsets, Packet, Plain},
    rewrite, select,
    tables::{AllTables, FamilyTables, ReturnHop},
    verdict::Verdict,
    wire::{Ethernet, ethertype, protocol},
};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why; [`Verdict::action`] says what is to be done.
    pub verdict: Verdict,
    /// The interface to send it by, when it is to be sent.
    pub ifindex: u32,
}

impl From<Verdict> for Outcome {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            ifindex: 0,
        }
    }
}

/// Decides on a frame, and rewrites it if it is to be sent on.
#[inline(always)]
pub fn process<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Outcome {
    match plain(frame, tables) {
        Some(outcome) => outcome,
        None => general(frame, tables),
    }
}

/// Decides on a plain TCP segment in IPv4; `None` when the frame is none.
#[inline(always)]
pub fn plain<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Option<Outcome> {
    let packet = parse::plain4(frame)?;
    Some(decide(frame, Plain, &packet, tables))
}

/// Decides on any frame.
#[inline(always)]
pub fn general<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Outcome {
    match parse::link(frame) {
        Ok((ethertype::IPV4, offset)) => ipv4(frame, offset, tables),
        Ok((ethertype::IPV6, _)) => Verdict::PassIpv6.into(),
        Ok(_) => Verdict::PassNotIp.into(),
        Err(verdict) => verdict.into(),
    }
}

/// An IPv4 packet at `offset`. A function of its own: with its callers it has 512 bytes of stack.
#[inline(never)]
fn ipv4<F: Frame, T: AllTables>(frame: &mut F, offset: usize, tables: &T) -> Outcome {
    match parse::ipv4(frame, offset) {
        Ok(ip) => any(frame, &ip, tables),
        Err(verdict) => verdict.into(),
    }
}

/// Any IP packet.
#[inline(always)]
fn any<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    ip: &IpPacket<A>,
    tables: &T,
) -> Outcome {
    if let Fragment::Later(identification) = ip.fragment {
        return fragments::later(frame, ip, identification, tables);
    }
    match parse::transport(frame, ip) {
        Ok(packet) => {
            let layout = Offsets {
                ip: ip.ip,
                transport: ip.transport,
            };
            decide(frame, layout, &packet, tables)
        }
        Err(verdict) => verdict.into(),
    }
}

/// A segment or datagram.
#[inline(always)]
fn decide<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    tables: &T,
) -> Outcome {
    match classify(packet, tables) {
        Class::ToListener(listener) => forward(frame, layout, packet, listener, tables),
        Class::FromNode(node) => reply(frame, layout, packet, node, tables),
        // The relay's own health checks leave through the kernel and never come in here, so this is a
        // client's attempt to avoid the VIP.
        Class::ToNode if packet.protocol == protocol::TCP => Verdict::DropDirectTcp.into(),
        Class::ToNodeAllowed => Verdict::PassDirect.into(),
        Class::ToNode | Class::NotOurs => Verdict::PassNotOurs.into(),
    }
}

/// A client's packet on its way to a node.
#[inline(always)]
fn forward<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    listener: &Endpoint,
    tables: &T,
) -> Outcome {
    if packet.ttl <= 1 {
        return Verdict::PassTtl.into();
    }
    let Some(table) = tables.slot_table(listener.redirect) else {
        return Verdict::DropNoTable.into();
    };
    let slot = table.slots[usize::from(hash::slot_of(table.key, packet.source))];
    let (id, verdict) = if slot.is_split() {
        let key = packet
            .source
            .flow_key(packet.source_port, listener.listener);
        select::select(slot, table, packet, &key, tables)
    } else {
        (slot.now, Verdict::ForwardSettled)
    };
    if id == 0 {
        return Verdict::DropNoBackend.into();
    }
    let Some(backend) = tables.backend(id) else {
        return Verdict::DropNoBackend.into();
    };
    if backend.flags & BACKEND_NEXT_HOP == 0 {
        return if backend.is_set() {
            Verdict::DropNoNextHop.into()
        } else {
            Verdict::DropNoBackend.into()
        };
    }
    if packet.is_syn()
        && let Some(ethernet) = frame.header::<Ethernet>(0)
    {
        tables.note_way_back(packet.source, ethernet);
    }
    let length = frame.full_length();
    if rewrite::to_backend(frame, layout, packet, listener, backend).is_none() {
        return Verdict::PassTruncated.into();
    }
    fragments::note(packet, FRAGMENT_FORWARD, id, listener.listener, tables);
    tables.count_forward(id, length, packet);
    Outcome {
        verdict,
        ifindex: backend.hop.ifindex,
    }
}

/// A node's packet on its way to a client.
#[inline(always)]
fn reply<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    node: &Endpoint,
    tables: &T,
) -> Outcome {
    if packet.is_syn() {
        // A node that connects to somebody from its SOCKS port; no answer to anybody.
        return Verdict::PassNotOurs.into();
    }
    let hop = match tables.return_hop(packet.destination, A::read(&node.address)) {
        ReturnHop::Via(hop) => hop,
        ReturnHop::Local => return Verdict::PassToRelay.into(),
        ReturnHop::Unknown => return Verdict::DropNoReturnHop.into(),
    };
    if packet.ttl <= 1 {
        return Verdict::PassTtl.into();
    }
    let Some(table) = tables.slot_table(node.redirect) else {
        return Verdict::DropNoTable.into();
    };
    if table.split_slots != 0 {
        let slot = table.slots[usize::from(hash::slot_of(table.key, packet.destination))];
        if slot.is_split() {
            let key = packet
                .destination
                .flow_key(packet.destination_port, node.listener);
            learn::learn(node.backend, packet, &key, tables);
        }
    }
    let length = frame.full_length();
    if rewrite::to_client(frame, layout, packet, node, &hop).is_none() {
        return Verdict::PassTruncated.into();
    }
    fragments::note(packet, FRAGMENT_REPLY, node.backend, node.listener, tables);
    tables.count_reply(node.backend, length, packet.is_syn_ack());
    Outcome {
        verdict: Verdict::Reply,
        ifindex: hop.ifindex,
    }
}
