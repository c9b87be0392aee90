//! The promise: a connection whose node still answers never moves, whatever happens to the others.
//!
//! Random histories of clients, nodes, attackers and the agent run over the very code that the kernel
//! runs. After every packet of an established connection the history checks that it reached the node
//! which the connection was made with. Mutants of the agent run the same histories and must break some.

use std::collections::BTreeMap;

use bytemuck::bytes_of;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use redirector::engine::{Candidate, Census, SlotBook, Timeouts, is_over, winners};
use redirector_common::{
    abi::{
        BACKEND_DEAD, Backend, Endpoint, EndpointKey4, Flow, FlowKey4, NextHop, Slot, SlotTable,
    },
    host::{HostTables, SliceFrame},
    process,
    verdict::Verdict,
    wire::{Ethernet, IPV4_NO_OPTIONS, Ipv4, Tcp, TcpHeaders, ethertype, protocol, tcp_flag},
};

const VIP: ([u8; 4], u16) = ([10, 0, 0, 1], 1080);
const NODE_PORT: u16 = 1080;
const NODES: u16 = 5;
const KEY: [u64; 2] = [3, 5];
const TIMEOUTS: Timeouts = Timeouts {
    session: 600,
    handshake: 60,
    closing: 90,
};

/// One thing that happens. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Event {
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

fn history() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..120)
}

/// An agent as it should be, or one with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agent {
    Real,
    /// Knows no `was`: every packet goes to the slot's `now`.
    AlwaysNow,
    /// Does not wait before it settles a slot.
    SettlesAtOnce,
    /// Forgets recorded flows when it settles.
    IgnoresFlows,
}

type Client = ([u8; 4], u16);

#[derive(Clone, Copy, Debug)]
struct Handshake {
    backend: u16,
    /// The node's initial sequence number.
    isn: u32,
    started: u32,
    answered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    backend: u16,
    /// What the client acknowledges.
    acknowledges: u32,
    spoke: u32,
}

struct World {
    agent: Agent,
    tables: HostTables,
    book: SlotBook,
    up: BTreeMap<u16, bool>,
    weight: BTreeMap<u16, u32>,
    alive: BTreeMap<u16, bool>,
    handshakes: BTreeMap<Client, Handshake>,
    connections: BTreeMap<Client, Connection>,
    next_isn: u32,
    checked: u64,
}

fn address_of(backend: u16) -> [u8; 4] {
    [10, 0, 1, u8::try_from(backend).expect("few nodes")]
}

impl World {
    fn new(agent: Agent) -> Self {
        let mut tables = HostTables {
            max_flows: 4096,
            ..HostTables::default()
        };
        let hop = NextHop {
            ifindex: 1,
            ..NextHop::default()
        };
        tables.route_all_via(hop);
        let key = |address, port: u16| EndpointKey4 {
            address,
            port: port.to_be_bytes(),
            protocol: protocol::TCP,
            reserved: 0,
        };
        tables.add_endpoint(key(VIP.0, VIP.1), Endpoint::listener(VIP.0, VIP.1, 0, 1));
        for id in 1..=NODES {
            let backend = Backend::new(address_of(id), NODE_PORT).via(hop);
            tables.backends.insert(id, backend);
            let node = Endpoint::node(&backend, id, VIP.0, VIP.1, 0, 1);
            tables.add_endpoint(key(address_of(id), NODE_PORT), node);
        }
        let mut world = Self {
            agent,
            tables,
            book: SlotBook::new(KEY),
            up: (1..=NODES).map(|id| (id, true)).collect(),
            weight: (1..=NODES).map(|id| (id, 1)).collect(),
            alive: (1..=NODES).map(|id| (id, true)).collect(),
            handshakes: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_isn: 1,
            checked: 0,
        };
        world.retarget();
        world
    }

    fn epoch(&self) -> u32 {
        self.tables.epoch
    }

