//! Random histories.

use proptest::prelude::*;
use redirector_common::wire::tcp_flag;

use crate::world::NODES;

/// One thing that happens. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A client sends a SYN from a port of its own (a small range, so that ports are used again).
    Open { client: u8, port: u8 },
    /// A handshake goes on by one packet.
    Continue { handshake: usize },
    /// A client speaks; its node acknowledges.
    Ask { connection: usize },
    /// A node speaks first; the client acknowledges.
    Tell { connection: usize },
    /// Both sides close.
    Close { connection: usize },
    /// A check succeeds or fails. The node goes on serving what it has.
    Health { node: u16, up: bool },
    /// A node gets another weight; 0 is as if it was taken out of the pool.
    Weight { node: u16, weight: u32 },
    /// A node dies with all its connections, or comes back without them.
    Life { node: u16, alive: bool },
    /// Time passes, the agent does its rounds.
    Wait { seconds: u32 },
    /// The agent is killed and started again.
    Restart,
    /// SYNs from made-up addresses; nodes answer them all.
    Flood { seed: u32, packets: u8 },
    /// Somebody pretends to be the client of a connection.
    Spoof { connection: usize, flags: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop::sample::select(vec![
        tcp_flag::SYN,
        tcp_flag::ACK,
        tcp_flag::RST,
        tcp_flag::RST | tcp_flag::ACK,
        tcp_flag::FIN | tcp_flag::ACK,
        tcp_flag::SYN | tcp_flag::ACK,
    ]);
    prop_oneof![
        6 => (0_u8..24, 0_u8..6).prop_map(|(client, port)| Event::Open { client, port }),
        14 => any::<usize>().prop_map(|handshake| Event::Continue { handshake }),
        8 => any::<usize>().prop_map(|connection| Event::Ask { connection }),
        8 => any::<usize>().prop_map(|connection| Event::Tell { connection }),
        1 => any::<usize>().prop_map(|connection| Event::Close { connection }),
        4 => (1..=NODES, any::<bool>()).prop_map(|(node, up)| Event::Health { node, up }),
        2 => (1..=NODES, 0_u32..4).prop_map(|(node, weight)| Event::Weight { node, weight }),
        1 => (1..=NODES, prop::bool::weighted(0.7)).prop_map(|(node, alive)| Event::Life { node, alive }),
        4 => prop_oneof![1_u32..30, 50_u32..200, 500_u32..700].prop_map(|seconds| Event::Wait { seconds }),
        1 => Just(Event::Restart),
        1 => (any::<u32>(), 1_u8..60).prop_map(|(seed, packets)| Event::Flood { seed, packets }),
        3 => (any::<usize>(), flags).prop_map(|(connection, flags)| Event::Spoof { connection, flags }),
    ]
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..120)
}
