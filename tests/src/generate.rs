//! Random histories of the fixture's world: packets of conversations in both directions, damaged ones
//! among them, and changes that an agent makes meanwhile. The same seed gives the same history.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use redirector_common::{
    abi::{BACKEND_DEAD, FlowKey4},
    host::HostTables,
};

use crate::{
    fixture::{
        self, CLIENT_IFINDEX, KERNEL_CLIENT, KERNEL_LOCAL, LOST_NETWORK, NODE_IFINDEX, NODE_PORT,
        NODES, RELAY, VIP, VIP_WITHOUT_TABLE,
    },
    oracle,
    packets::{TcpPacket, refresh_checksums},
};

/// The next thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A frame comes in by interface `ingress`.
    Frame {
        /// From the Ethernet header on.
        frame: Vec<u8>,
        /// [`NODE_IFINDEX`] or [`CLIENT_IFINDEX`].
        ingress: u32,
    },
    /// The agent does something.
    Change(Change),
}

/// What the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its clock goes on by a second.
    Tick,
    /// It finds a backend dead, or alive again.
    Dead(u16, bool),
    /// It sends new connections of this client's slot to another backend.
    Retarget([u8; 4], u16),
    /// It forgets every third recorded flow.
    Expire,
}

impl Change {
    /// Makes the change.
    pub fn apply(self, tables: &mut HostTables) {
        match self {
            Self::Tick => tables.epoch += 1,
            Self::Dead(id, dead) => {
                if let Some(backend) = tables.backends.get_mut(&id) {
                    backend.flags &= !BACKEND_DEAD;
                    backend.flags |= if dead { BACKEND_DEAD } else { 0 };
                }
            }
            Self::Retarget(client, backend) => {
                let slot = oracle::World::of_fixture().slot_of(client);
                if let Some(table) = tables.slot_tables.get_mut(&0) {
                    let before = table.slots[slot];
                    table.slots[slot] = before.retarget(backend);
                    let newly_split = table.slots[slot].is_split() && !before.is_split();
                    table.split_slots += u32::from(newly_split);
                }
            }
            Self::Expire => {
                let mut flows = tables.ipv4.flows.borrow_mut();
                let mut keys: Vec<FlowKey4> = flows.keys().copied().collect();
                keys.sort();
                for key in keys.iter().step_by(3) {
                    flows.remove(key);
                }
            }
        }
    }
}

/// What a client and the nodes have said to each other.
#[derive(Clone, Debug)]
struct Conversation {
    client: ([u8; 4], u16),
    /// Index of the node that was sent the client's latest packet.
    node: usize,
    /// Sequence number of the latest SYN-ACK.
    node_sequence: u32,
}

/// Gives one step after the other.
pub struct Generator {
    random: StdRng,
    conversations: Vec<Conversation>,
    /// The conversation of the latest frame.
    current: usize,
    steps: u64,
}

/// A backend that the fixture does not have; slots may name it by an agent's fault.
const UNSET_BACKEND: u16 = 6;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

impl Generator {
    /// Clients of every kind of slot, with a few ports each, and some special ones.
    pub fn new(seed: u64) -> Self {
        let mut clients: Vec<[u8; 4]> = (0..8)
            .flat_map(|kind| fixture::clients_of(kind).take(3))
            .collect();
        let [a, b, c] = LOST_NETWORK;
        clients.extend([RELAY, KERNEL_CLIENT, KERNEL_LOCAL, [a, b, c, 7]]);
        let conversations = clients
            .iter()
            .flat_map(|client| {
                [40_000, 40_001, 40_002, 65_535, NODE_PORT].map(|port| Conversation {
                    client: (*client, port),
                    node: 0,
                    node_sequence: 0,
                })
            })
            .collect();
        Self {
            random: StdRng::seed_from_u64(seed),
            conversations,
            current: 0,
            steps: 0,
        }
    }

    /// Tells what became of the latest frame, if it was sent: who answers depends on it.
    pub fn sent(&mut self, output: &[u8]) {
        if let Some(node) = NODES.iter().position(|node| output[30..34] == *node) {
            self.conversations[self.current].node = node;
        }
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        self.steps += 1;
        if self.steps.is_multiple_of(29) {
            return Step::Change(Change::Tick);
        }
        if self.steps.is_multiple_of(251) {
            let id = self.random.random_range(1..=5);
            return Step::Change(Change::Dead(id, self.random.random()));
        }
        if self.steps.is_multiple_of(401) {
            return Step::Change(Change::Expire);
        }
        if self.steps.is_multiple_of(997) {
            let client = self.conversations[self.random.random_range(0..self.conversations.len())]
                .client
                .0;
            return Step::Change(Change::Retarget(
                client,
                self.random.random_range(0..=UNSET_BACKEND),
            ));
        }
        let mut frame = self.packet().build();
        if self.random.random_ratio(1, 5) {
            self.damage(&mut frame);
        }
        let ingress = if self.random.random() {
            NODE_IFINDEX
        } else {
            CLIENT_IFINDEX
        };
        Step::Frame { frame, ingress }
    }