    /// The agent computes the table anew and puts it in place.
    fn retarget(&mut self) {
        let candidates: Vec<Candidate> = (1..=NODES)
            .filter(|id| self.up[id] && self.alive[id] && self.weight[id] > 0)
            .map(|id| Candidate {
                backend: id,
                address: address_of(id),
                weight: self.weight[&id],
            })
            .collect();
        self.book.retarget(&winners(KEY, &candidates), self.epoch());
        self.put_in_place();
    }

    fn put_in_place(&mut self) {
        let mut table: Box<SlotTable> = bytemuck::zeroed_box();
        *table = *self.book.table();
        if self.agent == Agent::AlwaysNow {
            for slot in &mut table.slots {
                *slot = Slot::settled_on(slot.now);
            }
            table.split_slots = 0;
        }
        self.tables.slot_tables.insert(0, table);
    }

    /// The agent's round: expire, settle, forget the flows of settled slots.
    fn round(&mut self) {
        let epoch = self.epoch();
        self.tables
            .flows
            .borrow_mut()
            .retain(|_, flow| !is_over(flow, &TIMEOUTS, epoch));
        let flows: Vec<(FlowKey4, Flow)> = self
            .tables
            .flows
            .borrow()
            .iter()
            .map(|(key, flow)| (*key, *flow))
            .collect();
        let recorded = flows.iter().map(|(key, flow)| (key, flow));
        let (census, timeouts) = match self.agent {
            Agent::Real | Agent::AlwaysNow => (Census::take(&self.book, recorded), TIMEOUTS),
            Agent::SettlesAtOnce => {
                let at_once = Timeouts {
                    session: 0,
                    handshake: 0,
                    ..TIMEOUTS
                };
                (Census::take(&self.book, recorded), at_once)
            }
            Agent::IgnoresFlows => (Census::take(&self.book, []), TIMEOUTS),
        };
        self.book.settle(&census, &timeouts, epoch);
        self.put_in_place();
        let book = &self.book;
        self.tables
            .flows
            .borrow_mut()
            .retain(|key, _| book[redirector_common::hash::slot_of(KEY, key.client)].is_split());
    }

    /// A client's packet; gives the backend that it was sent to.
    fn to_vip(&self, client: Client, flags: u8, acknowledgement: u32) -> Option<u16> {
        let mut frame = frame(client, VIP, flags, 77, acknowledgement);
        let outcome = process(&mut SliceFrame(&mut frame), &self.tables);
        let sent = !matches!(outcome.verdict, Verdict::DropNoBackend);
        sent.then(|| u16::from(frame[33]))
    }

    /// A node's packet to a client.
    fn from_node(&self, backend: u16, client: Client, flags: u8, sequence: u32) {
        let mut frame = frame(
            (address_of(backend), NODE_PORT),
            client,
            flags,
            sequence,
            78,
        );
        let outcome = process(&mut SliceFrame(&mut frame), &self.tables);
        assert_eq!(outcome.verdict, Verdict::Reply);
    }

    /// A packet of an established connection, checked.
    fn speak(&mut self, client: Client, flags: u8) -> Result<u16, String> {
        let connection = self.connections[&client];
        let reached = self.to_vip(client, flags, connection.acknowledges);
        self.checked += 1;
        if reached == Some(connection.backend) {
            Ok(connection.backend)
        } else {
            let slot = self.book[redirector_common::hash::slot_of(KEY, client.0)];
            Err(format!(
                "{client:?} lives on {} and reached {reached:?} ({slot:?})",
                connection.backend
            ))
        }
    }

