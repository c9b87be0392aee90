//! Clients, nodes and an agent around the code of the packet path.

use std::collections::BTreeMap;

use bytemuck::bytes_of;
use redirector::engine::{Candidate, Census, SlotBook, Timeouts, is_over, winners};
use redirector_common::{
    abi::{BACKEND_DEAD, Backend, Endpoint, Flow, FlowKey4, NextHop, Slot, SlotTable},
    host::{HostTables, SliceFrame},
    process,
    verdict::Verdict,
    wire::{Ethernet, IPV4_NO_OPTIONS, Ipv4, Tcp, TcpHeaders, ethertype, protocol, tcp_flag},
};

use crate::history::Event;

const VIP: ([u8; 4], u16) = ([10, 0, 0, 1], 1080);
const NODE_PORT: u16 = 1080;
pub(crate) const NODES: u16 = 5;
const KEY: [u64; 2] = [3, 5];
const TIMEOUTS: Timeouts = Timeouts {
    session: 600,
    udp: 60,
    handshake: 60,
    closing: 90,
};

/// An agent as it should be, or one with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
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

pub(crate) struct World {
    agent: Agent,
    tables: HostTables,
    book: SlotBook,
    up: BTreeMap<u16, bool>,
    weight: BTreeMap<u16, u32>,
    alive: BTreeMap<u16, bool>,
    handshakes: BTreeMap<Client, Handshake>,
    connections: BTreeMap<Client, Connection>,
    next_isn: u32,
    pub(crate) checked: u64,
}

fn address_of(backend: u16) -> [u8; 4] {
    [10, 0, 1, u8::try_from(backend).expect("few nodes")]
}

impl World {
    pub(crate) fn new(agent: Agent) -> Self {
        let mut tables = HostTables {
            max_flows: 4096,
            ..HostTables::default()
        };
        let hop = NextHop {
            ifindex: 1,
            ..NextHop::default()
        };
        tables.route_all_via(hop);
        tables.add_endpoint(
            VIP.0,
            VIP.1,
            protocol::TCP,
            Endpoint::listener(VIP.0.into(), VIP.1, 0, 1, 0),
        );
        for id in 1..=NODES {
            let backend = Backend::new(address_of(id).into(), NODE_PORT).via(hop);
            tables.backends.insert(id, backend);
            let node = Endpoint::node(&backend, id, VIP.0.into(), VIP.1, 0, 1, 0);
            tables.add_endpoint(address_of(id), NODE_PORT, protocol::TCP, node);
        }
        let mut world = Self {
            agent,
            tables,
            book: SlotBook::new(KEY, [0; 2]),
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
                identity: address_of(id).into(),
                weight: self.weight[&id],
            })
            .collect();
        self.book
            .retarget(&winners(KEY, &candidates), TIMEOUTS.udp, self.epoch());
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
            .ipv4
            .flows
            .borrow_mut()
            .retain(|_, flow| !is_over(flow, &TIMEOUTS, epoch));
        let flows: Vec<(FlowKey4, Flow)> = self
            .tables
            .ipv4
            .flows
            .borrow()
            .iter()
            .map(|(key, flow)| (*key, *flow))
            .collect();
        let recorded = flows.iter().map(|(key, flow)| (key.client.into(), flow));
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
        let settling = self.book.may_settle(&census, &timeouts, epoch);
        self.book.settle(&settling);
        self.put_in_place();
        let book = &self.book;
        self.tables
            .ipv4
            .flows
            .borrow_mut()
            .retain(|key, _| book[redirector_common::hash::slot_of(KEY, key.client)].is_split());
    }

    /// A client's packet; gives the backend that it was sent to.
    fn client_says(&self, client: Client, flags: u8, acknowledgement: u32) -> Option<u16> {
        let mut frame = frame(client, VIP, flags, 77, acknowledgement);
        let outcome = process(&mut SliceFrame::new(&mut frame), &self.tables);
        let sent = !matches!(outcome.verdict, Verdict::DropNoBackend);
        sent.then(|| u16::from(frame[33]))
    }

    /// A node's packet to a client.
    fn node_says(&self, backend: u16, client: Client, flags: u8, sequence: u32) {
        let mut frame = frame(
            (address_of(backend), NODE_PORT),
            client,
            flags,
            sequence,
            78,
        );
        let outcome = process(&mut SliceFrame::new(&mut frame), &self.tables);
        assert_eq!(outcome.verdict, Verdict::Reply);
    }

    /// A packet of an established connection, checked.
    fn speak(&mut self, client: Client, flags: u8) -> Result<u16, String> {
        let connection = self.connections[&client];
        let reached = self.client_says(client, flags, connection.acknowledges);
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

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of event")]
    pub(crate) fn step(&mut self, event: &Event) -> Result<(), String> {
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
                let Some(backend) = self.client_says(client, tcp_flag::SYN, 0) else {
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
                    self.node_says(backend, client, tcp_flag::SYN | tcp_flag::ACK, isn);
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
                self.node_says(backend, client, tcp_flag::ACK, 99);
                self.touch(client);
            }
            Event::Tell { connection } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                self.node_says(self.connections[&client].backend, client, tcp_flag::ACK, 99);
                self.touch(client);
                self.speak(client, tcp_flag::ACK)?;
            }
            Event::Close { connection } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                let backend = self.speak(client, tcp_flag::FIN | tcp_flag::ACK)?;
                self.node_says(backend, client, tcp_flag::FIN | tcp_flag::ACK, 99);
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
                    if let Some(backend) = self.client_says(client, tcp_flag::SYN, 0) {
                        self.node_says(backend, client, tcp_flag::SYN | tcp_flag::ACK, seed);
                    }
                }
            }
            Event::Spoof { connection, flags } => {
                let Some(client) = pick(&self.connections, connection) else {
                    return Ok(());
                };
                let lives_on = self.connections[&client].backend;
                let Some(backend) = self.client_says(client, flags, 12_345) else {
                    return Ok(());
                };
                if backend == lives_on {
                    // RFC 5961: the node answers out-of-window segments with a challenge.
                    self.node_says(backend, client, tcp_flag::ACK, 99);
                } else if !self.alive[&backend] {
                    return Ok(());
                } else if flags == tcp_flag::SYN {
                    // The node takes it for a new connection; the client challenges the answer.
                    self.next_isn = self
                        .next_isn
                        .wrapping_mul(1_664_525)
                        .wrapping_add(1_013_904_223);
                    self.node_says(
                        backend,
                        client,
                        tcp_flag::SYN | tcp_flag::ACK,
                        self.next_isn,
                    );
                } else {
                    self.node_says(backend, client, tcp_flag::RST, 0);
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
