//! UDP ASSOCIATE through the shared address (RFC 1928, sections 6 and 7).
//!
//! Dante answers the request with an address of its own, which clients cannot or should not reach. So on a shared
//! listener the negotiation is followed: [`negotiation`] reads the client's bytes up to its command, and the node's up
//! to its reply; in exactly that reply the node's address becomes the VIP, and a pinhole is opened for the
//! client's datagrams, which [`datagram`] sends through it in both directions. It is closed with the control
//! connection.
//!
//! Nothing is believed that has not the right sequence number, and a pinhole opens only by a node's own reply. What
//! was missed, because a segment came too early or the client speaks something else, is left as it is: that
//! association then goes as it would without us.

mod datagram;
mod negotiation;

pub use datagram::{datagram, pinhole_of};
pub use negotiation::Expect;

use crate::{
    Frame,
    abi::{Association, ENDPOINT_SHARED, Handshake, NEGOTIATING_CELLS, PINHOLE_IN_USE, Pinhole},
    address::Address,
    checksum,
    parse::{self, OFFSETS, Packet},
    stage::{Stage, Step},
    tables::{FamilyTables, Tables},
    task::{TASK_COMPLETE, TASK_FROM_CLIENT, TASK_ROUTED, Task},
    verdict::{Event, Verdict},
    wire::{Tcp, tcp_flag},
};

/// How long a connection may take from its SYN-ACK to its last word of negotiation, seconds. Dante gives it 30
/// (`timeout.negotiate`).
const NEGOTIATION: u16 = 300;

/// Whether a TCP segment of a `client` to or from an endpoint with these flags may be part of a negotiation, or end an
/// association. Asked of every packet, so it costs one array load at the most.
#[inline(always)]
pub fn concerns<A: Address, T: Tables>(
    endpoint: u16,
    client: (A, [u8; 2]),
    packet: &Packet<A>,
    tables: &T,
) -> bool {
    endpoint & ENDPOINT_SHARED != 0
        && (packet.has(tcp_flag::SYN | tcp_flag::FIN | tcp_flag::RST)
            || packet.has_data()
                && is_negotiating(tables.negotiating(cell(client)), tables.epoch()))
}

/// Address and port as they are in memory: to swap their bytes would take longer than all the rest. They are added, since
/// verifiers before Linux 6.9 know no bounds of what XOR gives and then see an index beyond the cells.
#[inline(always)]
fn cell<A: Address>(client: (A, [u8; 2])) -> u16 {
    const { assert!(NEGOTIATING_CELLS == 1 << 12) };
    client.0.low().wrapping_add(u16::from_ne_bytes(client.1)) >> 4
}

/// The clock as it is in a cell; it never gives 0 for long.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a clock of 16 bits")]
const fn stamp(epoch: u32) -> u16 {
    epoch.wrapping_add(1) as u16
}

#[inline(always)]
const fn is_negotiating(cell: u32, epoch: u32) -> bool {
    cell != 0 && stamp(epoch).wrapping_sub((cell >> 16) as u16) <= NEGOTIATION
}

/// Tells the connections of a cell apart; never 0.
#[inline(always)]
fn tag<A: Address>((client, port): (A, [u8; 2]), listener: u16) -> u32 {
    let rest = u64::from(listener) + u64::from(u16::from_ne_bytes(port));
    u32::from(checksum::fold_wide(client.wide_sum() + rest))
}

#[inline(always)]
fn begin<A: Address, T: Tables>(client: (A, [u8; 2]), listener: u16, tables: &T) {
    let epoch = tables.epoch();
    let known = tables.negotiating(cell(client));
    let tag = tag(client, listener);
    let alone = !is_negotiating(known, epoch) || known & 0xffff == tag;
    let value = u32::from(stamp(epoch)) << 16 | if alone { tag } else { 0 };
    tables.set_negotiating(cell(client), value);
}

#[inline(always)]
fn end<A: Address, T: FamilyTables<A>>(
    client: (A, [u8; 2]),
    listener: u16,
    key: &A::FlowKey,
    tables: &T,
) {
    tables.forget_handshake(key);
    let known = tables.negotiating(cell(client));
    if known & 0xffff == tag(client, listener) {
        tables.set_negotiating(cell(client), 0);
    }
}

