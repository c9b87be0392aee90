//! Client's packet → backend.

use crate::{
    abi::{
        BACKEND_DEAD, BACKEND_NEXT_HOP, Backend, EMBRYO_ESTABLISHED, ENDPOINT_ROUTE,
        ENDPOINT_TRACKED, Embryo, Endpoint, FLOW_CONTESTED, FLOW_FIN_CLIENT, FLOW_REVERSE, Flow,
        MODE_SOURCE_HASH, Slot, SlotTable,
    },
    address::Address,
    choose::{choose, drawn},
    parse::Packet,
    tables::{FamilyTables, Tables},
    verdict::{Event, Verdict},
    wire::{protocol, tcp_flag},
};

/// How far a client's acknowledgement may be beyond the node's SYN-ACK and still complete the handshake. A
/// node speaks before it only with TCP Fast Open (RFC 7413), which may send a whole window. It is small in
/// the space of 2^32 numbers, so that a client that lives on another node, woken by a spoofed SYN, is not
/// taken for one that answers.
pub const HANDSHAKE_WINDOW: u32 = 1 << 16;

/// The backend of a client's packet in a split slot or to a tracked listener, and how it was found.
#[inline(always)]
pub fn select<A: Address, T: FamilyTables<A>>(
    slot: Slot,
    table: &SlotTable,
    packet: &Packet<A>,
    listener: &Endpoint,
    tables: &T,
) -> (u16, Verdict) {
    let key = packet
        .source
        .flow_key(packet.source_port, listener.listener);
    if packet.is_syn() {
        let now = choose(slot, table, packet, listener.redirect, tables);
        if listener.flags & ENDPOINT_ROUTE != 0 {
            note_syn(now, packet, &key, tables);
        }
        let verdict = if slot.is_split() {
            Verdict::ForwardNew
        } else {
            Verdict::ForwardSettled
        };
        return (now, verdict);
    }
    if let Some(backend) = recorded(packet, &key, listener, tables) {
        return living(backend, slot, Verdict::ForwardFlow, tables);
    }
    let (backend, verdict) = unrecorded(slot, table, packet, tables);
    let chosen = living(backend, slot, verdict, tables);
    if slot.is_split() && listener.flags & ENDPOINT_ROUTE != 0 && !packet.has(tcp_flag::RST) {
        learn_from_client(chosen.0, &key, tables);
    }
    chosen
}

/// The same for a packet that only quotes one of the flow: nothing is recorded.
#[inline(always)]
pub fn of_flow<A: Address, T: FamilyTables<A>>(
    slot: Slot,
    table: &SlotTable,
    client: (A, [u8; 2]),
    protocol: u8,
    listener: &Endpoint,
    tables: &T,
) -> u16 {
    if !slot.is_split() && listener.flags & ENDPOINT_TRACKED == 0 {
        return slot.now;
    }
    let key = client.0.flow_key(client.1, listener.listener);
    let recorded = tables.visit_flow(&key, |flow| flow.backend);
    let recorded = recorded.or_else(|| tables.embryo(&key).map(|embryo| embryo.backend));
    let (backend, verdict) = match recorded {
        Some(backend) => (backend, Verdict::ForwardFlow),
        None => unheard_of(slot, table, protocol, tables),
    };
    living(backend, slot, verdict, tables).0
}

/// The entry of a backend that packets can be sent to.
///
/// # Errors
/// The verdict with which the packet is dropped.
#[inline(always)]
pub fn ready<T: Tables>(id: u16, tables: &T) -> Result<&Backend, Verdict> {
    if id == 0 {
        return Err(Verdict::DropNoBackend);
    }
    let Some(backend) = tables.backend(id) else {
        return Err(Verdict::DropNoBackend);
    };
    if backend.flags & BACKEND_NEXT_HOP != 0 {
        Ok(backend)
    } else if backend.is_set() {
        Err(Verdict::DropNoNextHop)
    } else {
        Err(Verdict::DropNoBackend)
    }
}

/// Notes which listener a client speaks with by way of backend `id`, whose answers alone don't tell.
#[inline(always)]
pub fn note_reverse<A: Address, T: FamilyTables<A>>(
    id: u16,
    packet: &Packet<A>,
    listener: &Endpoint,
    tables: &T,
) {
    if packet.is_syn() || packet.protocol == protocol::UDP {
        let key = packet
            .source
            .flow_key(packet.source_port, FLOW_REVERSE | id);
        let embryo = Embryo {
            backend: listener.listener,
            flags: 0,
            acknowledges: 0,
        };
        tables.note_embryo(&key, embryo);
    }
}

/// A backend, or the slot's `now` in its place when it is gone or dead.
#[inline(always)]
fn living<T: Tables>(backend: u16, slot: Slot, verdict: Verdict, tables: &T) -> (u16, Verdict) {
    let gone = backend == 0
        || tables
            .backend(backend)
            .is_none_or(|backend| !backend.is_set() || backend.flags & BACKEND_DEAD != 0);
    if gone && verdict != Verdict::ForwardSettled {
        (slot.now, Verdict::ForwardOrphan)
    } else {
        (backend, verdict)
    }
}

