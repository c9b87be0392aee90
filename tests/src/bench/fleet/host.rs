//! A relay in memory: the agent's decisions and the packet path, with maps that the one fills and the other reads. Both are
//! the code that runs on a relay.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use redirector::{
    config::Config,
    engine::{Found, Kind, Operator, OperatorState, Relay, Said, Standing, find},
    health::{Observation, Outcome},
    names::{FlowName, With},
    peer::Document,
};
use redirector_common::{
    abi::{Flow, NextHop, SlotTable},
    address::Address as _,
    host::{HostTables, SliceFrame},
    process,
    wire::{Ethernet, IPV4_NO_OPTIONS, Ipv4, Tcp, TcpHeaders, ethertype, protocol, tcp_flag},
};

/// The shared socket.
const VIP: ([u8; 4], u16) = ([10, 0, 0, 1], 1080);
/// The nodes' port.
const NODE_PORT: u16 = 1080;
/// Where an IPv4 header has the destination, from the first byte of the frame on.
const DESTINATION: std::ops::Range<usize> = 30..34;
/// The initial sequence number of nodes.
const NODE_BEGINS: u32 = 4_000;
/// Index of the only redirect's table.
const REDIRECT: u16 = 0;

/// A client's end of a connection.
pub(super) type Socket = ([u8; 4], u16);

/// A relay at work.
pub(super) struct Host {
    relay: Relay,
    tables: HostTables,
    epoch: u32,
}

/// Addresses of so many nodes.
pub(super) fn nodes(count: u16) -> Vec<Ipv4Addr> {
    (1..=u32::from(count))
        .map(|number| Ipv4Addr::from_bits(0x0a01_0000 + number))
        .collect()
}

impl Host {
    /// A relay that has just started, with all nodes up but those that are drained from the start.
    ///
    /// # Errors
    ///
    /// The engine does not take the configuration.
    pub(super) fn new(
        key: [u64; 2],
        nodes: &[Ipv4Addr],
        drained: &[Ipv4Addr],
    ) -> anyhow::Result<Self> {
        let relay = Relay::new(
            configuration(nodes)?,
            key,
            Found::default(),
            0,
            Instant::now(),
        )?;
        let mut tables = HostTables::default();
        tables.route_all_via(next_hop());
        let mut host = Self {
            relay,
            tables,
            epoch: 0,
        };
        host.relay.reach(|_| Some(next_hop()), 0);
        host.operate(drained, OperatorState::Draining)?;
        host.check(nodes, true);
        Ok(host)
    }

    /// As it is, with its flows, on another machine.
    #[must_use]
    pub(super) fn twin(&self) -> Self {
        let mut tables = HostTables::default();
        tables.route_all_via(next_hop());
        let mut twin = Self {
            relay: self.relay.clone(),
            tables,
            epoch: self.epoch,
        };
        let recorded = self.tables.ipv4.flows.borrow();
        twin.tables.ipv4.flows.borrow_mut().clone_from(&recorded);
        twin.put_in_place();
        twin
    }

    /// The next check of each of these nodes succeeds or fails.
    pub(super) fn check(&mut self, nodes: &[Ipv4Addr], up: bool) {
        let which: BTreeSet<IpAddr> = nodes.iter().copied().map(IpAddr::V4).collect();
        let targets = self.relay.targets().into_iter().map(|(target, _)| target);
        let checked = targets.filter(|target| which.contains(&target.address.ip()));
        let observations: Vec<Observation> = checked
            .map(|target| Observation {
                target,
                which: 0,
                outcome: if up {
                    Outcome::Connected
                } else {
                    Outcome::TimedOut
                },
                took: Duration::ZERO,
                at: Instant::now(),
            })
            .collect();
        self.relay.observe_all(&observations, self.epoch);
        self.put_in_place();
    }

    /// The operator drains or enables nodes.
    ///
    /// # Errors
    ///
    /// There are no such nodes.
    pub(super) fn operate(
        &mut self,
        nodes: &[Ipv4Addr],
        state: OperatorState,
    ) -> anyhow::Result<()> {
        let mut operator: Operator = self.relay.operator().clone();
        for node in nodes {
            let subject = find(self.relay.config(), Kind::Node, &node.to_string())?;
            operator.say(Said {
                subject,
                state,
                at: 0,
                until: None,
            });
        }
        self.relay.operate(operator, self.epoch);
        self.put_in_place();
        Ok(())
    }

    /// Time passes, and the agent looks at what is recorded.
    pub(super) fn pass(&mut self, seconds: u32) {
        self.epoch += seconds;
        let flows = self.flows();
        for (name, flow) in self.relay.round(&flows, self.epoch) {
            if let (Some(key), With::Listener(_)) = (key_of(name), name.with) {
                let mut recorded = self.tables.ipv4.flows.borrow_mut();
                if recorded.get(&key) == Some(&flow) {
                    recorded.remove(&key);
                }
            }
        }
        self.put_in_place();
    }

