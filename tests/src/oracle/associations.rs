//! Which bytes of a SOCKS reply are the address that is replaced (RFC 1928, RFC 1929).
//!
//! Both directions of a control connection are put together by their sequence numbers and read from the start each
//! time. Nothing here says what the product should remember; it says what must have happened to one segment.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Kind, World,
    headers::{Headers, Piece},
    kind::End,
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

/// One direction of a connection: the sequence number of its first byte, and its bytes by their distance from it.
#[derive(Clone, Debug, Default)]
struct Stream {
    first: Option<u32>,
    bytes: BTreeMap<u32, u8>,
}

impl Stream {
    /// Bytes this far into a connection are of no interest any more.
    const INTERESTING: u32 = 4096;

    fn put(&mut self, sequence: u32, data: &[u8]) {
        let Some(first) = self.first else { return };
        for (index, byte) in (0..).zip(data) {
            let at = sequence.wrapping_add(index).wrapping_sub(first);
            if at < Self::INTERESTING {
                self.bytes.entry(at).or_insert(*byte);
            }
        }
    }

    /// All bytes from the first on until one is missing.
    fn contiguous(&self) -> Vec<u8> {
        (0..).map_while(|at| self.bytes.get(&at).copied()).collect()
    }
}

/// Names a control connection: client, and listener.
type Connection = (End, u16);

/// All control connections.
#[derive(Clone, Debug, Default)]
pub struct Associations {
    connections: BTreeMap<Connection, (Stream, Stream)>,
}

impl Associations {
    /// Takes a frame of the conversation of a client with `listener` into account, and gives the bytes of a node's
    /// segment that are replaced, if there are any.
    pub fn observe(&mut self, world: &World, input: &[u8], listener: u16) -> Option<Replaced> {
        let headers = Headers::read(input).ok()?;
        let kind = world.kind(input);
        let from_node = matches!(kind, Kind::FromNode(_));
        let client = if from_node {
            (headers.destination, headers.destination_port(input))
        } else if matches!(kind, Kind::ToVip(_)) {
            (headers.source, headers.source_port(input))
        } else {
            return None;
        };
        if headers.protocol != super::headers::TCP || headers.piece != Piece::Whole {
            return None;
        }
        let tcp = headers.transport;
        let sequence = u32::from_be_bytes([
            input[tcp + 4],
            input[tcp + 5],
            input[tcp + 6],
            input[tcp + 7],
        ]);
        let data_at = tcp + usize::from(input[tcp + 12] / 16) * 4;
        let data = &input[data_at..headers.end];
        let (asked, answered) = self.connections.entry((client, listener)).or_default();
        let stream = if from_node {
            &mut *answered
        } else {
            &mut *asked
        };
        if headers.flags(input) & 2 != 0 {
            stream.first = Some(sequence.wrapping_add(1));
            stream.bytes.clear();
            return None;
        }
        stream.put(sequence, data);
        if !from_node || command(&asked.contiguous())? != ASSOCIATE {
            return None;
        }
        let answer = answered.contiguous();
        let (bound_at, length) = bound_address(&answer)?;
        let vip = bytes_of(world.listener(listener)?.address);
        // An address in pieces is replaced as long as it can still be the node's own.
        let bound = &answer[bound_at..answer.len().min(bound_at + length)];
        let own = bytes_of(headers.source);
        if length != vip.len() || !own.starts_with(bound) && bound.iter().any(|byte| *byte != 0) {
            return None;
        }
        let start = sequence.wrapping_sub(answered.first?);
        let bound_at = u32::try_from(bound_at).ok()?;
        // The part of the address that lies in this segment.
        let replaced: Vec<(usize, u8)> = (bound_at..)
            .zip(vip)
            .filter_map(|(at, byte)| {
                let index = usize::try_from(at.wrapping_sub(start)).ok()?;
                (index < data.len()).then_some((data_at + index, byte))
            })
            .collect();
        Some(Replaced {
            at: replaced.first()?.0,
            bytes: replaced.into_iter().map(|(_, byte)| byte).collect(),
        })
    }
}

/// The command UDP ASSOCIATE (RFC 1928, section 4).
const ASSOCIATE: u8 = 3;

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

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

/// Where the address in a node's answer begins, and its length: `05 00|02`, perhaps `01 00`, `05 00 00 01|04`.
fn bound_address(answer: &[u8]) -> Option<(usize, usize)> {
    let reply = match answer {
        [5, 0, ..] => 2,
        [5, 2, 1, 0, ..] => 4,
        _ => return None,
    };
    match answer.get(reply..reply + 4)? {
        [5, 0, 0, 1] => Some((reply + 4, 4)),
        [5, 0, 0, 4] => Some((reply + 4, 16)),
        _ => None,
    }
}
