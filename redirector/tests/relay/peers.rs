//! Two relays that tell each other of connections, through any history.

use std::collections::HashMap;

use redirector::{
    engine::{Kind, OperatorState, Said, Standing, find},
    names::{FlowName, With},
    peer::Document,
};
use redirector_common::abi::{FLOW_CONTESTED, FLOW_RESET, Flow};

use super::*;

/// Seconds.
const SESSION: u32 = 600;

/// `nodes` in this order, so that relays number them differently.
fn config_with(nodes: &[&str]) -> Config {
    let text = format!(
        "interfaces = [\"eth0\"]\n[flows]\nsession-timeout = \"{SESSION}s\"\nhandshake-timeout = \"10s\"\n\
         [pool.p]\nnodes = {nodes:?}\n\
         [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\non-down = \"keep\"\n\
         forward-to = {{ pool = \"p\", port = 1080 }}\n"
    );
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

const NODES: [&str; 4] = ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"];
const REVERSED: [&str; 4] = ["10.0.1.4", "10.0.1.3", "10.0.1.2", "10.0.1.1"];

/// A relay with the flows that its data path has recorded.
struct Host {
    relay: Relay,
    flows: HashMap<FlowName, Flow>,
}

/// A connection of the model: its client, the node that it is with, and when that last spoke.
struct Connection {
    client: SocketAddr,
    node: SocketAddr,
    spoke: u32,
}

impl Host {
    fn new(nodes: &[&str]) -> Self {
        Self {
            relay: relay(config_with(nodes)),
            flows: HashMap::new(),
        }
    }

    fn name(&self, client: SocketAddr) -> FlowName {
        let state = self.relay.redirects().values().next().expect("a redirect");
        FlowName {
            client,
            with: With::Listener(state.listeners[0].id),
        }
    }

    fn slot(&self, client: SocketAddr) -> Slot {
        let state = self.relay.redirects().values().next().expect("a redirect");
        state.book[state.book.slot_of(client.ip())]
    }

    /// Where the data path sends a packet of an established connection.
    fn sends(&self, client: SocketAddr) -> Option<SocketAddr> {
        let slot = self.slot(client);
        let recorded = self.flows.get(&self.name(client));
        let backend = match recorded {
            _ if !slot.is_split() => slot.now,
            Some(flow) => flow.backend,
            None => slot.unrecorded(),
        };
        self.relay
            .backends()
            .get(backend)
            .map(|entry| entry.address)
    }

    /// The data path hears the node of a connection.
    fn hear(&mut self, connection: &Connection, epoch: u32) {
        if self.slot(connection.client).is_split() {
            let backend = self.relay.backends().id_of(connection.node).expect("one");
            let flow = Flow {
                backend,
                flags: 0,
                seen: epoch,
            };
            self.flows.insert(self.name(connection.client), flow);
        }
    }

    fn begin(&mut self, client: SocketAddr, epoch: u32) -> Option<Connection> {
        let node = self.relay.backends().get(self.slot(client).now)?.address;
        let connection = Connection {
            client,
            node,
            spoke: epoch,
        };
        self.flows.remove(&self.name(client));
        self.hear(&connection, epoch);
        Some(connection)
    }

    fn round(&mut self, epoch: u32) {
        let flows: Vec<_> = self
            .flows
            .iter()
            .map(|(name, flow)| (*name, *flow))
            .collect();
        for (name, _) in self.relay.round(&flows, epoch) {
            self.flows.remove(&name);
        }
    }

    fn document(&self, epoch: u32) -> Document {
        let mut told = self.relay.tell(|_| None, epoch);
        let flows: Vec<_> = self
            .flows
            .iter()
            .map(|(name, flow)| (*name, *flow))
            .collect();
        told.add_flows(&flows, epoch);
        told.document
    }

    fn take(&mut self, document: &Document, standing: Standing, epoch: u32) {
        let from = self.relay.from_peer(document);
        self.relay
            .take_slots(document, &from, |_| None, standing, epoch);
        for record in &document.flows {
            let there = self.relay.flow_from(record, &from, |_| false, epoch);
            let Some((name, theirs)) = there else {
                continue;
            };
            let known = self.flows.get(&name).copied();
            if let Some(flow) = self.relay.flow_to_take(known, theirs, standing) {
                self.flows.insert(name, flow);
            }
        }
    }

    /// A node of the pool is seen up or down, or its operator drains or enables it.
    fn change(&mut self, epoch: u32) {
        let node = NODES[fastrand::usize(..NODES.len())];
        if fastrand::bool() {
            let subject = find(self.relay.config(), Kind::Node, node).expect("a name");
            let mut operator = self.relay.operator().clone();
            let state = if fastrand::bool() {
                OperatorState::Draining
            } else {
                OperatorState::Enabled
            };
            operator.say(Said {
                subject,
                state,
                at: 0,
                until: None,
            });
            self.relay.operate(operator, epoch);
            return;
        }
        let outcome = if fastrand::bool() {
            Outcome::Connected
        } else {
            Outcome::Refused
        };
        for (target, _) in self.relay.targets() {
            if target.address.ip().to_string() == node {
                let observation = Observation {
                    target,
                    which: 0,
                    outcome: outcome.clone(),
                    took: Duration::ZERO,
                    at: Instant::now(),
                };
                self.relay.observe(&observation, epoch);
            }
        }
    }
}

/// As it comes over the wire.
fn over_the_wire(document: &Document) -> Document {
    Document::read(&serde_json::to_vec(document).expect("a text")).expect("a document")
}

/// What relays take from each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// What they should.
    Right,
    /// Nothing.
    None,
    /// The one that carries clients takes the word of the one that does not.
    WrongWay,
}