    /// The slot table that packets are sent by.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn table(&self) -> anyhow::Result<&SlotTable> {
        self.relay.table(REDIRECT).context("there is no table")
    }

    /// The node that new connections of each slot go to; none where there is none.
    ///
    /// # Errors
    ///
    /// There is no table.
    pub(super) fn owners(&self) -> anyhow::Result<Vec<Option<Ipv4Addr>>> {
        let backends = self.relay.backends().iter();
        let address_of: HashMap<u16, Ipv4Addr> = backends
            .filter_map(|(id, entry)| match entry.address.ip() {
                IpAddr::V4(address) => Some((id, address)),
                IpAddr::V6(_) => None,
            })
            .collect();
        let slots = self.table()?.slots.iter();
        Ok(slots
            .map(|slot| address_of.get(&slot.now).copied())
            .collect())
    }

    /// Connections that are recorded.
    pub(super) fn recorded(&self) -> usize {
        self.tables.ipv4.flows.borrow().len()
    }

    /// Where the packet path sends an acknowledgement of a client.
    pub(super) fn sends(&self, client: Socket) -> Option<Ipv4Addr> {
        self.says(client, tcp_flag::ACK, NODE_BEGINS + 1)
    }

    /// A client opens a connection, its node accepts it, and so does the client; gives the node.
    ///
    /// # Errors
    ///
    /// The packets of the handshake do not all go to one node.
    pub(super) fn open(&self, client: Socket) -> anyhow::Result<Ipv4Addr> {
        let node = self
            .says(client, tcp_flag::SYN, 0)
            .with_context(|| format!("a SYN of {client:?} goes nowhere"))?;
        let flags = tcp_flag::SYN | tcp_flag::ACK;
        let mut frame = frame((node.octets(), NODE_PORT), client, flags, NODE_BEGINS, 78);
        process(&mut SliceFrame::new(&mut frame), &self.tables);
        let reached = self.sends(client);
        ensure!(
            reached == Some(node),
            "the handshake of {client:?} with {node} ends at {reached:?}"
        );
        Ok(node)
    }

    /// What a peer is told, as it comes over the wire, and its size in bytes.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub(super) fn tell(&self) -> anyhow::Result<(Document, usize)> {
        let mut told = self.relay.tell(|_| None, self.epoch);
        told.add_flows(&self.flows(), self.epoch);
        let bytes = serde_json::to_vec(&told.document)?;
        let document = Document::read(&bytes).map_err(|error| anyhow!(error))?;
        Ok((document, bytes.len()))
    }

    /// Takes what a peer has told.
    pub(super) fn take(&mut self, document: &Document, standing: Standing) {
        let from = self.relay.from_peer(document);
        self.relay
            .take_slots(document, &from, |_| None, standing, self.epoch);
        for record in &document.flows {
            let there = self.relay.flow_from(record, &from, |_| false, self.epoch);
            let Some((name, theirs)) = there else {
                continue;
            };
            let Some(key) = key_of(name) else {
                continue;
            };
            let mut recorded = self.tables.ipv4.flows.borrow_mut();
            let known = recorded.get(&key).copied();
            if let Some(flow) = self.relay.flow_to_take(known, theirs, standing) {
                recorded.insert(key, flow);
            }
        }
        self.put_in_place();
    }

    fn flows(&self) -> Vec<(FlowName, Flow)> {
        let recorded = self.tables.ipv4.flows.borrow();
        let flows = recorded.iter();
        flows.map(|(key, flow)| ((*key).into(), *flow)).collect()
    }

    /// What the agent wants in the maps is in them.
    fn put_in_place(&mut self) {
        let wanted = self.relay.desired();
        let tables = &mut self.tables;
        tables.epoch = self.epoch;
        tables.backends = wanted.backends;
        tables.listeners = wanted.listeners;
        tables.ipv4.endpoints.clear();
        for (place, endpoint) in wanted.endpoints {
            if let IpAddr::V4(address) = place.address {
                tables.add_endpoint(address.octets(), place.port, place.protocol, endpoint);
            }
        }
        for index in wanted.tables.keys() {
            if let Some(table) = self.relay.table(*index) {
                let mut copy: Box<SlotTable> = bytemuck::zeroed_box();
                *copy = *table;
                tables.slot_tables.insert(*index, copy);
            }
        }
    }

    /// A client's packet; gives the node that it was sent to.
    fn says(&self, client: Socket, flags: u8, acknowledgement: u32) -> Option<Ipv4Addr> {
        let mut frame = frame(client, VIP, flags, 77, acknowledgement);
        process(&mut SliceFrame::new(&mut frame), &self.tables);
        let to: [u8; 4] = frame.get(DESTINATION)?.try_into().ok()?;
        (to != VIP.0).then_some(to.into())
    }
}

fn next_hop() -> NextHop {
    NextHop {
        ifindex: 1,
        ..NextHop::default()
    }
}

fn key_of(name: FlowName) -> Option<redirector_common::abi::FlowKey4> {
    match (name.client, name.with) {
        (SocketAddr::V4(client), With::Listener(listener)) => {
            let address = client.ip().octets();
            Some(address.flow_key(client.port().to_be_bytes(), listener))
        }
        (SocketAddr::V4(_) | SocketAddr::V6(_), _) => None,
    }
}

/// One redirect to one pool.
fn configuration(nodes: &[Ipv4Addr]) -> anyhow::Result<Config> {
    let mut text =
        "interfaces = [\"eth0\"]\n[health]\nrise = 1\nfall = 1\n[pool.p]\nnodes = [\n".to_owned();
    for node in nodes {
        writeln!(text, "\"{node}\",")?;
    }
    let vip = Ipv4Addr::from(VIP.0);
    write!(
        text,
        "]\n[redirect.r]\nlisten = [\"{vip}:{}\"]\nforward-to = {{ pool = \"p\", port = {NODE_PORT} }}\n",
        VIP.1
    )?;
    Config::parse("fleet", &text).map_err(|problems| anyhow!("{problems}"))
}

fn frame(
    source: Socket,
    destination: Socket,
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
    bytemuck::bytes_of(&headers).to_vec()
}