    fn step(&mut self, event: &Event) -> Result<(), String> {
        // What the protocol itself has given up is no part of the promise.
        let epoch = self.epoch();
        self.handshakes
            .retain(|_, handshake| epoch - handshake.started <= TIMEOUTS.handshake);
        self.connections
            .retain(|_, connection| epoch - connection.spoke <= TIMEOUTS.session);
        match *event {
            Event::Open { client, port } => {
                let client = ([198, 51, 100, client], 40_000 + u16::from(port));
                if self.connections.contains_key(&client) || self.handshakes.contains_key(&client) {
                    return Ok(());
                }
                let Some(backend) = self.to_vip(client, tcp_flag::SYN, 0) else {
                    return Ok(());
                };
                if self.alive[&backend] {
                    self.next_isn = self
                        .next_isn
                        .wrapping_mul(1_664_525)
                        .wrapping_add(1_013_904_223);
                    let handshake = Handshake {
                        backend,
                        isn: self.next_isn,
                        started: epoch,
                        answered: false,
                    };
                    self.handshakes.insert(client, handshake);
                }
            }
            Event::Continue { handshake } => {
                let Some(client) = pick(&self.handshakes, handshake) else {
                    return Ok(());
                };
                let handshake = self.handshakes.get_mut(&client).expect("picked");
                let Handshake {
                    backend,
                    isn,
                    answered,
                    ..
                } = *handshake;
                handshake.answered = true;
                if !answered {
                    self.from_node(backend, client, tcp_flag::SYN | tcp_flag::ACK, isn);
                    return Ok(());
                }
                self.handshakes.remove(&client);
                let acknowledges = isn.wrapping_add(1);
                self.connections.insert(
                    client,
                    Connection {
                        backend,
                        acknowledges,
                        spoke: epoch,
                    },
                );
                self.speak(client, tcp_flag::ACK)?;
            }
            Event::Ask { connection } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                let backend = self.speak(client, tcp_flag::ACK)?;
                self.from_node(backend, client, tcp_flag::ACK, 99);
                self.touch(client);
            }
            Event::Tell { connection } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                self.from_node(self.connections[&client].backend, client, tcp_flag::ACK, 99);
                self.touch(client);
                self.speak(client, tcp_flag::ACK)?;
            }
            Event::Close { connection } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                let backend = self.speak(client, tcp_flag::FIN | tcp_flag::ACK)?;
                self.from_node(backend, client, tcp_flag::FIN | tcp_flag::ACK, 99);
                self.speak(client, tcp_flag::ACK)?;
                self.connections.remove(&client);
            }
            Event::Health { node, up } => {
                self.up.insert(node, up);
                self.retarget();
            }
            Event::Weight { node, weight } => {
                self.weight.insert(node, weight);
                self.retarget();
            }
            Event::Life { node, alive } => {
                self.alive.insert(node, alive);
                let backend = self.tables.backends.get_mut(&node).expect("a node");
                backend.flags =
                    backend.flags & !BACKEND_DEAD | if alive { 0 } else { BACKEND_DEAD };
                self.connections
                    .retain(|_, connection| connection.backend != node);
                self.handshakes
                    .retain(|_, handshake| handshake.backend != node);
                self.retarget();
            }
            Event::Wait { seconds } => {
                self.tables.epoch += seconds;
                self.round();
            }
            Event::Restart => {
                let mut table: Box<SlotTable> = bytemuck::zeroed_box();
                *table = *self.book.table();
                self.book = SlotBook::adopt(table, self.epoch());
            }
            Event::Flood { seed, packets } => {
                for n in 0..u32::from(packets) {
                    let client = (
                        seed.wrapping_add(n)
                            .wrapping_mul(2_654_435_761)
                            .to_be_bytes(),
                        6000,
                    );
                    if let Some(backend) = self.to_vip(client, tcp_flag::SYN, 0) {
                        self.from_node(backend, client, tcp_flag::SYN | tcp_flag::ACK, seed);
                    }
                }
            }
            Event::Spoof { connection, flags } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                let lives_on = self.connections[&client].backend;
                let Some(backend) = self.to_vip(client, flags, 12_345) else {
                    return Ok(());
                };
                if backend == lives_on {
                    // RFC 5961: the node answers out-of-window segments with a challenge.
                    self.from_node(backend, client, tcp_flag::ACK, 99);
                } else if !self.alive[&backend] {
                    return Ok(());
                } else if flags == tcp_flag::SYN {
                    // The node takes it for a new connection; the client challenges the answer.
                    self.next_isn = self
                        .next_isn
                        .wrapping_mul(1_664_525)
                        .wrapping_add(1_013_904_223);
                    self.from_node(
                        backend,
                        client,
                        tcp_flag::SYN | tcp_flag::ACK,
                        self.next_isn,
                    );
                } else {
                    self.from_node(backend, client, tcp_flag::RST, 0);
                }
                self.speak(client, tcp_flag::ACK)?;
            }
        }
        Ok(())
    }

    fn touch(&mut self, client: Client) {
        let epoch = self.epoch();
        self.connections
            .get_mut(&client)
            .expect("a connection")
            .spoke = epoch;
    }
}

