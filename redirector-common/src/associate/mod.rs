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

pub use datagram::{datagram, pinhole};
pub use negotiation::Expect;

use crate::{
    Frame,
    abi::{
        Association, ENDPOINT_ROUTE, ENDPOINT_SHARED, Endpoint, Handshake, PINHOLE_IN_USE, Pinhole,
    },
    address::Address,
    checksum,
    parse::Packet,
    tables::{FamilyTables, Tables},
    verdict::Event,
    vip::Vip,
    wire::tcp_flag,
};

/// How long a connection may take from its SYN-ACK to its last word of negotiation, seconds. Dante gives it 30
/// (`timeout.negotiate`).
const NEGOTIATION: u16 = 300;

/// Whether a TCP segment of a `client` may be part of a negotiation, or end an association. Asked of every packet,
/// so it costs one array load at the most.
#[inline(always)]
pub fn concerns<A: Address, T: Tables>(
    endpoint: &Endpoint,
    client: (A, [u8; 2]),
    packet: &Packet<A>,
    tables: &T,
) -> bool {
    endpoint.flags & ENDPOINT_SHARED != 0
        && (packet.has(tcp_flag::SYN | tcp_flag::FIN | tcp_flag::RST)
            || packet.has_data() && is_negotiating(tables.negotiating(cell(client)), tables.epoch()))
}

#[inline(always)]
fn cell<A: Address>(client: (A, [u8; 2])) -> u16 {
    client.0.low() ^ u16::from_be_bytes(client.1)
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

#[inline(always)]
fn begin<A: Address, T: Tables>(client: (A, [u8; 2]), tables: &T) {
    let epoch = tables.epoch();
    let known = tables.negotiating(cell(client));
    let port = u32::from(u16::from_be_bytes(client.1));
    let alone = !is_negotiating(known, epoch) || known & 0xffff == port;
    let value = u32::from(stamp(epoch)) << 16 | if alone { port } else { 0 };
    tables.set_negotiating(cell(client), value);
}

#[inline(always)]
fn end<A: Address, T: FamilyTables<A>>(client: (A, [u8; 2]), key: &A::FlowKey, tables: &T) {
    tables.forget_handshake(key);
    let known = tables.negotiating(cell(client));
    if known & 0xffff == u32::from(u16::from_be_bytes(client.1)) {
        tables.set_negotiating(cell(client), 0);
    }
}

/// Follows a client's segment to a shared listener, which goes to `backend`.
#[inline(always)]
pub fn from_client<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &F,
    transport: usize,
    packet: &Packet<A>,
    listener: &Endpoint,
    backend: u16,
    tables: &T,
) {
    let client = (packet.source, packet.source_port);
    let key = client.0.flow_key(client.1, listener.listener);
    let routed = listener.flags & ENDPOINT_ROUTE != 0;
    if packet.is_syn() {
        // Of a node that is answered past us only the client is heard.
        if routed {
            note_start(client, packet.sequence, 0, &key, tables);
        }
        return;
    }
    if packet.has(tcp_flag::RST | tcp_flag::FIN) {
        if let Some(association) = tables.association(&key)
            && (routed || packet.has(tcp_flag::RST) && packet.sequence == association.client_next)
        {
            close(client, &key, &association, tables);
        }
        return;
    }
    if !packet.has_data() {
        return;
    }
    let Some(handshake) = tables.handshake(&key) else {
        return;
    };
    match negotiation::read_client(frame, transport, packet, handshake) {
        Some(read) if read.expect == Expect::Other as u8 => end(client, &key, tables),
        Some(read) => {
            tables.note_handshake(&key, read);
            if routed && read.expect == Expect::Associate as u8 {
                let pinhole = Pinhole {
                    backend,
                    listener: listener.listener,
                    control: client.1,
                    reserved: 0,
                    seen: tables.epoch(),
                };
                let association = Association {
                    port: [0; 2],
                    backend,
                    opened: tables.epoch(),
                    client_next: 0,
                };
                open(client.0, &key, pinhole, association, tables);
                end(client, &key, tables);
            }
        }
        None => {
            tables.count(Event::NegotiationLost);
            end(client, &key, tables);
        }
    }
}

