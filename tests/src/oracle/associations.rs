//! Which bytes of a SOCKS reply are the address that is replaced (RFC 1928, RFC 1929).
//!
//! The client's bytes are put together by their sequence numbers and read from the start each time; of the node's
//! the reply must lie whole in one segment. It says what must have happened to one segment.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Kind, World,
    headers::{Headers, Piece},
    kind::End,
    world::bytes_of,
};

/// Bytes of a frame that must leave with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Offset of the first of them in the frame.
    pub at: usize,
    /// Their values.
    pub bytes: Vec<u8>,
}

impl Replaced {
    /// Writes them into what leaves for `input`, and the checksum that goes with them.
    pub(super) fn write(&self, headers: &Headers, input: &[u8], output: &mut [u8], complete: bool) {
        output[self.at..self.at + self.bytes.len()].copy_from_slice(&self.bytes);
        if let Some(sum) = headers.transport_sum(input) {
            sum.carry_over(input, output, complete);
        }
    }
}

/// A negotiation, from the node's SYN-ACK on.
#[derive(Clone, Debug)]
struct Negotiation {
    /// Sequence number of the client's first byte.
    asked_from: u32,
    /// The client's bytes in their order.
    asked: Vec<u8>,
    /// Sequence number of the node's first byte.
    answered_from: u32,
    /// The method that the node has chosen.
    method: Option<u8>,
}

/// Names a control connection: client, and listener.
type Connection = (End, u16);

/// All control connections.
#[derive(Clone, Debug, Default)]
pub struct Associations {
    negotiations: BTreeMap<Connection, Negotiation>,
    /// Those whose request has been granted: by which node, and the sequence number of the client's byte after it.
    granted: BTreeMap<Connection, (IpAddr, u32)>,
}

/// A TCP segment.
struct Segment<'a> {
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    /// Offset of the data in the frame.
    data_at: usize,
    data: &'a [u8],
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Segment<'_> {
    /// The TCP segment in a frame, or the part of it in a first fragment.
    fn read<'a>(input: &'a [u8], headers: &Headers) -> Option<Segment<'a>> {
        if headers.protocol != super::headers::TCP || matches!(headers.piece, Piece::Later(_)) {
            return None;
        }
        let tcp = headers.transport;
        let number = |at: usize| {
            u32::from_be_bytes([
                input[tcp + at],
                input[tcp + at + 1],
                input[tcp + at + 2],
                input[tcp + at + 3],
            ])
        };
        let data_at = tcp + usize::from(input[tcp + 12] / 16) * 4;
        Some(Segment {
            flags: input[tcp + 13],
            sequence: number(4),
            acknowledgement: number(8),
            data_at,
            data: &input[data_at..headers.end],
        })
    }

    const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

impl Associations {
    /// Takes a frame of the conversation of a client with `listener` into account, and gives the
    /// bytes of a node's segment that are replaced, if there are any.
    pub fn observe(&mut self, world: &World, input: &[u8], listener: u16) -> Option<Replaced> {
        let headers = Headers::read(input).ok()?;
        let segment = Segment::read(input, &headers)?;
        if matches!(world.kind(input), Kind::ToVip(_)) {
            let client = (headers.source, headers.source_port(input));
            self.observe_client((client, listener), &segment);
            None
        } else if matches!(world.kind(input), Kind::FromNode(_)) {
            let client = (headers.destination, headers.destination_port(input));
            let vip = world.listener(listener)?.address;
            self.observe_node((client, listener), &segment, (headers.source, vip))
        } else {
            None
        }
    }

    fn observe_client(&mut self, connection: Connection, segment: &Segment) {
        let closes = |(_, next): &(IpAddr, u32)| segment.has(RST) && segment.sequence == *next;
        if self.granted.get(&connection).is_some_and(closes) {
            self.close(connection);
            return;
        }
        let Some(negotiation) = self.negotiations.get_mut(&connection) else {
            return;
        };
        let is_syn = segment.flags & (SYN | ACK | RST) == SYN;
        if is_syn
            || segment.has(FIN | RST)
            || segment.data.is_empty()
            || command(&negotiation.asked).is_some()
        {
            return;
        }
        let known = u32::try_from(negotiation.asked.len()).expect("it is short");
        let next = negotiation.asked_from.wrapping_add(known);
        // Bytes before the next one have been read; where some are missing, the rest tells nothing.
        let again = next.wrapping_sub(segment.sequence);
        if again > 1 << 31 {
            self.negotiations.remove(&connection);
            return;
        }
        let again = usize::try_from(again).expect("64 bits");
        let data = segment.data.get(again..).unwrap_or_default();
        negotiation.asked.extend(data);
    }

    /// The control connection is over, and with it whatever was going on in it.
    fn close(&mut self, connection: Connection) {
        self.granted.remove(&connection);
        self.negotiations.remove(&connection);
    }

    fn observe_node(
        &mut self,
        connection: Connection,
        segment: &Segment,
        (node, vip): (IpAddr, IpAddr),
    ) -> Option<Replaced> {
        if segment.flags & (SYN | ACK | RST) == SYN | ACK {
            let negotiation = Negotiation {
                asked_from: segment.acknowledgement,
                asked: Vec::new(),
                answered_from: segment.sequence.wrapping_add(1),
                method: None,
            };
            self.negotiations.insert(connection, negotiation);
            return None;
        }
        let closes = |(by, _): &(IpAddr, u32)| segment.has(FIN | RST) && *by == node;
        if self.granted.get(&connection).is_some_and(closes) {
            self.close(connection);
            return None;
        }
        let negotiation = self.negotiations.get_mut(&connection)?;
        // Where the segment begins in the node's stream.
        let start = segment.sequence.wrapping_sub(negotiation.answered_from);
        let start = usize::try_from(start).expect("64 bits");
        if let Some(method) = 1_usize
            .checked_sub(start)
            .and_then(|at| segment.data.get(at))
        {
            negotiation.method = Some(*method);
        }
        let reply_at: usize = match negotiation.method? {
            NO_AUTHENTICATION => 2,
            PASSWORD => 4,
            _ => return None,
        };
        if command(&negotiation.asked) != Some(ASSOCIATE) {
            return None;
        }
        // A reply in pieces is left alone.
        let reply = segment.data.get(reply_at.checked_sub(start)?..)?;
        let bound_at = segment.data_at + reply_at - start + 4;
        let vip = bytes_of(vip);
        let kind = if vip.len() == 4 { 1 } else { 4 };
        if reply.len() < 4 + vip.len() + 2 || reply[..4] != [5, 0, 0, kind] {
            return None;
        }
        let bound = &reply[4..4 + vip.len()];
        if bound != bytes_of(node) && bound.iter().any(|byte| *byte != 0) {
            return None;
        }
        let granted = (node, segment.acknowledgement);
        self.granted.insert(connection, granted);
        Some(Replaced {
            at: bound_at,
            bytes: vip,
        })
    }
}

/// Methods (RFC 1928, section 3).
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;

/// The command UDP ASSOCIATE (RFC 1928, section 4).
const ASSOCIATE: u8 = 3;

/// The command that a client asks for: `05 n m*n`, perhaps `01 ul u pl p`, `05 cmd`.
fn command(asked: &[u8]) -> Option<u8> {
    if *asked.first()? != 5 {
        return None;
    }
    let mut at = 2 + usize::from(*asked.get(1)?);
    if *asked.get(at)? == 1 {
        at += 2 + usize::from(*asked.get(at + 1)?);
        at += 1 + usize::from(*asked.get(at)?);
    }
    if *asked.get(at)? != 5 {
        return None;
    }
    asked.get(at + 1).copied()
}
