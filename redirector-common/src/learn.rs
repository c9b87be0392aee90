//! Node's answer → what it tells about its connection.
//!
//! Only nodes are believed. A client, or somebody who pretends to be one, can send what he likes: he gets
//! a SYN-ACK, which is noted in a table of its own that evicts the oldest, or a reset, which records
//! nothing. So spoofed traffic neither creates nor evicts a record of a live connection.

use crate::{
    abi::{Embryo, FLOW_CONTESTED, FLOW_FIN_NODE, FLOW_RESET, Flow},
    address::Address,
    parse::Packet,
    tables::FamilyTables,
    verdict::Event,
    wire::tcp_flag,
};

/// Learns from the answer of `backend` in a split slot.
#[inline(always)]
pub fn learn<A: Address, T: FamilyTables<A>>(
    backend: u16,
    packet: &Packet<A>,
    key: &A::FlowKey,
    tables: &T,
) {
    if packet.has(tcp_flag::RST) {
        tables.visit_flow(key, |flow| {
            if flow.backend == backend {
                flow.flags |= FLOW_RESET;
            }
        });
    } else if packet.is_syn_ack() {
        tables.visit_flow(key, |flow| flow.flags |= FLOW_CONTESTED);
        let acknowledges = packet.sequence.wrapping_add(1);
        tables.note_embryo(
            key,
            Embryo {
                backend,
                flags: 0,
                acknowledges,
            },
        );
        tables.count(Event::EmbryoNoted);
    } else {
        speak(backend, packet, key, tables);
    }
}

/// An established connection speaks: it is recorded, if it was not.
#[inline(always)]
fn speak<A: Address, T: FamilyTables<A>>(
    backend: u16,
    packet: &Packet<A>,
    key: &A::FlowKey,
    tables: &T,
) {
    let epoch = tables.epoch();
    let known = tables.visit_flow(key, |flow| {
        if flow.backend == backend {
            if flow.seen != epoch {
                flow.seen = epoch;
            }
            if packet.has(tcp_flag::FIN) && flow.flags & FLOW_FIN_NODE == 0 {
                flow.flags |= FLOW_FIN_NODE;
            }
        }
    });
    if known.is_none() {
        let flags = if packet.has(tcp_flag::FIN) {
            FLOW_FIN_NODE
        } else {
            0
        };
        let recorded = tables.record_new_flow(
            key,
            Flow {
                backend,
                flags,
                seen: epoch,
            },
        );
        tables.count(if recorded {
            Event::FlowLearned
        } else {
            Event::FlowTableFull
        });
    }
}