/// The backend of a packet whose flow is not recorded. Where new connections are not chosen by their clients' slots and
/// all that were are over, it may be the end of a handshake whose note was washed away: that goes where the SYN went, if
/// it was drawn.
#[inline(always)]
fn unrecorded<A: Address, T: Tables>(
    slot: Slot,
    table: &SlotTable,
    packet: &Packet<A>,
    tables: &T,
) -> (u16, Verdict) {
    let (backend, verdict) = unheard_of(slot, table, packet.protocol, tables);
    if table.mode == MODE_SOURCE_HASH || !slot.is_split() {
        return (backend, verdict);
    }
    let client = (packet.source, packet.source_port);
    if packet.protocol == protocol::UDP {
        if verdict == Verdict::ForwardNew {
            return (drawn(table, client, 0), verdict);
        }
    } else if tables.epoch() >= table.tcp_was_until {
        let began = packet.sequence.wrapping_sub(1);
        return (drawn(table, client, began), Verdict::ForwardNew);
    }
    (backend, verdict)
}

/// The same by the slot alone. Datagrams don't say whether they begin a flow; but once every flow has had the time to be
/// recorded, one that is not must be new.
#[inline(always)]
fn unheard_of<T: Tables>(
    slot: Slot,
    table: &SlotTable,
    protocol: u8,
    tables: &T,
) -> (u16, Verdict) {
    if !slot.is_split() {
        (slot.now, Verdict::ForwardSettled)
    } else if protocol == protocol::UDP && tables.epoch() >= table.udp_was_until {
        (slot.now, Verdict::ForwardNew)
    } else {
        (slot.unrecorded(), Verdict::ForwardWas)
    }
}

/// Notes a client's SYN, where no node's answer will be seen.
#[inline(always)]
fn note_syn<A: Address, T: FamilyTables<A>>(
    backend: u16,
    packet: &Packet<A>,
    key: &A::FlowKey,
    tables: &T,
) {
    let embryo = Embryo {
        backend,
        flags: 0,
        acknowledges: packet.sequence.wrapping_add(1),
    };
    tables.note_embryo(key, embryo);
    tables.count(Event::EmbryoNoted);
}

/// Records a connection of which only the client is heard.
#[inline(always)]
fn learn_from_client<A: Address, T: FamilyTables<A>>(backend: u16, key: &A::FlowKey, tables: &T) {
    let flow = Flow {
        backend,
        flags: 0,
        seen: tables.epoch(),
    };
    tables.count(if tables.record_new_flow(key, flow) {
        Event::FlowLearned
    } else {
        Event::FlowTableFull
    });
}

/// The backend that a connection is recorded on.
#[inline(always)]
fn recorded<A: Address, T: FamilyTables<A>>(
    packet: &Packet<A>,
    key: &A::FlowKey,
    listener: &Endpoint,
    tables: &T,
) -> Option<u16> {
    let epoch = tables.epoch();
    let flow = tables.visit_flow(key, |flow| {
        if flow.seen != epoch {
            flow.seen = epoch;
        }
        if packet.has(tcp_flag::FIN) && flow.flags & FLOW_FIN_CLIENT == 0 {
            flow.flags |= FLOW_FIN_CLIENT;
        }
        *flow
    });
    match flow {
        Some(flow) if flow.flags & FLOW_CONTESTED == 0 || packet.has(tcp_flag::RST) => {
            Some(flow.backend)
        }
        Some(flow) => Some(promote(packet, key, listener, tables).unwrap_or(flow.backend)),
        None => promote(packet, key, listener, tables),
    }
}

/// Records the connection whose handshake this packet completes, and gives its backend.
#[inline(always)]
fn promote<A: Address, T: FamilyTables<A>>(
    packet: &Packet<A>,
    key: &A::FlowKey,
    listener: &Endpoint,
    tables: &T,
) -> Option<u16> {
    let embryo = tables.embryo(key)?;
    if embryo.flags & EMBRYO_ESTABLISHED != 0 || packet.has(tcp_flag::RST) {
        return Some(embryo.backend);
    }
    // Where the node is not heard, it is the client's own numbers that have to go on.
    let number = if listener.flags & ENDPOINT_ROUTE == 0 {
        packet.acknowledgement
    } else {
        packet.sequence
    };
    let completes =
        packet.has(tcp_flag::ACK) && number.wrapping_sub(embryo.acknowledges) < HANDSHAKE_WINDOW;
    if !completes {
        return None;
    }
    let flow = Flow {
        backend: embryo.backend,
        flags: 0,
        seen: tables.epoch(),
    };
    if tables.record_flow(key, flow) {
        tables.forget_embryo(key);
        tables.count(Event::FlowPromoted);
        if listener.flags & ENDPOINT_TRACKED != 0 {
            record_reverse(
                (packet.source, packet.source_port),
                embryo.backend,
                listener.listener,
                tables,
            );
        }
    } else {
        tables.note_embryo(
            key,
            Embryo {
                flags: EMBRYO_ESTABLISHED,
                ..embryo
            },
        );
        tables.count(Event::FlowTableFull);
    }
    Some(embryo.backend)
}

/// Records which listener a client's connection with a backend belongs to.
#[inline(always)]
pub fn record_reverse<A: Address, T: FamilyTables<A>>(
    client: (A, [u8; 2]),
    backend: u16,
    listener: u16,
    tables: &T,
) {
    let key = client.0.flow_key(client.1, FLOW_REVERSE | backend);
    let flow = Flow {
        backend: listener,
        flags: 0,
        seen: tables.epoch(),
    };
    if !tables.record_flow(&key, flow) {
        tables.count(Event::FlowTableFull);
    }
}