fn pick<V>(map: &BTreeMap<Client, V>, index: usize) -> Option<Client> {
    (!map.is_empty()).then(|| *map.keys().nth(index % map.len()).expect("within"))
}

fn frame(
    source: Client,
    destination: Client,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
) -> Vec<u8> {
    let headers = TcpHeaders {
        ethernet: Ethernet {
            ethertype: ethertype::IPV4,
            ..Ethernet::default()
        },
        ipv4: Ipv4 {
            version_ihl: IPV4_NO_OPTIONS,
            total_length: 40_u16.to_be_bytes(),
            ttl: 64,
            protocol: protocol::TCP,
            source: source.0,
            destination: destination.0,
            ..Ipv4::default()
        },
        tcp: Tcp {
            source: source.1.to_be_bytes(),
            destination: destination.1.to_be_bytes(),
            sequence: sequence.to_be_bytes(),
            acknowledgement: acknowledgement.to_be_bytes(),
            data_offset: 5 << 4,
            flags,
            ..Tcp::default()
        },
    };
    bytes_of(&headers).to_vec()
}

/// Plays a history; gives the number of packets checked, or how a connection moved.
fn play(agent: Agent, history: &[Event]) -> Result<u64, String> {
    let mut world = World::new(agent);
    for (at, event) in history.iter().enumerate() {
        world
            .step(event)
            .map_err(|moved| format!("event {at}, {event:?}: {moved}"))?;
    }
    Ok(world.checked)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_whose_node_answers_never_moves(history in history()) {
        if let Err(moved) = play(Agent::Real, &history) {
            prop_assert!(false, "{}", moved);
        }
    }
}

/// How many of 300 fixed histories a faulty agent breaks, and how many packets they check.
fn broken_by(agent: Agent) -> (usize, u64) {
    let mut runner = TestRunner::deterministic();
    let mut broken = 0;
    let mut checked = 0;
    for _ in 0..300 {
        let history = history()
            .new_tree(&mut runner)
            .expect("a history")
            .current();
        match play(agent, &history) {
            Ok(packets) => checked += packets,
            Err(_) => broken += 1,
        }
    }
    (broken, checked)
}

#[test]
fn the_histories_of_the_mutants_are_kept_by_the_real_agent_and_check_many_packets() {
    let (broken, checked) = broken_by(Agent::Real);
    assert_eq!(broken, 0);
    assert!(checked > 3000, "only {checked} packets were checked");
}

#[test]
fn an_agent_that_always_uses_now_breaks_connections() {
    assert!(broken_by(Agent::AlwaysNow).0 > 30);
}

#[test]
fn an_agent_that_settles_at_once_breaks_connections() {
    assert!(broken_by(Agent::SettlesAtOnce).0 > 0);
}

#[test]
fn an_agent_that_settles_over_recorded_flows_breaks_connections() {
    assert!(broken_by(Agent::IgnoresFlows).0 > 0);
}
