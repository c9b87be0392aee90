//! ICMP errors about packets of a redirect, in both directions (RFC 792, RFC 4443; the rules are those of RFC 5508,
//! section 4.2).
//!
//! An error quotes the packet that it is about. The one who sent that packet knows only his own addresses in it, so
//! the quotation is translated back like the packet was, with its checksums, and the message's checksum is brought up
//! to date with every byte that changed.

use crate::{
    Frame,
    abi::{
        Backend, ENDPOINT_ANY_PORT, ENDPOINT_LISTENER, ENDPOINT_NODE, ENDPOINT_NODE_ADDRESS,
        ENDPOINT_ROUTE, ENDPOINT_SHARED, ENDPOINT_VIP, Endpoint, NextHop,
    },
    address::Address,
    associate, checksum, classify,
    parse::{Fragment, IpPacket},
    process::Outcome,
    rewrite, select,
    tables::{FamilyTables, ReturnHop},
    verdict::Verdict,
    vip::Vip,
    wire::{Icmp, Ports, Tcp, Udp, protocol},
};

/// The packet that an error is about.
#[derive(Clone, Copy)]
struct Quoted<A: Address> {
    ip: IpPacket<A>,
    ports: Ports,
    /// Offset of the end of what is there of it.
    end: usize,
}

/// Which end of the quoted packet is translated, to what.
struct Translation<A> {
    end: End,
    address: A,
    port: [u8; 2],
    /// Whether the packet keeps its own port. Apart from `port`, which always has a value: where a part of an `Option` has
    /// none, the optimiser reads whatever lies in its place on the stack, and the verifier of Linux 5.10 does not see
    /// that this is never used.
    keeps_port: bool,
}

