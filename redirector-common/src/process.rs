//! One packet, from the first byte to the verdict.
//!
//! [`enter`] is the first program, for nearly every packet; what it does not know goes on in another one, which
//! starts anew from the first byte. All lead to the same [`forward`] and [`reply`]. See [`Stage`].

use crate::{
    Frame,
    abi::{
        Backend, ENDPOINT_DIRECT, ENDPOINT_REFUSES, ENDPOINT_ROUTE, ENDPOINT_TRACKED, Endpoint,
        FRAGMENT_FORWARD, FRAGMENT_REPLY, NextHop,
    },
    address::Address,
    associate,
    classify::{Class, classify},
    fragments, icmp, learn, opening,
    parse::{self, Fragment, Layout, Offsets, Packet, Plain},
    partial, refuse, rewrite, select,
    stage::{Stage, Step},
    tables::{AllTables, FamilyTables, ReturnHop},
    task::{TASK_FROM_CLIENT, TASK_FROM_NODE, TASK_ROUTED, Task},
    too_big,
    verdict::Verdict,
    vip::Vip,
    wire::{Ethernet, ethertype, protocol, tcp_flag},
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

/// Decides on a frame, and rewrites it if it is to be sent on: all programs, one after the other.
#[inline(always)]
pub fn process<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Outcome {
    let mut step = enter(frame, tables);
    loop {
        step = match step {
            Step::Done(outcome) => return outcome,
            Step::Go(Stage::Ipv4) => ip::<[u8; 4], _, _>(frame, tables),
            Step::Go(Stage::Ipv6) => ip::<[u8; 16], _, _>(frame, tables),
            Step::Go(Stage::Plain6) => plain6(frame, tables),
            Step::Go(Stage::Tcp4) => transport::<[u8; 4], _, _>(frame, protocol::TCP, tables),
            Step::Go(Stage::Tcp6) => transport::<[u8; 16], _, _>(frame, protocol::TCP, tables),
            Step::Go(Stage::Udp4) => transport::<[u8; 4], _, _>(frame, protocol::UDP, tables),
            Step::Go(Stage::Udp6) => transport::<[u8; 16], _, _>(frame, protocol::UDP, tables),
            Step::Go(Stage::Icmp4) => icmp::translate::<[u8; 4], _, _>(frame, tables).into(),
            Step::Go(Stage::Icmp6) => icmp::translate::<[u8; 16], _, _>(frame, tables).into(),
            Step::Go(Stage::Negotiate4) => associate::negotiate::<[u8; 4], _, _>(frame, tables),
            Step::Go(Stage::Negotiate6) => associate::negotiate::<[u8; 16], _, _>(frame, tables),
            Step::Go(Stage::Complete) => partial::complete(frame, tables).into(),
            Step::Go(Stage::TooBig4) => too_big::answer::<[u8; 4], _, _>(frame, tables).into(),
            Step::Go(Stage::TooBig6) => too_big::answer::<[u8; 16], _, _>(frame, tables).into(),
            Step::Go(Stage::Refuse4) => refuse::answer::<[u8; 4], _, _>(frame, tables).into(),
            Step::Go(Stage::Refuse6) => refuse::answer::<[u8; 16], _, _>(frame, tables).into(),
        };
    }
}

/// The first program: decides on plain TCP in IPv4.
#[inline(always)]
pub fn enter<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Step {
    match parse::plain4(frame) {
        Some(packet) => decide(frame, Plain, &packet, tables),
        None => match parse::link(frame) {
            Ok((ethertype::IPV4, _)) => Step::Go(Stage::Ipv4),
            Ok((ethertype::IPV6, _)) => Step::Go(Stage::Plain6),
            Ok(_) => Verdict::PassNotIp.into(),
            Err(verdict) => verdict.into(),
        },
    }
}

/// The program for plain TCP in IPv6.
#[inline(always)]
pub fn plain6<F: Frame, T: FamilyTables<[u8; 16]>>(frame: &mut F, tables: &T) -> Step {
    let mut room = None;
    match tables.hold(&mut room, || parse::plain6(frame)) {
        Some(packet) => decide(frame, Plain, packet, tables),
        None => Step::Go(Stage::Ipv6),
    }
}

/// The program for any packet of a family: finds out what it carries.
#[inline(always)]
pub fn ip<A: Address, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Step {
    let read = parse::link(frame).and_then(|(_, offset)| A::parse(frame, offset, false));
    let ip = match read {
        Ok(ip) => ip,
        Err(verdict) => return verdict.into(),
    };
    let protocol = ip.protocol;
    if let Fragment::Later(identification) = ip.fragment {
        let mut room = None;
        return match tables.hold(&mut room, || Some(ip)) {
            Some(ip) => fragments::later(frame, ip, identification, tables).into(),
            None => Verdict::DropNoStage.into(),
        };
    }
    tables.leave_ip(ip);
    match protocol {
        protocol::TCP => Step::Go(A::TCP_STAGE),
        protocol::UDP => Step::Go(A::UDP_STAGE),
        other if other == A::ICMP => Step::Go(A::ICMP_STAGE),
        _ => Verdict::PassProtocol.into(),
    }
}

/// The program for TCP or UDP, in a packet that another has read.
#[inline(always)]
pub fn transport<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    protocol: u8,
    tables: &T,
) -> Step {
    let mut room = None;
    let Some(ip) = tables.left_ip(&mut room) else {
        return Verdict::DropNoStage.into();
    };
    let packet = match parse::transport(frame, ip, protocol) {
        Ok(packet) => packet,
        Err(verdict) => return verdict.into(),
    };
    let layout = Offsets {
        ip: ip.ip(),
        transport: ip.transport(),
        protocol,
    };
    let mut room = None;
    let Some(packet) = tables.hold(&mut room, || Some(packet)) else {
        return Verdict::DropNoStage.into();
    };
    let step = decide(frame, layout, packet, tables);
    fragments::note_pass(packet, step, tables);
    step
}