/// How many connections were sent elsewhere than to their nodes in a history.
fn broken(seed: u64, exchange: Exchange) -> usize {
    fastrand::seed(seed);
    let mut hosts = [Host::new(&NODES), Host::new(&REVERSED)];
    let mut epochs = [1_000, 50_000];
    let (mut carrier, mut since) = (0, 0);
    let mut connections: Vec<Connection> = Vec::new();
    let mut broken = 0;
    for step in 0..40_u16 {
        let passed = fastrand::u32(0..SESSION / 4);
        for epoch in &mut epochs {
            *epoch += passed;
        }
        // Relays change together, or one of them alone.
        for (host, epoch) in hosts.iter_mut().zip(epochs) {
            for _ in 0..fastrand::usize(..3) {
                host.change(epoch);
            }
        }
        let epoch = epochs[carrier];
        for number in 0..6 {
            let client = ([198, 51, fastrand::u8(..), number], 20_000 + step).into();
            connections.extend(hosts[carrier].begin(client, epoch));
        }
        for connection in &mut connections {
            // Nobody is silent for as long as the session timeout.
            let quiet = epoch.saturating_sub(connection.spoke);
            if fastrand::bool() || quiet > SESSION / 2 {
                connection.spoke = epoch;
                hosts[carrier].hear(connection, epoch);
            }
        }
        let standby = 1 - carrier;
        let level = since == 0;
        if exchange != Exchange::None {
            let mut documents = [0, 1].map(|which| hosts[which].document(epochs[which]));
            if step % 20 == 7 {
                documents = documents.map(|document| over_the_wire(&document));
            }
            let standings = match exchange {
                _ if level => [Standing::Level; 2],
                Exchange::WrongWay => [Standing::Ahead, Standing::Behind],
                Exchange::Right | Exchange::None => [Standing::Behind, Standing::Ahead],
            };
            hosts[standby].take(&documents[carrier], standings[0], epochs[standby]);
            hosts[carrier].take(&documents[standby], standings[1], epochs[carrier]);
        }
        for (host, epoch) in hosts.iter_mut().zip(epochs) {
            if fastrand::bool() {
                host.round(epoch);
            }
        }
        since += 1;
        let mut wrong: Vec<SocketAddr> = Vec::new();
        for (which, host) in hosts.iter().enumerate() {
            if which == carrier || !level && since > 1 {
                let astray = |one: &&Connection| host.sends(one.client) != Some(one.node);
                wrong.extend(connections.iter().filter(astray).map(|one| one.client));
            }
        }
        broken += wrong.len();
        connections.retain(|one| !wrong.contains(&one.client));
        while connections.len() > 60 {
            connections.swap_remove(fastrand::usize(..connections.len()));
        }
        // The next one to carry clients has heard of the other; or begins anew and hears of it.
        let event = if since > 2 { fastrand::u8(..8) } else { 8 };
        if event < 2 {
            (carrier, since) = (standby, 0);
            // Their clients are known to change over at once.
            let epoch = epochs[carrier];
            for connection in &mut connections {
                connection.spoke = epoch;
                hosts[carrier].hear(connection, epoch);
            }
        } else if event < 4 {
            hosts[standby] = Host::new(if standby == 0 { &NODES } else { &REVERSED });
            epochs[standby] = fastrand::u32(..10_000);
            hosts[standby].relay.advance(epochs[standby]);
            since = 1;
        }
    }
    broken
}

