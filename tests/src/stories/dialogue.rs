//! A SOCKS dialogue on a control connection, and the datagrams of its association.

use redirector_common::verdict::{Event, Verdict};

use super::{
    story::{Scene, sent},
    talk::{ACK, SYN, Talk, but},
};
use crate::{
    oracle::{Claim, bytes_of},
    packets::{Body, Frame, Ip, Tcp, Udp},
};

/// The port that the node binds.
pub(super) const BOUND: u16 = 5001;
/// The port that the client's datagrams come from.
pub(super) const DATAGRAMS: u16 = 6000;

/// CONNECT, BIND and UDP ASSOCIATE (RFC 1928, section 4).
pub(super) const CONNECT: u8 = 1;
pub(super) const BIND: u8 = 2;
pub(super) const ASSOCIATE: u8 = 3;

/// Both ends of a control connection, and what they have said.
#[derive(Clone, Copy)]
pub(super) struct Dialogue {
    pub(super) talk: Talk,
    /// The node's place among those of the redirect.
    pub(super) place: u16,
    /// Sequence number of the client's next byte.
    pub(super) client_next: u32,
    /// Sequence number of the node's next byte.
    pub(super) node_next: u32,
}

impl Dialogue {
    /// Shortly before the sequence numbers begin anew.
    pub(super) const fn of(talk: Talk) -> Self {
        Self {
            talk,
            place: 1,
            client_next: u32::MAX - 4,
            node_next: u32::MAX - 1,
        }
    }

    fn segment(&self, of_client: bool, flags: u8, payload: &[u8]) -> Frame {
        let (frame, sequence, acknowledgement) = if of_client {
            let frame = self.talk.request(flags);
            (frame, self.client_next, self.node_next)
        } else {
            let frame = self.talk.answer(self.place, flags);
            (frame, self.node_next, self.client_next)
        };
        but(frame, |frame| {
            if let Body::Tcp(tcp) = &mut frame.body {
                *tcp = Tcp {
                    sequence,
                    acknowledgement,
                    payload: payload.to_vec(),
                    ..tcp.clone()
                };
            }
        })
    }

    /// The client says something, which is sent to the node.
    pub(super) fn client(&mut self, flags: u8, payload: &[u8]) -> Scene {
        let frame = self.segment(true, flags, payload);
        self.client_next = self.client_next.wrapping_add(length(flags, payload));
        let node = Claim::Recorded(self.talk.node(self.place));
        sent(frame, Verdict::ForwardSettled, node)
    }

    /// The node says something, which is sent to the client.
    pub(super) fn node(&mut self, flags: u8, payload: &[u8]) -> Scene {
        let frame = self.segment(false, flags, payload);
        self.node_next = self.node_next.wrapping_add(length(flags, payload));
        sent(frame, Verdict::Reply, Claim::Client).by_nodes()
    }

    /// The TCP handshake.
    pub(super) fn begin(&mut self) -> Vec<Scene> {
        vec![
            self.client(SYN, &[]),
            self.node(SYN | ACK, &[]),
            self.client(ACK, &[]),
        ]
    }

    /// Greeting and method, no password.
    pub(super) fn greet(&mut self) -> Vec<Scene> {
        vec![self.client(ACK, &[5, 1, 0]), self.node(ACK, &[5, 0])]
    }

    /// All up to a granted association.
    pub(super) fn associate(&mut self) -> Vec<Scene> {
        let reply = reply(&self.own());
        let mut scenes = self.begin();
        scenes.extend(self.greet());
        scenes.push(self.client(ACK, &self.request(ASSOCIATE)));
        scenes.push(self.node(ACK, &reply).counting(Event::AssociationOpened));
        scenes
    }

    /// The address of the node.
    pub(super) fn own(&self) -> Vec<u8> {
        bytes_of(self.talk.node_address(self.place))
    }

    /// A request with this command, for the unspecified address.
    pub(super) fn request(&self, command: u8) -> Vec<u8> {
        let address = vec![0; self.own().len()];
        [&[5, command, 0, kind_of(&address)], &address[..], &[0, 0]].concat()
    }

    fn datagram(&self, of_client: bool, port: u16) -> Frame {
        let (from, to) = if of_client {
            (
                (self.talk.client, DATAGRAMS),
                (self.talk.redirect.vip, port),
            )
        } else {
            let node = self.talk.node_address(self.place);
            ((node, port), (self.talk.client, DATAGRAMS))
        };
        Frame {
            ip: Ip::between(from.0, to.0),
            body: Body::Udp(Udp {
                source: from.1,
                destination: to.1,
                ..Udp::default()
            }),
            ..Frame::default()
        }
    }

    /// A datagram of the client to this port of the VIP.
    pub(super) fn datagram_there(&self, port: u16) -> Frame {
        self.datagram(true, port)
    }

    /// A datagram of the node from this port.
    pub(super) fn datagram_back(&self, port: u16) -> Frame {
        self.datagram(false, port)
    }

    /// The client's datagram goes to the node.
    pub(super) fn there(&self) -> Scene {
        let node = Claim::Associated(self.talk.node(self.place));
        sent(self.datagram_there(BOUND), Verdict::ForwardAssociated, node)
    }

    /// The node's datagram comes from the VIP.
    pub(super) fn back(&self) -> Scene {
        let client = Claim::AssociatedClientOf(self.talk.number());
        let frame = self.datagram_back(BOUND);
        sent(frame, Verdict::ReplyAssociated, client).by_nodes()
    }
}

/// How far a segment takes the sequence number.
fn length(flags: u8, payload: &[u8]) -> u32 {
    const FIN: u8 = 1;
    u32::try_from(payload.len()).expect("it is short") + u32::from(flags & (SYN | FIN) != 0)
}

const fn kind_of(address: &[u8]) -> u8 {
    if address.len() == 4 { 1 } else { 4 }
}

/// A reply that grants a request, with this address and [`BOUND`].
pub(super) fn reply(address: &[u8]) -> Vec<u8> {
    [
        &[5, 0, 0, kind_of(address)],
        address,
        &BOUND.to_be_bytes()[..],
    ]
    .concat()
}
