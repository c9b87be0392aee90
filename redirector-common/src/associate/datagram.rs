//! Datagrams of UDP associations.

use crate::{
    Frame,
    abi::{
        ENDPOINT_NODE_ADDRESS, ENDPOINT_ROUTE, ENDPOINT_SHARED, ENDPOINT_VIP, Endpoint,
        FRAGMENT_FORWARD, FRAGMENT_REPLY, PINHOLE_IN_USE, Pinhole,
    },
    address::Address,
    fragments,
    parse::{Layout, Packet},
    partial,
    process::{Outcome, exceeds},
    rewrite, select,
    stage::Step,
    tables::{FamilyTables, ReturnHop, Tables},
    task::Task,
    too_big,
    verdict::Verdict,
    vip::Vip,
};

/// Decides on a datagram that no listener or node's socket is concerned with.
#[inline(always)]
pub fn datagram<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    tables: &T,
) -> Step {
    let shared = |address: A, kind| {
        tables
            .endpoint(&address.endpoint_key([0; 2], 0))
            .filter(|endpoint| endpoint.kind == kind && endpoint.flags & ENDPOINT_SHARED != 0)
    };
    if let Some(vip) = shared(packet.destination, ENDPOINT_VIP) {
        return to_node(frame, layout, packet, vip, tables);
    }
    if shared(packet.source, ENDPOINT_NODE_ADDRESS).is_some() {
        return to_client(frame, layout, packet, tables);
    }
    Verdict::PassNotOurs.into()
}

/// The pinhole of a client for datagrams to this port of a VIP.
#[inline(always)]
pub fn pinhole_of<A: Address, T: FamilyTables<A>>(
    client: A,
    port: [u8; 2],
    vip: A,
    tables: &T,
) -> Option<Pinhole> {
    let pinhole = tables.pinhole(&client.pinhole_key(port, 0))?;
    let listener = tables.listener(pinhole.listener)?;
    A::read(&listener.address).is(vip).then_some(pinhole)
}

/// A client's datagram to a VIP.
#[inline(always)]
fn to_node<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    vip: &Endpoint,
    tables: &T,
) -> Step {
    let routed = vip.flags & ENDPOINT_ROUTE != 0;
    let port = if routed {
        [0; 2]
    } else {
        packet.destination_port
    };
    let Some(pinhole) = pinhole_of(packet.source, port, packet.destination, tables) else {
        let mark = packet
            .destination
            .pinhole_key(packet.destination_port, PINHOLE_IN_USE);
        return if tables.pinhole(&mark).is_some() {
            Verdict::DropStranger.into()
        } else {
            Verdict::PassNotOurs.into()
        };
    };
    if packet.ttl <= 1 && !routed {
        return Verdict::PassTtl.into();
    }
    let backend = match select::ready(pinhole.backend, tables) {
        Ok(backend) => backend,
        Err(verdict) => return verdict.into(),
    };
    if exceeds(frame, packet, &backend.hop) {
        return too_big::leave(frame, layout.ip(), packet, &backend.hop, tables);
    }
    let length = frame.full_length();
    let node = A::read(&backend.address);
    let rewritten = if routed {
        rewrite::link(frame, &backend.hop)
    } else {
        rewrite::readdress_destination(frame, layout, packet, node, &backend.hop)
    };
    if rewritten.is_none() {
        return Verdict::PassTruncated.into();
    }
    fragments::note(
        packet,
        FRAGMENT_FORWARD,
        pinhole.backend,
        pinhole.listener,
        tables,
    );
    tables.count_forward(pinhole.backend, length, packet);
    let outcome = Outcome {
        verdict: Verdict::ForwardAssociated,
        ifindex: backend.hop.ifindex,
    };
    let ends = (packet.source, node);
    if routed {
        Step::Done(outcome)
    } else {
        send(frame, layout, ends, packet, outcome, tables)
    }
}

/// A node's datagram.
#[inline(always)]
fn to_client<A: Address, L: Layout<A>, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    layout: L,
    packet: &Packet<A>,
    tables: &T,
) -> Step {
    let key = packet.destination.pinhole_key(packet.source_port, 0);
    let Some(pinhole) = tables.pinhole(&key) else {
        return Verdict::PassNotOurs.into();
    };
    let own = tables
        .backend(pinhole.backend)
        .is_some_and(|backend| A::read(&backend.address).is(packet.source));
    let listener = tables.listener(pinhole.listener);
    let Some(listener) = listener.filter(|listener| own && listener.is_set()) else {
        return Verdict::PassNotOurs.into();
    };
    let from = (packet.source, packet.source_port);
    let vip = Vip::of_address(pinhole.listener, listener, from.0);
    let hop = match tables.return_hop(packet.destination, vip.address) {
        ReturnHop::Via(hop) => hop,
        ReturnHop::Local => return Verdict::PassToRelay.into(),
        ReturnHop::Unknown => return Verdict::DropNoReturnHop.into(),
    };
    if packet.ttl <= 1 {
        return Verdict::PassTtl.into();
    }
    if exceeds(frame, packet, &hop) {
        return too_big::leave(frame, layout.ip(), packet, &hop, tables);
    }
    let length = frame.full_length();
    if rewrite::to_client(frame, layout, &vip, &hop).is_none() {
        return Verdict::PassTruncated.into();
    }
    fragments::note(
        packet,
        FRAGMENT_REPLY,
        pinhole.backend,
        pinhole.listener,
        tables,
    );
    tables.count_reply(pinhole.backend, length, 0);
    let outcome = Outcome {
        verdict: Verdict::ReplyAssociated,
        ifindex: hop.ifindex,
    };
    let ends = (vip.address, packet.destination);
    send(frame, layout, ends, packet, outcome, tables)
}

/// Sends a datagram that now goes from the first to the second of `ends`, with its checksum complete.
#[inline(always)]
fn send<A: Address, L: Layout<A>, F: Frame, T: Tables>(
    frame: &mut F,
    layout: L,
    ends: (A, A),
    packet: &Packet<A>,
    outcome: Outcome,
    tables: &T,
) -> Step {
    let mut task = Task::send(layout, packet, outcome);
    if partial::is_partial(packet, tables)
        && partial::prepare(frame, layout, ends, packet, &mut task, tables).is_none()
    {
        return Verdict::DropPartialChecksum.into();
    }
    if task.flags == 0 {
        Step::Done(outcome)
    } else {
        task.leave::<A, _>(tables)
    }
}
