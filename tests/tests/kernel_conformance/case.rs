//! A row of the table, and the packets that rows are made of.

use redirector::names::{FlowName, With};
use redirector_common::{
    FamilyTables,
    abi::{Embryo, Flow, FlowKey4, Slot},
    host::HostTables,
    verdict::{Event, Verdict},
};
use redirector_tests::{
    fixture::{self, CLIENT_IFINDEX, NODE_PORT, NODES, VIP},
    oracle::{Claim, World},
    packets::{TcpPacket, refresh_checksums},
};

/// Recorded flows that fit; so few that a case can fill the table.
pub(crate) const FLOWS: u32 = 2;
/// The client's port.
pub(crate) const PORT: u16 = 40_000;
/// The fixture's clock.
pub(crate) const EPOCH: u32 = 17;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE_CWR: u8 = 0xc0;

/// Kinds of slots in the fixture; see [`fixture::slot`].
pub(crate) const ON_1: usize = 0;
pub(crate) const ON_2: usize = 1;
pub(crate) const ON_3: usize = 2;
pub(crate) const ON_NOTHING: usize = 3;
pub(crate) const SPLIT_1_WAS_2: usize = 4;
pub(crate) const SPLIT_3_WAS_DEAD: usize = 5;
pub(crate) const SPLIT_NOTHING_WAS_DEAD: usize = 6;
pub(crate) const SPLIT_UNREACHABLE_WAS_1: usize = 7;

/// A row's claim about the recorded flow.
#[derive(Clone, Copy)]
pub(crate) enum Record {
    /// The row is not about that.
    Whatever,
    /// There is none.
    Nothing,
    /// This one.
    Is(Flow),
}

/// One row.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    pub(crate) frame: Vec<u8>,
    pub(crate) ingress: u32,
    pub(crate) tables: HostTables,
    pub(crate) verdict: Verdict,
    /// Whom it is sent to, if it is.
    pub(crate) to: Option<Claim>,
    pub(crate) events: Vec<Event>,
    /// What must be recorded of the packet's connection afterwards.
    pub(crate) recorded: Record,
    /// The interface that it leaves by, if not the one of the fixture.
    pub(crate) egress: Option<u32>,
}

pub(crate) fn case(
    name: &'static str,
    why: &'static str,
    frame: Vec<u8>,
    verdict: Verdict,
) -> Case {
    let mut tables = fixture::host_tables();
    tables.max_flows = FLOWS as usize;
    Case {
        name,
        why,
        frame,
        ingress: CLIENT_IFINDEX,
        tables,
        verdict,
        to: (verdict == Verdict::Reply).then_some(Claim::Client),
        events: Vec::new(),
        recorded: Record::Whatever,
        egress: None,
    }
}

impl Case {
    pub(crate) fn to(mut self, node: u16) -> Self {
        self.to = Some(Claim::Recorded(node));
        self
    }

    pub(crate) fn by(mut self, ingress: u32) -> Self {
        self.ingress = ingress;
        self
    }

    pub(crate) fn leaving_by(mut self, egress: u32) -> Self {
        self.egress = Some(egress);
        self
    }

    pub(crate) fn events(mut self, events: &[Event]) -> Self {
        self.events = events.to_vec();
        self
    }

    pub(crate) fn given(mut self, change: impl FnOnce(&mut HostTables)) -> Self {
        change(&mut self.tables);
        self
    }

    pub(crate) fn flow(self, kind: usize, backend: u16, flags: u16) -> Self {
        self.given(|tables| {
            let flow = Flow {
                backend,
                flags,
                seen: 3,
            };
            assert!(FamilyTables::<[u8; 4]>::record_flow(
                tables,
                &key(kind),
                flow
            ));
        })
    }

    pub(crate) fn embryo(self, kind: usize, backend: u16, acknowledges: u32, flags: u16) -> Self {
        self.given(|tables| {
            let embryo = Embryo {
                backend,
                flags,
                acknowledges,
            };
            FamilyTables::<[u8; 4]>::note_embryo(tables, &key(kind), embryo);
        })
    }

    /// With no room for another flow.
    pub(crate) fn full(self) -> Self {
        self.given(|tables| {
            for port in 1..=2_u16 {
                let other = FlowKey4 {
                    port: port.to_be_bytes(),
                    ..key(ON_1)
                };
                FamilyTables::<[u8; 4]>::record_flow(tables, &other, Flow::default());
            }
        })
    }

    pub(crate) fn recorded(mut self, backend: u16, flags: u16, seen: u32) -> Self {
        self.recorded = Record::Is(Flow {
            backend,
            flags,
            seen,
        });
        self
    }

    pub(crate) fn not_recorded(mut self) -> Self {
        self.recorded = Record::Nothing;
        self
    }

    /// The connection that the frame belongs to, seen from either side.
    pub(crate) fn connection(&self) -> FlowName {
        let from_vip_side = self.verdict == Verdict::Reply;
        let (address, port) = if from_vip_side { (30, 36) } else { (26, 34) };
        let bytes = |at: usize| [self.frame[at], self.frame[at + 1]];
        let ([a, b], [c, d]) = (bytes(address), bytes(address + 2));
        FlowName {
            client: ([a, b, c, d], u16::from_be_bytes(bytes(port))).into(),
            with: With::Listener(1),
        }
    }
}

pub(crate) fn client(kind: usize) -> [u8; 4] {
    fixture::clients_of(kind)
        .next()
        .expect("every kind has clients")
}

/// Settles the slot of any address.
pub(crate) fn settle(tables: &mut HostTables, client: [u8; 4], backend: u16) {
    let slot = World::of_fixture().slot_of(client);
    tables.slot_tables.get_mut(&0).expect("set").slots[slot] = Slot::settled_on(backend);
}

/// The connection of [`to_vip`] and [`answer`].
pub(crate) fn key(kind: usize) -> FlowKey4 {
    FlowKey4 {
        client: client(kind),
        port: PORT.to_be_bytes(),
        listener: 1_u16.to_ne_bytes(),
    }
}

/// A client's packet to the VIP.
pub(crate) fn to_vip(kind: usize, flags: u8) -> TcpPacket {
    TcpPacket {
        source: (client(kind), PORT),
        destination: VIP,
        flags,
        acknowledgement: 5001,
        ..TcpPacket::default()
    }
}

/// An answer of a node (1, 2, ...).
pub(crate) fn answer(node: usize, kind: usize, flags: u8) -> TcpPacket {
    TcpPacket {
        source: (NODES[node - 1], NODE_PORT),
        destination: (client(kind), PORT),
        flags,
        sequence: 5000,
        ..TcpPacket::default()
    }
}

/// A frame that is changed before it is sent, checksums and all.
pub(crate) fn edited(packet: &TcpPacket, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = packet.build();
    edit(&mut frame);
    frame
}

/// The same, with right checksums.
pub(crate) fn valid(packet: &TcpPacket, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    edited(packet, |frame| {
        edit(frame);
        refresh_checksums(frame);
    })
}

/// The same packet with another Ethernet type, `tag` before the IP header.
pub(crate) fn tagged(packet: &TcpPacket, tag: &[u8]) -> Vec<u8> {
    edited(packet, |frame| {
        frame.splice(12..12, tag.iter().copied());
    })
}
