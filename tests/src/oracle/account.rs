//! What the product says it did, in the oracle's words.

use std::net::IpAddr;

use redirector_common::{
    abi::{
        BACKEND_DEAD, EMBRYO_ESTABLISHED, FLOW_REVERSE, FlowKey4, FlowKey6, Pinhole, PinholeKey4,
        PinholeKey6, SLOT_SPLIT,
    },
    host::HostTables,
    verdict::Verdict,
};

use super::{
    Claim, Kind, SlotNodes, World,
    errors::quoted,
    headers::{Headers, UDP},
};

/// The claim that `verdict` makes about the frame `input`, `tables` being as the product left them; `None`
/// when it claims that nothing was sent.
pub fn claim(world: &World, verdict: Verdict, input: &[u8], tables: &HostTables) -> Option<Claim> {
    match verdict {
        Verdict::ForwardSettled | Verdict::ForwardNew | Verdict::ForwardOrphan => Some(Claim::Now),
        Verdict::ForwardWas => Some(Claim::Unrecorded),
        Verdict::ForwardFlow => Some(Claim::Recorded(recorded_node(world, input, tables))),
        Verdict::Reply => Some(restored(world, input, tables)),
        Verdict::ForwardFragment => Some(Claim::AfterFirst),
        Verdict::ReplyFragment => Some(Claim::ClientAfterFirst),
        Verdict::ForwardIcmp => claim_of_error_to_node(world, input, tables),
        Verdict::ReplyIcmp => claim_of_error_to_client(world, input, tables),
        Verdict::AnswerTooBig => claim_of_too_big(world, input, tables),
        Verdict::AnswerNoBackend => Some(Claim::Refused),
        Verdict::ForwardAssociated => claim_of_client_datagram(world, input, tables),
        Verdict::ReplyAssociated => claim_of_node_datagram(input, tables),
        Verdict::PassTruncated
        | Verdict::PassNotIp
        | Verdict::PassVlan
        | Verdict::PassMalformed
        | Verdict::PassExtensionHeaders
        | Verdict::PassSourceRoute
        | Verdict::PassIcmp
        | Verdict::PassFragment
        | Verdict::PassProtocol
        | Verdict::PassNotOurs
        | Verdict::PassDirect
        | Verdict::PassToRelay
        | Verdict::PassTtl
        | Verdict::DropNoBackend
        | Verdict::DropNoNextHop
        | Verdict::DropNoReturnHop
        | Verdict::DropDirectTcp
        | Verdict::DropNoTable
        | Verdict::DropFragment
        | Verdict::DropTooBig
        | Verdict::DropPartialChecksum
        | Verdict::DropStranger
        | Verdict::DropNoStage => None,
    }
}

/// The claim of a client's datagram that was sent through his pinhole.
fn claim_of_client_datagram(world: &World, input: &[u8], tables: &HostTables) -> Option<Claim> {
    let headers = Headers::read(input).ok()?;
    let to = (headers.destination, headers.destination_port(input));
    let pinhole = pinhole_to(world, headers.source, to, tables)?;
    Some(Claim::Associated(pinhole.backend))
}

/// The pinhole of a client to this port of a VIP.
fn pinhole_to(
    world: &World,
    client: IpAddr,
    (vip, port): (IpAddr, u16),
    tables: &HostTables,
) -> Option<Pinhole> {
    // Where nodes hold the VIP themselves nobody has seen which port they have bound.
    pinhole(client, if world.is_routed(vip) { 0 } else { port }, tables)
}

/// The claim of a node's datagram that was sent through the pinhole of a client.
fn claim_of_node_datagram(input: &[u8], tables: &HostTables) -> Option<Claim> {
    let headers = Headers::read(input).ok()?;
    let pinhole = pinhole(headers.destination, headers.source_port(input), tables)?;
    Some(Claim::AssociatedClientOf(pinhole.listener))
}

/// The pinhole of a client.
fn pinhole(client: IpAddr, port: u16, tables: &HostTables) -> Option<Pinhole> {
    let port = port.to_be_bytes();
    match client {
        IpAddr::V4(client) => {
            let key = PinholeKey4 {
                client: client.octets(),
                port,
                mark: 0,
            };
            tables.ipv4.pinholes.borrow().get(&key).copied()
        }
        IpAddr::V6(client) => {
            let key = PinholeKey6 {
                client: client.octets(),
                port,
                mark: 0,
                padding: 0,
            };
            tables.ipv6.pinholes.borrow().get(&key).copied()
        }
    }
}

/// The claim of an ICMP error about an answer that was sent to a node: to the one that a packet of the connection
/// would go to that neither begins nor ends it.
pub fn claim_of_error_to_node(world: &World, input: &[u8], tables: &HostTables) -> Option<Claim> {
    let inner = quoted(input, &Headers::read(input).ok()?)?;
    let Kind::ErrorAboutAnswer(listener) = world.kind(input) else {
        // About a datagram of an association.
        let (vip, port) = (inner.source, inner.source_port(input));
        let pinhole = pinhole_to(world, inner.destination, (vip, port), tables)?;
        return Some(Claim::ErrorToNode(pinhole.backend));
    };
    let client = (inner.destination, inner.destination_port(input));
    // What it is about may be the node's part of a handshake.
    let node = home(
        world,
        listener,
        client,
        inner.protocol == UDP,
        false,
        tables,
    )?;
    Some(Claim::ErrorToNode(node))
}

