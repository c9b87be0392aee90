//! One packet, from the first byte to the verdict.

use crate::{
    Frame, Tables,
    abi::{BACKEND_NEXT_HOP, Endpoint, FlowKey4},
    classify::{Class, classify},
    hash, learn,
    parse::{Packet, parse},
    rewrite, select,
    tables::ReturnHop,
    verdict::Verdict,
    wire::Ethernet,
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
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Outcome {
    let packet = match parse(frame) {
        Ok(packet) => packet,
        Err(verdict) => return verdict.into(),
    };
    match classify(&packet, tables) {
        Class::ToListener(listener) => forward(frame, &packet, listener, tables),
        Class::FromNode(node) => reply(frame, &packet, node, tables),
        // The relay's own health checks leave through the kernel and never come in here, so this is a
        // client's attempt to avoid the VIP.
        Class::ToNode => Verdict::DropDirectTcp.into(),
        Class::NotOurs => Verdict::PassNotOurs.into(),
    }
}

/// A client's packet on its way to a node.
#[inline(always)]
fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    packet: &Packet,
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
        let key = flow_key(packet.source, packet.source_port, listener);
        select::select(slot, packet, &key, tables)
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
    let length = frame.length();
    if rewrite::to_backend(frame, listener, backend).is_none() {
        return Verdict::PassTruncated.into();
    }
    tables.count_forward(id, length, packet);
    Outcome {
        verdict,
        ifindex: backend.hop.ifindex,
    }
}

/// A node's packet on its way to a client.
#[inline(always)]
fn reply<F: Frame, T: Tables>(
    frame: &mut F,
    packet: &Packet,
    node: &Endpoint,
    tables: &T,
) -> Outcome {
    if packet.is_syn() {
        // A node that connects to somebody from its SOCKS port; no answer to anybody.
        return Verdict::PassNotOurs.into();
    }
    let hop = match tables.return_hop(packet.destination, node.address) {
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
            let key = flow_key(packet.destination, packet.destination_port, node);
            learn::learn(node.backend, packet, &key, tables);
        }
    }
    let length = frame.length();
    if rewrite::to_client(frame, node, &hop).is_none() {
        return Verdict::PassTruncated.into();
    }
    tables.count_reply(node.backend, length, packet.is_syn_ack());
    Outcome {
        verdict: Verdict::Reply,
        ifindex: hop.ifindex,
    }
}

/// Made of two whole words, like the key of an endpoint.
#[inline(always)]
fn flow_key(client: [u8; 4], port: [u8; 2], endpoint: &Endpoint) -> FlowKey4 {
    let [low, high] = endpoint.listener.to_ne_bytes();
    let socket = u32::from_ne_bytes([port[0], port[1], low, high]);
    bytemuck::cast([u32::from_ne_bytes(client), socket])
}