/// The program that follows the negotiation of the [`Task`]'s connection. Its frame has been rewritten already.
#[inline(always)]
pub fn negotiate<A: Address, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Step {
    let task = tables.task();
    let Some(outcome) = task.outcome() else {
        return Verdict::DropNoStage.into();
    };
    let transport = usize::from(task.transport) % OFFSETS;
    if let Some(packet) = read(frame, &task, transport) {
        let mut room = None;
        let Some(packet) = tables.hold(&mut room, || Some(packet)) else {
            return Verdict::DropNoStage.into();
        };
        if task.flags & TASK_FROM_CLIENT != 0 {
            from_client(frame, transport, packet, &task, tables);
        } else if from_node(frame, transport, packet, &task, tables).is_none() {
            return Verdict::DropNoStage.into();
        }
    }
    if task.flags & TASK_COMPLETE == 0 {
        Step::Done(outcome)
    } else {
        Step::Go(Stage::Complete)
    }
}

/// Reads the segment again.
#[inline(always)]
fn read<A: Address, F: Frame>(frame: &F, task: &Task, transport: usize) -> Option<Packet<A>> {
    let (source, destination) = A::ends(frame, usize::from(task.ip) % OFFSETS)?;
    let segment = parse::of_segment(frame.header::<Tcp>(transport)?, task.segment)?;
    Some(Packet {
        source,
        destination,
        ..segment
    })
}

/// Follows a client's segment to a shared listener.
#[inline(always)]
fn from_client<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &F,
    transport: usize,
    packet: &Packet<A>,
    task: &Task,
    tables: &T,
) {
    let client = (packet.source, packet.source_port);
    let key = client.0.flow_key(client.1, task.listener);
    let routed = task.flags & TASK_ROUTED != 0;
    if packet.is_syn() {
        // Of a node that is answered past us only the client is heard.
        if routed {
            note_start(client, task.listener, (packet.sequence, 0), &key, tables);
        }
        return;
    }
    if packet.has(tcp_flag::RST | tcp_flag::FIN) {
        if let Some(association) = tables.association(&key)
            && (routed || packet.has(tcp_flag::RST) && packet.sequence == association.client_next)
        {
            close(client, task.listener, &key, &association, tables);
        }
        return;
    }
    if !packet.has_data() {
        return;
    }
    let Some(handshake) = tables.handshake(&key) else {
        return;
    };
    let Some(read) = negotiation::read_client(frame, transport, packet, handshake) else {
        tables.count(Event::NegotiationLost);
        end(client, task.listener, &key, tables);
        return;
    };
    if read.expect == Expect::Other as u8 {
        end(client, task.listener, &key, tables);
    } else if routed && read.expect == Expect::Associate as u8 {
        open(
            client.0,
            &key,
            pinhole(client, task, tables),
            association([0; 2], 0, task, tables),
            tables,
        );
        end(client, task.listener, &key, tables);
    } else {
        tables.note_handshake(&key, read);
    }
}

/// Follows a segment of a node to a client of a shared listener. The node's address in a reply that grants a UDP
/// ASSOCIATE becomes the VIP, which the segment now comes from. `None` can't happen.
#[inline(always)]
fn from_node<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    transport: usize,
    packet: &Packet<A>,
    task: &Task,
    tables: &T,
) -> Option<()> {
    let client = (packet.destination, packet.destination_port);
    let key = client.0.flow_key(client.1, task.listener);
    if packet.is_syn_ack() {
        // A port that is used again: whatever it had with this node is over. Another node, woken by a SYN that anybody
        // can send in the client's name, says nothing about it.
        if let Some(association) = tables.association(&key)
            && association.backend == task.backend
        {
            close(client, task.listener, &key, &association, tables);
        }
        let acknowledged = packet.acknowledgement.wrapping_sub(1);
        let syns = (acknowledged, packet.sequence);
        note_start(client, task.listener, syns, &key, tables);
        return Some(());
    }
    if packet.has(tcp_flag::RST | tcp_flag::FIN)
        && let Some(association) = tables.association(&key)
        && association.backend == task.backend
    {
        close(client, task.listener, &key, &association, tables);
        return Some(());
    }
    if !packet.has_data() {
        return Some(());
    }
    let Some(handshake) = tables.handshake(&key) else {
        return Some(());
    };
    let (handshake, reply) = negotiation::read_node(frame, transport, packet, handshake);
    tables.note_handshake(&key, handshake);
    let Some(reply) = reply else {
        return Some(());
    };
    let node = A::read(&tables.backend(task.backend)?.address);
    let at = transport + usize::from(reply.offset) % OFFSETS;
    let bound = A::load(frame.header::<A>(at)?);
    let port = *frame.header::<[u8; 2]>(at + size_of::<A>())?;
    let to_us = bound.is(node) || bound.is(A::zeroed());
    let granted = association(port, packet.acknowledgement, task, tables);
    if !to_us
        || !open(
            client.0,
            &key,
            pinhole(client, task, tables),
            granted,
            tables,
        )
    {
        return Some(());
    }
    let mark = packet.source.pinhole_key(port, PINHOLE_IN_USE);
    tables.open_pinhole(&mark, Pinhole::default());
    // An unspecified address as well: not every client takes it for the one that it knows.
    A::put(frame.header_mut::<A>(at)?, packet.source);
    let delta = bound.removed() + packet.source.added();
    fix_checksum(frame, transport, reply.offset, delta, task)
}