#[test]
fn no_connection_is_sent_elsewhere_by_whichever_relay_takes_over_in_any_history() {
    let histories =
        std::env::var("PEER_HISTORIES").map_or(3, |text| text.parse().expect("a number"));
    for seed in 0..histories {
        assert_eq!(broken(seed, Exchange::Right), 0, "seed {seed}");
    }
}

/// The negative twins.
#[test]
fn without_the_exchange_or_by_the_word_of_one_that_carries_nobody_many_are() {
    for exchange in [Exchange::None, Exchange::WrongWay] {
        let all: usize = (0..1).map(|seed| broken(seed, exchange)).sum();
        println!("{all}");
        assert!(all > 5, "{all}");
    }
}

#[test]
fn what_a_peer_names_is_found_by_its_address_and_what_is_not_known_is_left_out() {
    let peer = Host::new(&REVERSED);
    let mut own = Host::new(&NODES[..2]);
    let document = peer.document(0);
    let from = own.relay.from_peer(&document);
    let unknown: Vec<String> = from.unknown.iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["10.0.1.3:1080", "10.0.1.4:1080"]);
    let none = |_| None;
    let taken = own
        .relay
        .take_slots(&document, &from, none, Standing::Behind, 0);
    let (mut known, mut left, mut homes) = (0, 0, Vec::new());
    for (own, peers) in slots(&own.relay, "r").iter().zip(slots(&peer.relay, "r")) {
        let home = address_of(&peer.relay, peers.now);
        if unknown.contains(&home.to_string()) {
            left += 1;
            assert!(!own.is_split());
        } else {
            known += usize::from(own.is_split());
            homes.push((own.unrecorded(), home));
        }
    }
    assert_eq!((taken.slots, taken.unknown), (known, left));
    for (backend, home) in homes {
        assert_eq!(address_of(&own.relay, backend), home);
    }
}

#[test]
fn what_is_recorded_here_gives_way_only_to_the_relay_that_has_carried_clients() {
    let own = Host::new(&NODES);
    let flow = |backend, flags, seen| Flow {
        backend,
        flags,
        seen,
    };
    let known = flow(1, 0, 100);
    for (theirs, standing, taken) in [
        (flow(2, 0, 100), Standing::Behind, Some(flow(2, 0, 100))),
        (flow(2, 0, 99), Standing::Behind, None),
        (flow(2, 0, 100), Standing::Level, None),
        (flow(2, 0, 100), Standing::Ahead, None),
        (
            flow(1, FLOW_RESET, 100),
            Standing::Behind,
            Some(flow(1, FLOW_RESET, 100)),
        ),
        (
            flow(1, FLOW_RESET, 100),
            Standing::Level,
            Some(flow(1, FLOW_RESET, 100)),
        ),
        (flow(1, FLOW_RESET, 90), Standing::Level, None),
        (flow(1, FLOW_RESET, 100), Standing::Ahead, None),
        (flow(1, 0, 101), Standing::Behind, None),
        (flow(1, 0, 200), Standing::Behind, Some(flow(1, 0, 200))),
    ] {
        let found = own.relay.flow_to_take(Some(known), theirs, standing);
        assert_eq!(found, taken, "{theirs:?} {standing:?}");
        assert_eq!(own.relay.flow_to_take(None, theirs, standing), Some(theirs));
    }
}

#[test]
fn flows_that_nobody_would_look_up_or_that_are_over_are_not_taken() {
    let peer = Host::new(&NODES);
    let own = Host::new(&REVERSED);
    let client: SocketAddr = "198.51.100.7:40000".parse().expect("a socket");
    let mut told = peer.relay.tell(|_| None, 1000);
    let flow = |flags, seen| Flow {
        backend: 1,
        flags,
        seen,
    };
    let name = peer.name(client);
    told.add_flows(
        &[(name, flow(FLOW_CONTESTED, 990)), (name, flow(0, 300))],
        1000,
    );
    let from = own.relay.from_peer(&told.document);
    let [live, over] = told.document.flows[..] else {
        panic!("two were told of");
    };
    let tracked = |_| true;
    assert_eq!(own.relay.flow_from(&live, &from, |_| false, 5000), None);
    let (_, taken) = own
        .relay
        .flow_from(&live, &from, tracked, 5000)
        .expect("one");
    assert_eq!((taken.flags, taken.seen), (0, 4990));
    let node = address_of(&peer.relay, 1);
    assert_eq!(address_of(&own.relay, taken.backend), node);
    assert_eq!(own.relay.flow_from(&over, &from, tracked, 5000), None);
}
