//! What is sent over the relays.

use std::net::Ipv4Addr;

use redirector_common::bench::{CLIENTS, SHORT, Stream};
use serde::{Deserialize, Serialize};

use super::{rig, traffic::Expected};
use crate::{lab::plan::mac_of, packets::TcpPacket};

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// From clients to nodes.
    Forward,
    /// From a node to clients.
    Reply,
}

/// How many flows they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flows {
    /// One.
    One,
    /// 65,536, of as many clients.
    Many,
    /// Each packet is the SYN of a client that was not seen before.
    New,
}

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Which way.
    pub direction: Direction,
    /// How many flows.
    pub flows: Flows,
    /// Length of the frames without their check sequence, bytes.
    pub length: usize,
}

/// The shortest frame that Ethernet allows, bytes, without its check sequence.
const SHORTEST: usize = 60;
/// The longest ordinary one.
const LONGEST: usize = 1514;
/// The clients' port.
const CLIENT_PORT: u16 = 40_000;

const fn case(direction: Direction, flows: Flows, length: usize) -> Case {
    Case {
        direction,
        flows,
        length,
    }
}

/// The case that figures are promised of.
pub const MANY: Case = case(Direction::Forward, Flows::Many, SHORTEST);
/// See [`MANY`].
pub const ONE: Case = case(Direction::Forward, Flows::One, SHORTEST);
/// See [`MANY`].
pub const NEW: Case = case(Direction::Forward, Flows::New, SHORTEST);
/// Answers to [`MANY`].
pub const ANSWERS: Case = case(Direction::Reply, Flows::Many, SHORTEST);

/// In the order in which they are measured. New flows come last, since they fill the tables of those who keep
/// one.
pub(super) fn all(quick: bool) -> Vec<Case> {
    use Direction::{Forward, Reply};
    let mut all = vec![ONE, MANY, case(Forward, Flows::Many, LONGEST), ANSWERS];
    if !quick {
        all.push(case(Forward, Flows::One, LONGEST));
        all.push(case(Reply, Flows::One, SHORTEST));
        all.push(case(Reply, Flows::Many, LONGEST));
    }
    all.push(NEW);
    all
}

impl Case {
    /// What it is called in reports.
    pub fn name(&self) -> String {
        let direction = match self.direction {
            Direction::Forward => "to nodes",
            Direction::Reply => "to clients",
        };
        let flows = match self.flows {
            Flows::One => "1 flow",
            Flows::Many => "64k flows",
            Flows::New => "all new flows",
        };
        // Ethernet's four bytes of check sequence are part of a frame's usual name; the largest frame is
        // usually called by what it is without them.
        let length = if self.length == SHORTEST {
            SHORTEST + 4
        } else {
            self.length
        };
        format!("{direction}, {flows}, {length} B")
    }

    /// The frames, and the stream that makes them different. `to` is where clients send.
    pub(crate) fn packets(&self, to: Ipv4Addr) -> (Vec<u8>, Stream) {
        const ACK: u8 = 0x10;
        const SYN: u8 = 0x02;
        let client = (Ipv4Addr::from_bits(CLIENTS).octets(), CLIENT_PORT);
        let (source, destination, receiver, client_at) = match self.direction {
            Direction::Forward => (client, (to.octets(), rig::PORT), rig::VIP, 26),
            Direction::Reply => (
                (rig::node(0).octets(), rig::PORT),
                client,
                rig::RELAY_INSIDE,
                30,
            ),
        };
        let headers = 14 + 20 + 20;
        let packet = TcpPacket {
            source,
            destination,
            flags: if self.flows == Flows::New { SYN } else { ACK },
            payload: vec![
                0x2a;
                if self.length > SHORTEST {
                    self.length - headers
                } else {
                    0
                }
            ],
            ..TcpPacket::default()
        };
        let mut frame = packet.build();
        frame.resize(self.length, 0);
        for (place, part) in frame.iter_mut().zip(mac_of(receiver).split(':')) {
            *place = u8::from_str_radix(part, 16).unwrap_or(0);
        }
        let mut start = [0; SHORT];
        start.copy_from_slice(&frame[..SHORT]);
        let length = headers - 14 + packet.payload.len();
        let stream = Stream {
            headers: start,
            ip_sum: sum_without(&frame[14..34], &[10, client_at - 14]),
            segment_sum: sum_without(&frame[26..14 + length], &[24, client_at - 26])
                + u32::try_from(length - 20).unwrap_or(0)
                + 6,
            client_at: u32::try_from(client_at).unwrap_or(0),
            client_mask: match self.flows {
                Flows::One => 0,
                Flows::Many => 0xffff,
                Flows::New => 0x3f_ffff,
            },
            counter: 0,
            device: 0,
        };
        (frame, stream)
    }

    /// What an address must have become. Relays that change nothing are asked to have kept it.
    pub(crate) fn expected(&self, to: Ipv4Addr, translates: bool) -> Expected {
        let (address_at, address, mask) = match (self.direction, translates) {
            (Direction::Forward, true) => (30, rig::NODES, rig::NODES_MASK),
            (Direction::Forward, false) => (30, to.to_bits(), u32::MAX),
            (Direction::Reply, true) => (26, rig::VIP.to_bits(), u32::MAX),
            (Direction::Reply, false) => (26, rig::node(0).to_bits(), u32::MAX),
        };
        Expected {
            address_at,
            address,
            mask,
        }
    }
}

/// The sum of 16-bit words, without the two bytes at the first place and the four at the second.
fn sum_without(bytes: &[u8], [checksum_at, address_at]: &[usize; 2]) -> u32 {
    let left_out = |at: usize| at == *checksum_at || at == *address_at || at == address_at + 2;
    (0..bytes.len())
        .step_by(2)
        .filter(|at| !left_out(*at))
        .map(|at| u32::from(bytes[at]) << 8 | bytes.get(at + 1).map_or(0, |low| u32::from(*low)))
        .sum()
}