/// Where in a node's reply its own address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Offset from the start of the frame.
    offset: usize,
    /// Whether it begins with the second byte of a word of the segment.
    odd: bool,
}

impl Bound {
    /// Puts the VIP in the node's place, and gives the change of the transport checksum. An unspecified address stays:
    /// the client then uses the one that it knows.
    #[inline(always)]
    pub fn replace<A: Address, F: Frame>(self, frame: &mut F, node: A, vip: A) -> Option<u32> {
        let field = frame.header_mut::<A>(self.offset)?;
        if !field.is(node) {
            return Some(0);
        }
        *field = vip;
        let delta = checksum::fold(node.removed() + vip.added());
        // RFC 1071, section 2(B): what is shifted by a byte has its sum's bytes exchanged.
        Some(u32::from(if self.odd {
            delta.swap_bytes()
        } else {
            delta
        }))
    }
}

/// Follows a segment of a node to a client of a shared listener. Gives the address in it that must become the VIP's.
#[inline(always)]
pub fn from_node<A: Address, F: Frame, T: FamilyTables<A>>(
    frame: &F,
    transport: usize,
    packet: &Packet<A>,
    backend: u16,
    vip: &Vip<A>,
    tables: &T,
) -> Option<Bound> {
    let client = (packet.destination, packet.destination_port);
    let key = client.0.flow_key(client.1, vip.listener);
    if packet.is_syn_ack() {
        let acknowledged = packet.acknowledgement.wrapping_sub(1);
        note_start(client, acknowledged, packet.sequence, &key, tables);
        return None;
    }
    if packet.has(tcp_flag::RST | tcp_flag::FIN)
        && let Some(association) = tables.association(&key)
        && association.backend == backend
    {
        close(client, &key, &association, tables);
        return None;
    }
    if !packet.has_data() {
        return None;
    }
    let handshake = tables.handshake(&key)?;
    let (handshake, reply) = negotiation::read_node(frame, transport, packet, handshake);
    tables.note_handshake(&key, handshake);
    let reply = reply?;
    let offset = transport + usize::from(reply.offset);
    let bound = *frame.header::<A>(offset)?;
    if !bound.is(packet.source) && !bound.is(A::zeroed()) {
        return None;
    }
    let port = *frame.header::<[u8; 2]>(offset + size_of::<A>())?;
    let pinhole = Pinhole {
        backend,
        listener: vip.listener,
        control: client.1,
        reserved: 0,
        seen: tables.epoch(),
    };
    let association = Association {
        port,
        backend,
        opened: tables.epoch(),
        client_next: packet.acknowledgement,
    };
    let opened = open(client.0, &key, pinhole, association, tables);
    if opened {
        let mark = vip.address.pinhole_key(port, PINHOLE_IN_USE);
        tables.open_pinhole(&mark, Pinhole::default());
    }
    opened.then_some(Bound {
        offset,
        odd: reply.offset % 2 != 0,
    })
}

/// Begins to follow a connection of which the client has sent byte `client_first - 1` and the node
/// `node_first - 1`, their SYNs.
#[inline(always)]
fn note_start<A: Address, T: FamilyTables<A>>(
    client: (A, [u8; 2]),
    client_syn: u32,
    node_syn: u32,
    key: &A::FlowKey,
    tables: &T,
) {
    let handshake = Handshake {
        client_next: client_syn.wrapping_add(1),
        node_first: node_syn.wrapping_add(1),
        skip: 0,
        expect: Expect::Greeting as u8,
        reply_at: 0,
    };
    tables.note_handshake(key, handshake);
    begin(client, tables);
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
    key: &A::FlowKey,
    association: &Association,
    tables: &T,
) {
    let hole = client.0.pinhole_key(association.port, 0);
    let own = |pinhole: &Pinhole| {
        pinhole.backend == association.backend && pinhole.control == client.1
    };
    if tables.pinhole(&hole).as_ref().is_some_and(own) {
        tables.close_pinhole(&hole);
    }
    tables.forget_association(key);
    end(client, key, tables);
    tables.count(Event::AssociationClosed);
}
