//! Client's packet → backend.

use crate::{
    abi::{
        BACKEND_DEAD, EMBRYO_ESTABLISHED, Embryo, FLOW_CONTESTED, FLOW_FIN_CLIENT, Flow, Slot,
        SlotTable,
    },
    address::Address,
    parse::Packet,
    tables::FamilyTables,
    verdict::{Event, Verdict},
    wire::{protocol, tcp_flag},
};

/// How far a client's acknowledgement may be beyond the node's SYN-ACK and still complete the handshake. A
/// node speaks before it only with TCP Fast Open (RFC 7413), which may send a whole window. It is small in
/// the space of 2^32 numbers, so that a client that lives on another node, woken by a spoofed SYN, is not
/// taken for one that answers.
pub const HANDSHAKE_WINDOW: u32 = 1 << 16;

/// The backend of a client's packet in a split slot, and how it was found.
#[inline(always)]
pub fn select<A: Address, T: FamilyTables<A>>(
    slot: Slot,
    table: &SlotTable,
    packet: &Packet<A>,
    key: &A::FlowKey,
    tables: &T,
) -> (u16, Verdict) {
    if packet.is_syn() {
        return (slot.now, Verdict::ForwardNew);
    }
    let (backend, verdict) = recorded(packet, key, tables).map_or_else(
        || unrecorded(slot, table, packet, tables),
        |backend| (backend, Verdict::ForwardFlow),
    );
    let gone = backend == 0
        || tables
            .backend(backend)
            .is_none_or(|backend| !backend.is_set() || backend.flags & BACKEND_DEAD != 0);
    if gone {
        (slot.now, Verdict::ForwardOrphan)
    } else {
        (backend, verdict)
    }
}

/// The backend of a packet whose flow is not recorded. Datagrams don't say whether they begin a flow; but once
/// every flow has had the time to be recorded, one that is not must be new.
#[inline(always)]
fn unrecorded<A: Address, T: FamilyTables<A>>(
    slot: Slot,
    table: &SlotTable,
    packet: &Packet<A>,
    tables: &T,
) -> (u16, Verdict) {
    if packet.protocol == protocol::UDP && tables.epoch() >= table.udp_was_until {
        (slot.now, Verdict::ForwardNew)
    } else {
        (slot.unrecorded(), Verdict::ForwardWas)
    }
}

/// The backend that a connection is recorded on.
#[inline(always)]
fn recorded<A: Address, T: FamilyTables<A>>(
    packet: &Packet<A>,
    key: &A::FlowKey,
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
        Some(flow) => Some(promote(packet, key, tables).unwrap_or(flow.backend)),
        None => promote(packet, key, tables),
    }
}

/// Records the connection whose handshake this packet completes, and gives its backend.
#[inline(always)]
fn promote<A: Address, T: FamilyTables<A>>(
    packet: &Packet<A>,
    key: &A::FlowKey,
    tables: &T,
) -> Option<u16> {
    let embryo = tables.embryo(key)?;
    if embryo.flags & EMBRYO_ESTABLISHED != 0 || packet.has(tcp_flag::RST) {
        return Some(embryo.backend);
    }
    let completes = packet.has(tcp_flag::ACK)
        && packet.acknowledgement.wrapping_sub(embryo.acknowledges) < HANDSHAKE_WINDOW;
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