    fn packet(&mut self) -> TcpPacket {
        let random = &mut self.random;
        self.current = random.random_range(0..self.conversations.len());
        let conversation = &mut self.conversations[self.current];
        let mut packet = TcpPacket {
            sequence: random.random(),
            acknowledgement: random.random(),
            ttl: match random.random_range(0..24) {
                ttl @ 0..4 => ttl,
                _ => random.random_range(2..=255),
            },
            tos: random.random(),
            options: vec![1; 4 * random.random_range(0..=10)],
            payload: vec![0; payload_length(random)],
            ..TcpPacket::default()
        };
        random.fill(&mut packet.payload[..]);
        if random.random_ratio(11, 20) {
            packet.source = conversation.client;
            packet.destination = match random.random_range(0..40) {
                0 => (NODES[random.random_range(0..NODES.len())], NODE_PORT),
                1 => VIP_WITHOUT_TABLE,
                2 => (VIP.0, random.random()),
                3 => ([192, 0, 2, 80], VIP.1),
                _ => VIP,
            };
            packet.flags = match random.random_range(0..100) {
                0..20 => SYN,
                20..55 => ACK,
                55..80 => ACK | PSH,
                80..87 => ACK | FIN,
                87..90 => RST,
                90..93 => RST | ACK,
                _ => random.random(),
            };
            let first = conversation.node_sequence.wrapping_add(1);
            if !random.random_ratio(1, 8) {
                let ahead = *[0, 0, 0, 1, 0xffff, 0x1_0000, u32::MAX]
                    .choose(random)
                    .expect("some");
                packet.acknowledgement = first.wrapping_add(ahead);
            }
        } else {
            let node = if random.random_ratio(4, 5) {
                conversation.node
            } else {
                random.random_range(0..NODES.len())
            };
            let port = match random.random_range(0..40) {
                0 => random.random(),
                _ => NODE_PORT,
            };
            packet.source = (NODES[node], port);
            packet.destination = conversation.client;
            packet.flags = match random.random_range(0..100) {
                0..35 => SYN | ACK,
                35..60 => ACK,
                60..80 => ACK | PSH,
                80..87 => ACK | FIN,
                87..90 => RST,
                90..93 => RST | ACK,
                93..96 => SYN,
                _ => random.random(),
            };
            if packet.flags == SYN | ACK {
                if random.random_ratio(1, 10) {
                    packet.sequence = *[0, u32::MAX, 0x7fff_ffff].choose(random).expect("some");
                }
                conversation.node_sequence = packet.sequence;
            }
        }
        packet
    }

    /// Changes a frame in a way that a parser may trip over.
    fn damage(&mut self, frame: &mut Vec<u8>) {
        let random = &mut self.random;
        match random.random_range(0..14) {
            0 => frame.truncate(random.random_range(0..frame.len())),
            1 => frame.resize(frame.len() + random.random_range(1..40), 0xa5),
            2 => {
                let at = random.random_range(0..frame.len());
                frame[at] ^= 1 << random.random_range(0..8);
            }
            3 => frame[random.random_range(14..54)] = random.random(),
            4 => {
                frame[14] = *[0x44, 0x46, 0x4f, 0x40, 0x55, 0x65]
                    .choose(random)
                    .expect("some");
            }
            5 => {
                let total = u16::from_be_bytes([frame[16], frame[17]]);
                let by = random.random_range(1..30);
                let total = if random.random() {
                    total + by
                } else {
                    total.saturating_sub(by)
                };
                frame[16..18].copy_from_slice(&total.to_be_bytes());
            }
            6 => {
                let bits = *[0x2000_u16, 0x0001, 0x1fff, 0x20b9, 0x8000, 0x4000]
                    .choose(random)
                    .expect("some");
                frame[20..22].copy_from_slice(&bits.to_be_bytes());
            }
            7 => frame[23] = *[0, 1, 17, 47, 58, 132, 255].choose(random).expect("some"),
            8 => {
                let kind = *[0x8100_u16, 0x88a8, 0x86dd, 0x0806, 0x88cc, 0x0008]
                    .choose(random)
                    .expect("some");
                frame[12..14].copy_from_slice(&kind.to_be_bytes());
            }
            9 => frame[46] = random.random(),
            // Checksums that are wrong, or right in their other form.
            10 => frame[24] ^= 0x10,
            11 => frame[50..52].copy_from_slice(&[0, 0]),
            12 => frame[24..26].copy_from_slice(&[0xff, 0xff]),
            _ => {
                // Bytes that a checksum covers, which is made to fit again: the sum itself takes any value.
                let at = *[18, 19, 38, 39, 40, 41, 48, 49, 52, 53]
                    .choose(random)
                    .expect("some");
                frame[at] = random.random();
                refresh_checksums(frame);
            }
        }
    }
}

fn payload_length(random: &mut StdRng) -> usize {
    match random.random_range(0..10) {
        0..4 => 0,
        4..9 => random.random_range(1..64),
        _ => random.random_range(64..1400),
    }
}

/// The seed: `REDIRECTOR_TEST_SEED`, or a fixed one.
///
/// # Panics
///
/// It is not a number.
pub fn seed() -> u64 {
    from_environment("REDIRECTOR_TEST_SEED", 0x5eed_0001)
}

/// How many frames to generate: `REDIRECTOR_TEST_FRAMES`, or `default`.
///
/// # Panics
///
/// It is not a number.
pub fn frames(default: u64) -> u64 {
    from_environment("REDIRECTOR_TEST_FRAMES", default)
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a decimal number, not {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(seed: u64) -> Vec<String> {
        let mut generator = Generator::new(seed);
        (0..2000)
            .map(|_| format!("{:?}", generator.step()))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        assert_eq!(history(7), history(7));
    }

    #[test]
    fn another_seed_gives_another_history() {
        assert_ne!(history(7), history(8));
    }
}