impl<A> Translation<A> {
    #[inline(always)]
    fn new(end: End, address: A, port: Option<[u8; 2]>) -> Self {
        Self {
            end,
            address,
            port: port.unwrap_or_default(),
            keeps_port: port.is_none(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// The program for ICMP, in a packet that another has read.
#[inline(always)]
pub fn translate<A: Address, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Outcome {
    let mut room = None;
    let Some(ip) = tables.left_ip(&mut room) else {
        return Verdict::DropNoStage.into();
    };
    let quoted = match quoted(frame, ip) {
        // Nobody is to be told of a packet that he has not sent.
        Ok(quoted) if !quoted.ip.source.is(ip.destination) => return Verdict::PassIcmp.into(),
        Ok(quoted) => quoted,
        Err(verdict) => return verdict.into(),
    };
    let mut room = None;
    match tables.hold(&mut room, || Some(quoted)) {
        Some(quoted) => decide(frame, ip, quoted, tables),
        None => Verdict::DropNoStage.into(),
    }
}

/// Reads the packet that an error quotes.
#[inline(always)]
fn quoted<A: Address, F: Frame>(frame: &F, ip: &IpPacket<A>) -> Result<Quoted<A>, Verdict> {
    if ip.fragment != Fragment::Whole {
        return Err(Verdict::PassIcmp);
    }
    if ip.end - ip.transport() < size_of::<Icmp>() {
        return Err(Verdict::PassMalformed);
    }
    let icmp = frame
        .header::<Icmp>(ip.transport())
        .ok_or(Verdict::PassTruncated)?;
    if !is_error::<A>(icmp.kind) {
        return Err(Verdict::PassIcmp);
    }
    let inner =
        A::parse(frame, ip.transport() + size_of::<Icmp>(), true).map_err(|_| Verdict::PassIcmp)?;
    let end = inner.end.min(ip.end);
    if matches!(inner.fragment, Fragment::Later(_))
        || !matches!(inner.protocol, protocol::TCP | protocol::UDP)
        || inner.transport() + size_of::<Udp>() > end
    {
        return Err(Verdict::PassIcmp);
    }
    let ports = *frame
        .header::<Ports>(inner.transport())
        .ok_or(Verdict::PassTruncated)?;
    Ok(Quoted {
        ip: inner,
        ports,
        end,
    })
}

/// Whether this type of message is an error whose form is known (RFC 1122, section 3.2.2; RFC 4443, section 3).
#[inline(always)]
fn is_error<A: Address>(kind: u8) -> bool {
    const UNREACHABLE: u8 = 3;
    const SOURCE_QUENCH: u8 = 4;
    const TIME_EXCEEDED: u8 = 11;
    const PARAMETER_PROBLEM: u8 = 12;
    if A::IS_IPV6 {
        // Unreachable, too big, time exceeded, parameter problem.
        matches!(kind, 1..=4)
    } else {
        matches!(
            kind,
            UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED | PARAMETER_PROBLEM
        )
    }
}

#[inline(always)]
fn decide<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    ip: &IpPacket<A>,
    quoted: &Quoted<A>,
    tables: &T,
) -> Outcome {
    let Quoted {
        ip: inner, ports, ..
    } = quoted;
    let listener = classify::lookup(inner.source, ports.source, inner.protocol, tables);
    if let Some(listener) = listener.filter(|endpoint| endpoint.kind == ENDPOINT_LISTENER) {
        return about_reply(frame, ip, quoted, listener, tables);
    }
    let node = classify::lookup(inner.destination, ports.destination, inner.protocol, tables);
    if let Some(node) = node.filter(|endpoint| endpoint.kind == ENDPOINT_NODE) {
        let client = (inner.source, ports.source);
        let from = (inner.destination, ports.destination);
        return match Vip::of(node, from, client, tables) {
            Ok(vip) => to_client(frame, ip, quoted, &vip, tables),
            Err(_) => Verdict::PassIcmp.into(),
        };
    }
    if inner.protocol == protocol::UDP {
        return about_datagram(frame, ip, quoted, tables);
    }
    Verdict::PassIcmp.into()
}

/// An error about an answer of a listener: to the node that gave it.
#[inline(always)]
fn about_reply<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    ip: &IpPacket<A>,
    quoted: &Quoted<A>,
    listener: &Endpoint,
    tables: &T,
) -> Outcome {
    let Quoted {
        ip: inner, ports, ..
    } = quoted;
    let Some(table) = tables.slot_table(listener.redirect) else {
        return Verdict::DropNoTable.into();
    };
    let client = (inner.destination, ports.destination);
    let slot = table.slots[usize::from(table.slot_of(client.0))];
    let id = select::of_flow(slot, table, client, inner.protocol, listener, tables);
    let backend = match select::ready(id, tables) {
        Ok(backend) => backend,
        Err(verdict) => return verdict.into(),
    };
    let routed = listener.flags & ENDPOINT_ROUTE != 0;
    let port = (listener.flags & ENDPOINT_ANY_PORT == 0).then_some(backend.port);
    to_node(frame, ip, quoted, backend, port, routed)
}

/// An error about a datagram of an association.
#[inline(always)]
fn about_datagram<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    ip: &IpPacket<A>,
    quoted: &Quoted<A>,
    tables: &T,
) -> Outcome {
    let Quoted {
        ip: inner, ports, ..
    } = quoted;
    let shared = |address: A, kind| {
        tables
            .endpoint(&address.endpoint_key([0; 2], 0))
            .filter(|endpoint| endpoint.kind == kind && endpoint.flags & ENDPOINT_SHARED != 0)
    };
    if let Some(vip) = shared(inner.source, ENDPOINT_VIP) {
        let routed = vip.flags & ENDPOINT_ROUTE != 0;
        let port = if routed { [0; 2] } else { ports.source };
        let found = associate::pinhole_of(inner.destination, port, inner.source, tables);
        let Some(pinhole) = found else {
            return Verdict::PassIcmp.into();
        };
        let backend = match select::ready(pinhole.backend, tables) {
            Ok(backend) => backend,
            Err(verdict) => return verdict.into(),
        };
        return to_node(frame, ip, quoted, backend, None, routed);
    }
    if shared(inner.destination, ENDPOINT_NODE_ADDRESS).is_none() {
        return Verdict::PassIcmp.into();
    }
    let key = inner.source.pinhole_key(ports.destination, 0);
    let Some(pinhole) = tables.pinhole(&key) else {
        return Verdict::PassIcmp.into();
    };
    let own = tables
        .backend(pinhole.backend)
        .is_some_and(|backend| A::read(&backend.address).is(inner.destination));
    let listener = tables.listener(pinhole.listener);
    let Some(listener) = listener.filter(|listener| own && listener.is_set()) else {
        return Verdict::PassIcmp.into();
    };
    let vip = Vip::of_address(pinhole.listener, listener, inner.destination);
    to_client(frame, ip, quoted, &vip, tables)
}

/// Sends an error about an answer of the VIP to the node that gave it.
#[inline(always)]
fn to_node<A: Address, F: Frame>(
    frame: &mut F,
    ip: &IpPacket<A>,
    quoted: &Quoted<A>,
    backend: &Backend,
    port: Option<[u8; 2]>,
    routed: bool,
) -> Outcome {
    if ip.ttl <= 1 && !routed {
        return Verdict::PassTtl.into();
    }
    let node = A::read(&backend.address);
    let rewritten = if routed {
        rewrite::link(frame, &backend.hop)
    } else {
        let translation = Translation::new(End::Source, node, port);
        rewrite(
            frame,
            ip,
            quoted,
            &translation,
            (End::Destination, node),
            &backend.hop,
        )
    };
    if rewritten.is_none() {
        return Verdict::PassTruncated.into();
    }
    Outcome {
        verdict: Verdict::ForwardIcmp,
        ifindex: backend.hop.ifindex,
    }
}

/// Sends an error about a client's packet to the client.
#[inline(always)]
fn to_client<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    ip: &IpPacket<A>,
    quoted: &Quoted<A>,
    vip: &Vip<A>,
    tables: &T,
) -> Outcome {
    let hop = match tables.return_hop(ip.destination, vip.address) {
        ReturnHop::Via(hop) => hop,
        ReturnHop::Local => return Verdict::PassToRelay.into(),
        ReturnHop::Unknown => return Verdict::DropNoReturnHop.into(),
    };
    if ip.ttl <= 1 {
        return Verdict::PassTtl.into();
    }
    let translation = Translation::new(End::Destination, vip.address, vip.port);
    // A router on the way speaks for itself; the node speaks as the VIP.
    let speaker = if ip.source.is(quoted.ip.destination) {
        vip.address
    } else {
        ip.source
    };
    if rewrite(
        frame,
        ip,
        quoted,
        &translation,
        (End::Source, speaker),
        &hop,
    )
    .is_none()
    {
        return Verdict::PassTruncated.into();
    }
    Outcome {
        verdict: Verdict::ReplyIcmp,
        ifindex: hop.ifindex,
    }
}