/// Brings the checksum up to date with a change `offset` bytes into the segment, unless it is going to be made anew.
#[inline(always)]
fn fix_checksum<F: Frame>(
    frame: &mut F,
    transport: usize,
    offset: u16,
    delta: u32,
    task: &Task,
) -> Option<()> {
    if task.flags & TASK_COMPLETE != 0 {
        return Some(());
    }
    // RFC 1071, section 2(B): the sum of what is shifted by a byte has its bytes exchanged.
    let delta = checksum::fold(delta);
    let delta = if offset.is_multiple_of(2) {
        delta
    } else {
        delta.swap_bytes()
    };
    let tcp = frame.header_mut::<Tcp>(transport)?;
    tcp.checksum = checksum::update(tcp.checksum, u32::from(delta));
    Some(())
}

#[inline(always)]
fn pinhole<A: Address, T: Tables>(client: (A, [u8; 2]), task: &Task, tables: &T) -> Pinhole {
    Pinhole {
        backend: task.backend,
        listener: task.listener,
        control: client.1,
        reserved: [0; 3],
        seen: tables.epoch(),
    }
}

#[inline(always)]
fn association<T: Tables>(port: [u8; 2], client_next: u32, task: &Task, tables: &T) -> Association {
    Association {
        port,
        backend: task.backend,
        opened: tables.epoch(),
        client_next,
        reserved: 0,
    }
}

/// Begins to follow a connection whose SYNs had these sequence numbers.
#[inline(always)]
fn note_start<A: Address, T: FamilyTables<A>>(
    client: (A, [u8; 2]),
    listener: u16,
    (client_syn, node_syn): (u32, u32),
    key: &A::FlowKey,
    tables: &T,
) {
    let handshake = Handshake {
        client_next: client_syn.wrapping_add(1),
        node_first: node_syn.wrapping_add(1),
        skip: 0,
        expect: Expect::Greeting as u8,
        reply_at: 0,
        reserved: 0,
    };
    tables.note_handshake(key, handshake);
    begin(client, listener, tables);
}

/// Opens the pinhole of an association, whose reply may come again.
#[inline(always)]
fn open<A: Address, T: FamilyTables<A>>(
    client: A,
    key: &A::FlowKey,
    pinhole: Pinhole,
    association: Association,
    tables: &T,
) -> bool {
    let hole = client.pinhole_key(association.port, 0);
    let known = tables.pinhole(&hole);
    let again = known
        .is_some_and(|known| known.backend == pinhole.backend && known.control == pinhole.control);
    if !tables.note_association(key, association) || !tables.open_pinhole(&hole, pinhole) {
        tables.forget_association(key);
        tables.count(Event::AssociationTableFull);
        return false;
    }
    if !again {
        tables.count(Event::AssociationOpened);
        if known.is_some() {
            tables.count(Event::PinholeReplaced);
        }
    }
    true
}

/// Closes an association.
#[inline(always)]
fn close<A: Address, T: FamilyTables<A>>(
    client: (A, [u8; 2]),
    listener: u16,
    key: &A::FlowKey,
    association: &Association,
    tables: &T,
) {
    let hole = client.0.pinhole_key(association.port, 0);
    let own =
        |pinhole: &Pinhole| pinhole.backend == association.backend && pinhole.control == client.1;
    if tables.pinhole(&hole).as_ref().is_some_and(own) {
        tables.close_pinhole(&hole);
    }
    tables.forget_association(key);
    end(client, listener, key, tables);
    tables.count(Event::AssociationClosed);
}