/// The claim of an ICMP error about a packet to a node that was sent to a client.
pub fn claim_of_error_to_client(world: &World, input: &[u8], tables: &HostTables) -> Option<Claim> {
    let inner = quoted(input, &Headers::read(input).ok()?)?;
    let port = inner.destination_port(input);
    let Some(socket) = world.socket_at(inner.destination, port, inner.protocol) else {
        // About a datagram of an association.
        let pinhole = pinhole(inner.source, port, tables)?;
        return Some(Claim::ErrorToClientOf(pinhole.listener));
    };
    let client = (inner.source, inner.source_port(input));
    let listener = socket
        .listener
        .or_else(|| reverse(client, socket.node, tables))?;
    Some(Claim::ErrorToClientOf(listener))
}

/// The claim of an answer to a packet that is too big for its way.
pub fn claim_of_too_big(world: &World, input: &[u8], tables: &HostTables) -> Option<Claim> {
    let headers = Headers::read(input).ok()?;
    let Kind::ToVip(listener) = world.kind(input) else {
        let of_client = claim_of_client_datagram(world, input, tables);
        let Some(Claim::Associated(node)) = of_client.filter(|_| world.is_vip(headers.destination))
        else {
            return Some(Claim::TooBigForClient);
        };
        return Some(Claim::TooBigForNode(node));
    };
    if headers.is_syn(input) {
        let listener = world.listener(listener)?;
        let (now, _) = slots_of(tables)(listener.redirect, world.slot_of(headers.source));
        return Some(Claim::TooBigForNode(now));
    }
    let client = (headers.source, headers.source_port(input));
    // A reset completes no handshake, but goes where one was answered.
    let established = !headers.is_rst(input);
    let datagram = headers.protocol == UDP;
    let node = home(world, listener, client, datagram, established, tables)?;
    Some(Claim::TooBigForNode(node))
}

/// The node that a connection lives on, the tables being as the product left them. Of handshakes count all, or only
/// those that are through.
fn home(
    world: &World,
    listener: u16,
    client: (IpAddr, u16),
    datagram: bool,
    established: bool,
    tables: &HostTables,
) -> Option<u16> {
    let listener = world.listener(listener)?;
    let table = tables.slot_tables.get(&listener.redirect)?;
    let slot = table.slots[world.slot_of(client.0)];
    let split = slot.was & SLOT_SPLIT != 0;
    if !split && !listener.tracked {
        return Some(slot.now);
    }
    let unrecorded = if datagram && tables.epoch >= table.udp_was_until {
        slot.now
    } else {
        slot.was & !SLOT_SPLIT
    };
    let node = recorded(client, listener.number, tables, established).unwrap_or(unrecorded);
    let alive = tables
        .backends
        .get(&node)
        .is_some_and(|backend| backend.address != [0; 16] && backend.flags & BACKEND_DEAD == 0);
    Some(if alive { node } else { slot.now })
}

/// The node that the connection of a client's frame is recorded on, or in its handshake with; 0 if neither.
fn recorded_node(world: &World, input: &[u8], tables: &HostTables) -> u16 {
    let (Kind::ToVip(listener), Ok(headers)) = (world.kind(input), Headers::read(input)) else {
        return 0;
    };
    let client = (headers.source, headers.source_port(input));
    recorded(client, listener, tables, false).unwrap_or(0)
}

/// The claim of an answer to a client.
fn restored(world: &World, input: &[u8], tables: &HostTables) -> Claim {
    let shared = Headers::read(input).ok().and_then(|headers| {
        let port = headers.source_port(input);
        let socket = world.socket_at(headers.source, port, headers.protocol)?;
        let client = (headers.destination, headers.destination_port(input));
        match socket.listener {
            Some(_) => None,
            None => Some(reverse(client, socket.node, tables).unwrap_or(0)),
        }
    });
    shared.map_or(Claim::Client, Claim::ClientOf)
}

/// The listener that a client speaks with by way of this node, from the reverse record.
fn reverse(client: (IpAddr, u16), node: u16, tables: &HostTables) -> Option<u16> {
    recorded(client, FLOW_REVERSE | node, tables, false)
}

/// What is recorded of a connection: in the flows, or else among the handshakes, of which `established` counts
/// only those that are through.
fn recorded(
    (client, port): (IpAddr, u16),
    listener: u16,
    tables: &HostTables,
    established: bool,
) -> Option<u16> {
    let (port, listener) = (port.to_be_bytes(), listener.to_ne_bytes());
    let counts = |flags: u16| !established || flags & EMBRYO_ESTABLISHED != 0;
    match client {
        IpAddr::V4(client) => {
            let key = FlowKey4 {
                client: client.octets(),
                port,
                listener,
            };
            let flow = tables
                .ipv4
                .flows
                .borrow()
                .get(&key)
                .map(|flow| flow.backend);
            flow.or_else(|| {
                let embryos = tables.ipv4.embryos.borrow();
                let mut found = embryos.iter().filter(|(other, _)| **other == key);
                found
                    .find(|(_, embryo)| counts(embryo.flags))
                    .map(|(_, embryo)| embryo.backend)
            })
        }
        IpAddr::V6(client) => {
            let key = FlowKey6 {
                client: client.octets(),
                port,
                listener,
                padding: 0,
            };
            let flow = tables
                .ipv6
                .flows
                .borrow()
                .get(&key)
                .map(|flow| flow.backend);
            flow.or_else(|| {
                let embryos = tables.ipv6.embryos.borrow();
                let mut found = embryos.iter().filter(|(other, _)| **other == key);
                found
                    .find(|(_, embryo)| counts(embryo.flags))
                    .map(|(_, embryo)| embryo.backend)
            })
        }
    }
}

/// The nodes of each slot in `tables`.
pub fn slots_of(tables: &HostTables) -> impl Fn(u16, usize) -> SlotNodes {
    |redirect, index| {
        tables.slot_tables.get(&redirect).map_or((0, 0), |table| {
            let slot = table.slots[index];
            (slot.now, slot.was & !SLOT_SPLIT)
        })
    }
}