/// Writes all that changes, inside out.
#[inline(always)]
fn rewrite<A: Address, F: Frame>(
    frame: &mut F,
    ip: &IpPacket<A>,
    quoted: &Quoted<A>,
    translation: &Translation<A>,
    (end, address): (End, A),
    hop: &NextHop,
) -> Option<()> {
    let old = match end {
        End::Source => ip.source,
        End::Destination => ip.destination,
    };
    let outer = old.removed() + address.added();
    let mut message = quotation(frame, quoted, translation)?;
    if A::IS_IPV6 {
        message += outer;
    }
    let icmp = frame.header_mut::<Icmp>(ip.transport())?;
    icmp.checksum = checksum::update(icmp.checksum, message);
    let header = frame.header_mut::<A::Header>(ip.ip())?;
    A::decrement_ttl(header, A::l3_delta(outer));
    match end {
        End::Source => A::set_source(header, address),
        End::Destination => A::set_destination(header, address),
    }
    rewrite::link(frame, hop)
}

/// Translates one end of the quoted packet. Gives the change of a checksum over all of it.
#[inline(always)]
fn quotation<A: Address, F: Frame>(
    frame: &mut F,
    quoted: &Quoted<A>,
    translation: &Translation<A>,
) -> Option<u32> {
    let Quoted { ip, ports, end } = quoted;
    let (old, old_port) = match translation.end {
        End::Source => (ip.source, ports.source),
        End::Destination => (ip.destination, ports.destination),
    };
    let address = old.removed() + translation.address.added();
    let header = frame.header_mut::<A::Header>(ip.ip())?;
    let mut delta = address + A::fix_header(header, address);
    match translation.end {
        End::Source => A::set_source(header, translation.address),
        End::Destination => A::set_destination(header, translation.address),
    }
    let mut transport = address;
    if !translation.keeps_port {
        let port = translation.port;
        let change = checksum::removed(&old_port) + checksum::added(&port);
        delta += change;
        transport += change;
        let ports = frame.header_mut::<Ports>(ip.transport())?;
        match translation.end {
            End::Source => ports.source = port,
            End::Destination => ports.destination = port,
        }
    }
    let at = ip.transport()
        + if ip.protocol == protocol::TCP {
            core::mem::offset_of!(Tcp, checksum)
        } else {
            core::mem::offset_of!(Udp, checksum)
        };
    if at + 2 <= *end {
        let check = frame.header_mut::<[u8; 2]>(at)?;
        let before = *check;
        *check = rewrite::transport_checksum(ip.protocol, before, transport);
        delta += checksum::removed(&before) + checksum::added(check);
    }
    Some(delta)
}