/// A segment or datagram.
#[inline(always)]
fn decide<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    tables: &T,
) -> Step {
    match classify(packet, layout.protocol(), tables) {
        Class::ToListener(listener) => forward(frame, layout, packet, listener, tables),
        Class::FromNode(node) => reply(frame, layout, packet, node, tables),
        Class::ToNode(node) if node.flags & ENDPOINT_DIRECT != 0 => Verdict::PassDirect.into(),
        // The relay's own health checks leave through the kernel and never come in here, so this is a
        // client's attempt to avoid the VIP.
        Class::ToNode(_) if layout.protocol() == protocol::TCP => Verdict::DropDirectTcp.into(),
        Class::ToNode(_) | Class::NotOurs if layout.protocol() == protocol::UDP => {
            associate::datagram(frame, layout, packet, tables)
        }
        Class::ToNode(_) | Class::NotOurs => Verdict::PassNotOurs.into(),
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
) -> Step {
    if L::PLAIN
        && (listener.flags & (ENDPOINT_TRACKED | ENDPOINT_ROUTE) != 0
            || partial::is_partial(packet, tables))
    {
        return Step::Go(A::STAGE);
    }
    let routed = listener.flags & ENDPOINT_ROUTE != 0;
    if packet.ttl <= 1 && !routed {
        return Verdict::PassTtl.into();
    }
    let Some(table) = tables.slot_table(listener.redirect) else {
        return Verdict::DropNoTable.into();
    };
    let slot = table.slots[usize::from(table.slot_of(packet.source))];
    // Nearly every packet takes a way of its own, on which the optimiser knows all this and has registers to spare.
    if L::PLAIN
        && !slot.is_split()
        && !packet.is_syn()
        && let Ok(backend) = select::ready(slot.now, tables)
        && !exceeds(frame, packet, &backend.hop)
    {
        let to = (slot.now, backend);
        return send(
            frame,
            layout,
            packet,
            listener,
            to,
            Verdict::ForwardSettled,
            tables,
        );
    }
    let (id, verdict) = if slot.is_split() || listener.flags & ENDPOINT_TRACKED != 0 {
        select::select(slot, table, packet, listener, tables)
    } else {
        (slot.now, Verdict::ForwardSettled)
    };
    let backend = match select::ready(id, tables) {
        Ok(backend) => backend,
        Err(Verdict::DropNoBackend) if listener.flags & ENDPOINT_REFUSES != 0 => {
            return refuse::leave(layout, packet, tables);
        }
        Err(verdict) => return verdict.into(),
    };
    if exceeds(frame, packet, &backend.hop) {
        return if L::PLAIN {
            Step::Go(A::STAGE)
        } else {
            too_big::leave(frame, layout.ip(), packet, &backend.hop, tables)
        };
    }
    if packet.is_syn()
        && let Some(ethernet) = frame.header::<Ethernet>(0)
    {
        tables.note_way_back(packet.source, ethernet);
        if !routed {
            opening::asked(id, packet, tables);
        }
    }
    if !L::PLAIN && listener.flags & ENDPOINT_TRACKED != 0 && verdict != Verdict::ForwardFlow {
        select::note_reverse(id, packet, listener, tables);
    }
    send(
        frame,
        layout,
        packet,
        listener,
        (id, backend),
        verdict,
        tables,
    )
}

/// Sends a client's packet to the backend that was found for it.
#[inline(always)]
fn send<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    listener: &Endpoint,
    (id, backend): (u16, &Backend),
    verdict: Verdict,
    tables: &T,
) -> Step {
    let routed = listener.flags & ENDPOINT_ROUTE != 0;
    let length = frame.full_length();
    let rewritten = if routed {
        rewrite::link(frame, &backend.hop)
    } else {
        rewrite::to_backend(frame, layout, listener, backend)
    };
    if rewritten.is_none() {
        return Verdict::PassTruncated.into();
    }
    fragments::note(packet, FRAGMENT_FORWARD, id, listener.listener, tables);
    tables.count_forward(id, length, packet);
    let outcome = Outcome {
        verdict,
        ifindex: backend.hop.ifindex,
    };
    let mut task = Task::send(layout, packet, outcome);
    if !L::PLAIN && !routed && partial::is_partial(packet, tables) {
        let ends = (packet.source, A::read(&backend.address));
        if partial::prepare(frame, layout, ends, packet, &mut task, tables).is_none() {
            return Verdict::DropPartialChecksum.into();
        }
    }
    let client = (packet.source, packet.source_port);
    if layout.protocol() == protocol::TCP
        && associate::concerns(listener.flags, client, packet, tables)
    {
        task.flags |= TASK_FROM_CLIENT | if routed { TASK_ROUTED } else { 0 };
        task.listener = listener.listener;
        task.backend = id;
    }
    if task.flags == 0 {
        Step::Done(outcome)
    } else {
        task.leave::<A, _>(tables)
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
) -> Step {
    if packet.is_syn() {
        // A node that connects to somebody from its SOCKS port; no answer to anybody.
        return Verdict::PassNotOurs.into();
    }
    let client = (packet.destination, packet.destination_port);
    if L::PLAIN && (node.flags & ENDPOINT_TRACKED != 0 || partial::is_partial(packet, tables)) {
        return Step::Go(A::STAGE);
    }
    let from = (packet.source, packet.source_port);
    let vip = match Vip::of(node, from, client, tables) {
        Ok(vip) => vip,
        Err(verdict) => return verdict.into(),
    };
    // As in `forward`.
    if L::PLAIN
        && packet.ttl > 1
        && !packet.has(tcp_flag::SYN | tcp_flag::RST)
        && let Some(table) = tables.slot_table(vip.redirect)
        && table.split_slots == 0
        && let Some(hop) = tables.mirrored_hop(packet.destination)
        && !exceeds(frame, packet, hop)
    {
        return send_back(frame, layout, packet, node, &vip, hop, tables);
    }
    let hop = match tables.return_hop(packet.destination, vip.address) {
        ReturnHop::Via(hop) => hop,
        ReturnHop::Local => return Verdict::PassToRelay.into(),
        ReturnHop::Unknown => return Verdict::DropNoReturnHop.into(),
    };
    if packet.ttl <= 1 {
        return Verdict::PassTtl.into();
    }
    let Some(table) = tables.slot_table(vip.redirect) else {
        return Verdict::DropNoTable.into();
    };
    if exceeds(frame, packet, &hop) {
        return if L::PLAIN {
            Step::Go(A::STAGE)
        } else {
            too_big::leave(frame, layout.ip(), packet, &hop, tables)
        };
    }
    let tracked = node.flags & ENDPOINT_TRACKED != 0;
    if tracked
        || table.split_slots != 0
            && table.slots[usize::from(table.slot_of(packet.destination))].is_split()
    {
        learn::learn(node.backend, packet, vip.listener, tracked, tables);
    }
    send_back(frame, layout, packet, node, &vip, &hop, tables)
}

/// Sends a node's packet to the client.
#[inline(always)]
fn send_back<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    node: &Endpoint,
    vip: &Vip<A>,
    hop: &NextHop,
    tables: &T,
) -> Step {
    let client = (packet.destination, packet.destination_port);
    let length = frame.full_length();
    if rewrite::to_client(frame, layout, vip, hop).is_none() {
        return Verdict::PassTruncated.into();
    }
    fragments::note(packet, FRAGMENT_REPLY, node.backend, vip.listener, tables);
    if tables.count_reply(node.backend, length, packet.flags) {
        opening::answered(node.backend, packet, tables);
    }
    let outcome = Outcome {
        verdict: Verdict::Reply,
        ifindex: hop.ifindex,
    };
    let mut task = Task::send(layout, packet, outcome);
    if !L::PLAIN && partial::is_partial(packet, tables) {
        let ends = (vip.address, packet.destination);
        if partial::prepare(frame, layout, ends, packet, &mut task, tables).is_none() {
            return Verdict::DropPartialChecksum.into();
        }
    }
    if layout.protocol() == protocol::TCP && associate::concerns(node.flags, client, packet, tables)
    {
        task.flags |= TASK_FROM_NODE;
        task.listener = vip.listener;
        task.backend = node.backend;
    }
    if task.flags == 0 {
        Step::Done(outcome)
    } else {
        task.leave::<A, _>(tables)
    }
}

/// Whether a packet is larger than what the link to its next hop takes, or each segment that the kernel makes of it.
#[inline(always)]
pub(crate) fn exceeds<A, F: Frame>(frame: &F, packet: &Packet<A>, hop: &NextHop) -> bool {
    let mtu = u32::from(hop.mtu);
    let segment = |data| packet.length - u32::from(packet.segment - packet.header) + data;
    mtu != 0 && packet.length > mtu && frame.segment_data().is_none_or(|data| segment(data) > mtu)
}
