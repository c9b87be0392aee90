//! Later fragments follow the first one, which alone has the ports.

use crate::{
    Frame,
    abi::{
        BACKEND_NEXT_HOP, ENDPOINT_NODE_ADDRESS, ENDPOINT_ROUTE, ENDPOINT_VIP, FRAGMENT_FORWARD,
        FRAGMENT_REPLY, FragmentOwner,
    },
    address::Address,
    checksum,
    parse::{IpPacket, Offsets, Packet},
    process::Outcome,
    rewrite,
    tables::{FamilyTables, ReturnHop},
    verdict::Verdict,
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

/// Sends a later fragment after its first.
#[inline(always)]
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
    if ip.ttl <= 1 {
        return Verdict::PassTtl.into();
    }
    let layout = Offsets {
        ip: ip.ip,
        transport: ip.transport,
    };
    let length = frame.full_length();
    let (Some(backend), Some(listener)) = (
        tables.backend(owner.backend),
        tables.listener(owner.listener),
    ) else {
        return Verdict::DropFragment.into();
    };
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
        segment: 0,
        header: 0,
        length: 0,
        fragment: None,
    };
    match owner.direction {
        FRAGMENT_FORWARD => {
            if !backend.is_set() {
                return Verdict::DropNoBackend.into();
            }
            if backend.flags & BACKEND_NEXT_HOP == 0 {
                return Verdict::DropNoNextHop.into();
            }
            let node = A::read(&backend.address);
            let rewritten = if listener.flags & ENDPOINT_ROUTE == 0 {
                let delta = ip.destination.removed() + node.added() + checksum::TTL_DECREMENT;
                rewrite::destination(frame, layout, node, delta, &backend.hop)
            } else {
                rewrite::link(frame, &backend.hop)
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
            let delta = ip.source.removed() + vip.added() + checksum::TTL_DECREMENT;
            if rewrite::source(frame, layout, vip, delta, &hop).is_none() {
                return Verdict::PassTruncated.into();
            }
            tables.count_reply(owner.backend, length, false);
            Outcome {
                verdict: Verdict::ReplyFragment,
                ifindex: hop.ifindex,
            }
        }
        _ => Verdict::DropFragment.into(),
    }
}

/// A fragment whose first was not seen: where one of ours is concerned it may not go on as it is.
#[inline(always)]
fn orphan<A: Address, T: FamilyTables<A>>(ip: &IpPacket<A>, tables: &T) -> Verdict {
    let at = |address: A| {
        tables
            .endpoint(&address.endpoint_key([0; 2], 0))
            .map_or(0, |endpoint| endpoint.kind)
    };
    if at(ip.destination) == ENDPOINT_VIP || at(ip.source) == ENDPOINT_NODE_ADDRESS {
        Verdict::DropFragment
    } else {
        Verdict::PassFragment
    }
}
