//! Later fragments follow the first one, which alone has the ports.

use crate::{
    Frame,
    abi::{
        ENDPOINT_NODE_ADDRESS, ENDPOINT_ROUTE, ENDPOINT_VIP, FRAGMENT_FORWARD, FRAGMENT_PASS,
        FRAGMENT_REPLY, FragmentOwner,
    },
    address::Address,
    parse::{IpPacket, Offsets, Packet},
    process::{Outcome, exceeds},
    rewrite, select,
    stage::Step,
    tables::{FamilyTables, ReturnHop},
    verdict::{Action, Verdict},
    wire::protocol,
};

/// Notes where the later fragments of a datagram have to go, if there will be any.
#[inline(always)]
pub fn note<A: Address, T: FamilyTables<A>>(
    packet: &Packet<A>,
    direction: u16,
    backend: u16,
    listener: u16,
    tables: &T,
) {
    if let Some(identification) = packet.fragment {
        let key = packet
            .source
            .fragment_key(packet.destination, identification, packet.protocol);
        tables.note_fragment(
            &key,
            FragmentOwner {
                direction,
                backend,
                listener,
                reserved: 0,
            },
        );
    }
}

/// Notes that the later fragments of a datagram are the kernel's, as the first was, where they would be taken for
/// ours.
#[inline(always)]
pub fn note_pass<A: Address, T: FamilyTables<A>>(packet: &Packet<A>, step: Step, tables: &T) {
    if packet.fragment.is_some()
        && let Step::Done(outcome) = step
        && outcome.verdict.action() == Action::Pass
        && concerns_us(packet.source, packet.destination, tables)
    {
        note(packet, FRAGMENT_PASS, 0, 0, tables);
    }
}

/// Sends a later fragment after its first.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a packet is shorter than 2^17 bytes"
)]
pub fn later<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &mut F,
    ip: &IpPacket<A>,
    identification: [u8; 4],
    tables: &T,
) -> Outcome {
    let key = ip
        .source
        .fragment_key(ip.destination, identification, ip.protocol);
    let Some(owner) = tables.fragment_owner(&key) else {
        return orphan(ip, tables).into();
    };
    if owner.direction == FRAGMENT_PASS {
        return Verdict::PassFragment.into();
    }
    let layout = Offsets {
        ip: ip.ip(),
        transport: ip.transport(),
        protocol: ip.protocol,
    };
    let length = frame.full_length();
    let listener = tables.listener(owner.listener);
    let Some(listener) = listener.filter(|listener| listener.is_set()) else {
        return Verdict::DropFragment.into();
    };
    let routed = listener.flags & ENDPOINT_ROUTE != 0;
    if ip.ttl <= 1 && !routed {
        return Verdict::PassTtl.into();
    }
    let fragment = Packet {
        source: ip.source,
        destination: ip.destination,
        source_port: [0; 2],
        destination_port: [0; 2],
        // No transport header, so nothing that asks for anything.
        protocol: protocol::UDP,
        ttl: ip.ttl,
        flags: 0,
        sequence: 0,
        acknowledgement: 0,
        checksum: [0; 2],
        segment: 0,
        header: 0,
        length: (ip.end - ip.ip()) as u32,
        fragment: None,
    };
    match owner.direction {
        FRAGMENT_FORWARD => {
            let backend = match select::ready(owner.backend, tables) {
                Ok(backend) => backend,
                Err(verdict) => return verdict.into(),
            };
            if exceeds(frame, &fragment, &backend.hop) {
                return Verdict::DropTooBig.into();
            }
            let node = A::read(&backend.address);
            let rewritten = if routed {
                rewrite::link(frame, &backend.hop)
            } else {
                let delta = A::l3_delta(ip.destination.removed() + node.added());
                rewrite::destination(frame, layout, node, delta, &backend.hop)
            };
            if rewritten.is_none() {
                return Verdict::PassTruncated.into();
            }
            tables.count_forward(owner.backend, length, &fragment);
            Outcome {
                verdict: Verdict::ForwardFragment,
                ifindex: backend.hop.ifindex,
            }
        }
        FRAGMENT_REPLY => {
            let vip = A::read(&listener.address);
            let hop = match tables.return_hop(ip.destination, vip) {
                ReturnHop::Via(hop) => hop,
                ReturnHop::Local => return Verdict::PassToRelay.into(),
                ReturnHop::Unknown => return Verdict::DropNoReturnHop.into(),
            };
            if exceeds(frame, &fragment, &hop) {
                return Verdict::DropTooBig.into();
            }
            let delta = A::l3_delta(ip.source.removed() + vip.added());
            if rewrite::source(frame, layout, vip, delta, &hop).is_none() {
                return Verdict::PassTruncated.into();
            }
            tables.count_reply(owner.backend, length, 0);
            Outcome {
                verdict: Verdict::ReplyFragment,
                ifindex: hop.ifindex,
            }
        }
        _ => Verdict::DropFragment.into(),
    }
}

/// A fragment whose first was not seen: where one of ours is concerned it may not go on as it is. Of other
/// protocols the first was not looked at.
#[inline(always)]
fn orphan<A: Address, T: FamilyTables<A>>(ip: &IpPacket<A>, tables: &T) -> Verdict {
    let is_ours = matches!(ip.protocol, protocol::TCP | protocol::UDP)
        && concerns_us(ip.source, ip.destination, tables);
    if is_ours {
        Verdict::DropFragment
    } else {
        Verdict::PassFragment
    }
}

/// Whether a packet goes to a VIP or comes from a node.
#[inline(always)]
fn concerns_us<A: Address, T: FamilyTables<A>>(source: A, destination: A, tables: &T) -> bool {
    let at = |address: A| {
        tables
            .endpoint(&address.endpoint_key([0; 2], 0))
            .map_or(0, |endpoint| endpoint.kind)
    };
    at(destination) == ENDPOINT_VIP || at(source) == ENDPOINT_NODE_ADDRESS
}
