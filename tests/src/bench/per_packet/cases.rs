//! The ways of a packet through the program that are measured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redirector_common::{
    bench::{HEADERS, SHORT},
    verdict::{Action, Verdict},
};

use crate::{
    fixture::{NODE_PORT, NODES, VIP},
    packets::{Body, Frame, Ip, Tcp, Udp},
    program::xdp,
};

/// Clients of the measurements in IPv4 are this one and what the mask adds.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// The same in IPv6.
pub(super) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0x6440, 0);
/// The client's port.
pub(super) const CLIENT_PORT: u16 = 40_000;
/// A client's port from which nothing is recorded.
const OTHER_PORT: u16 = 40_001;
/// The port of the UDP association that is measured.
pub(super) const BOUND_PORT: u16 = 40_010;
/// 65,536 client addresses.
const MANY: u32 = 0xffff;
/// 1,048,576 client addresses.
const MILLION: u32 = 0xf_ffff;

/// One way of a packet through the program.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) frame: Vec<u8>,
    /// Offset of the last four bytes of the client's address.
    pub(super) client_at: u16,
    pub(super) client_mask: u32,
    /// How many bytes are restored before each run.
    pub(super) restored: u16,
    pub(super) verdict: Verdict,
    pub(super) world: World,
}

/// Which tables a case runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum World {
    /// All slots on the first three nodes.
    Settled,
    /// The same, and whatever is sent leaves by the interface that it came in by.
    OneArmed,
    /// All slots between the first two, and the one flow of the first client recorded.
    Split,
}

/// Names of the cases whose figures are promised.
pub const FORWARD: &str = "forward settled, 1 client";
/// See [`FORWARD`].
pub const FORWARD_MANY: &str = "forward settled, 64k clients";
/// See [`FORWARD`].
pub const FORWARD_MILLION: &str = "forward settled, 1M clients";
/// See [`FORWARD`].
pub(super) const FORWARD_ONE_ARMED: &str = "forward settled, one-armed";
/// See [`FORWARD`].
pub(super) const REPLY_ONE_ARMED: &str = "reply settled, one-armed";
/// See [`FORWARD`].
pub const NEW_CONNECTION: &str = "new connection settled";
/// See [`FORWARD`].
pub const REPLY: &str = "reply settled, 1 client";
/// See [`FORWARD`].
pub const REPLY_MANY: &str = "reply settled, 64k clients";
/// See [`FORWARD`].
pub const FORWARD6: &str = "IPv6 forward settled, 1 client";
/// See [`FORWARD`].
pub const REPLY6: &str = "IPv6 reply settled, 1 client";
/// Data on an established connection, of a redirect whose negotiations are not followed; and of one whose are.
pub const DATA: [&str; 2] = ["forward data", "forward data, shared listener"];
/// The same from a node.
pub const REPLY_DATA: [&str; 2] = ["reply data", "reply data, shared listener"];

/// A socket.
type Socket = (IpAddr, u16);

fn tcp(from: Socket, to: Socket, flags: u8, payload: usize) -> Vec<u8> {
    let segment = Tcp {
        source: from.1,
        destination: to.1,
        flags,
        payload: vec![0x2a; payload],
        ..Tcp::default()
    };
    frame(from, to, Body::Tcp(segment))
}

fn udp(from: Socket, to: Socket) -> Vec<u8> {
    let datagram = Udp {
        source: from.1,
        destination: to.1,
        ..Udp::default()
    };
    frame(from, to, Body::Udp(datagram))
}

fn frame(from: Socket, to: Socket, body: Body) -> Vec<u8> {
    Frame {
        ip: Ip::between(from.0, to.0),
        body,
        // What is restored reaches beyond the headers of a packet without data.
        padding: HEADERS,
        ..Frame::default()
    }
    .build()
}

/// Whose address the client's is.
#[derive(Clone, Copy)]
enum Client {
    Source,
    Destination,
}

impl Case {
    fn new(
        name: &'static str,
        frame: &[u8],
        client: Client,
        client_mask: u32,
        verdict: Verdict,
        world: World,
    ) -> Self {
        let is_ipv6 = frame[12] == 0x86;
        let client_at = match (client, is_ipv6) {
            (Client::Source, false) => 26,
            (Client::Destination, false) => 30,
            (Client::Source, true) => 34,
            (Client::Destination, true) => 50,
        };
        let restored = u16::try_from(if is_ipv6 { HEADERS } else { SHORT });
        Self {
            name,
            frame: frame.to_vec(),
            client_at,
            client_mask,
            restored: restored.expect("some dozens of bytes"),
            verdict,
            world,
        }
    }

    /// What the kernel must be told to do with each packet.
    pub(super) fn action(&self) -> u32 {
        match self.verdict.action() {
            Action::Pass => xdp::PASS,
            Action::Drop => xdp::DROP,
            Action::Transmit if self.world == World::OneArmed => xdp::TX,
            Action::Transmit => xdp::REDIRECT,
        }
    }
}

/// All of them; those that are compared stand beside each other.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn all() -> Vec<Case> {
    use Client::{Destination, Source};
    use Verdict::{
        ForwardAssociated, ForwardFlow, ForwardNew, ForwardSettled, ForwardWas, PassNotOurs, Reply,
        ReplyAssociated,
    };
    use World::{OneArmed, Settled, Split};

    const ACK: u8 = 0x10;
    const SYN: u8 = 0x02;
    let client: Socket = (CLIENT.into(), CLIENT_PORT);
    let other_port: Socket = (CLIENT.into(), OTHER_PORT);
    let vip: Socket = (VIP.0.into(), VIP.1);
    let node: Socket = (NODES[0].into(), NODE_PORT);
    let shared_vip: Socket = ([10, 0, 0, 6].into(), 1080);
    let shared_node: Socket = ([10, 0, 1, 40].into(), NODE_PORT);
    let elsewhere: Socket = ([192, 0, 2, 1].into(), 443);
    let client6: Socket = (CLIENT6.into(), CLIENT_PORT);
    let vip6: Socket = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), 1080);
    let node6: Socket = (
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x82).into(),
        NODE_PORT,
    );
    let at = |socket: Socket, port| (socket.0, port);

    let forward = tcp(client, vip, ACK, 0);
    let reply = tcp(node, client, ACK, 0);
    let syn = tcp(client, vip, SYN, 0);
    let forward6 = tcp(client6, vip6, ACK, 0);
    let reply6 = tcp(node6, client6, ACK, 0);
    let unknown = tcp(other_port, vip, ACK, 0);
    let to_bound = udp(client, at(shared_vip, BOUND_PORT));
    let from_bound = udp(at(shared_node, BOUND_PORT), client);
    vec![
        Case::new(FORWARD, &forward, Source, 0, ForwardSettled, Settled),
        Case::new(
            FORWARD_MANY,
            &forward,
            Source,
            MANY,
            ForwardSettled,
            Settled,
        ),
        Case::new(
            FORWARD_MILLION,
            &forward,
            Source,
            MILLION,
            ForwardSettled,
            Settled,
        ),
        Case::new(NEW_CONNECTION, &syn, Source, MANY, ForwardSettled, Settled),
        Case::new(REPLY, &reply, Destination, 0, Reply, Settled),
        Case::new(REPLY_MANY, &reply, Destination, MANY, Reply, Settled),
        Case::new(
            "pass, not ours",
            &tcp(client, elsewhere, ACK, 0),
            Source,
            MANY,
            PassNotOurs,
            Settled,
        ),
        Case::new(FORWARD6, &forward6, Source, 0, ForwardSettled, Settled),
        Case::new(
            "IPv6 forward settled, 64k clients",
            &forward6,
            Source,
            MANY,
            ForwardSettled,
            Settled,
        ),
        Case::new(REPLY6, &reply6, Destination, 0, Reply, Settled),
        Case::new(
            "IPv6 reply settled, 64k clients",
            &reply6,
            Destination,
            MANY,
            Reply,
            Settled,
        ),
        Case::new(
            DATA[0],
            &tcp(client, vip, ACK, 64),
            Source,
            MANY,
            ForwardSettled,
            Settled,
        ),
        Case::new(
            DATA[1],
            &tcp(client, shared_vip, ACK, 64),
            Source,
            MANY,
            ForwardSettled,
            Settled,
        ),
        Case::new(
            REPLY_DATA[0],
            &tcp(node, client, ACK, 64),
            Destination,
            MANY,
            Reply,
            Settled,
        ),
        Case::new(
            REPLY_DATA[1],
            &tcp(shared_node, client, ACK, 64),
            Destination,
            MANY,
            Reply,
            Settled,
        ),
        Case::new(
            FORWARD_ONE_ARMED,
            &forward,
            Source,
            MANY,
            ForwardSettled,
            OneArmed,
        ),
        Case::new(REPLY_ONE_ARMED, &reply, Destination, MANY, Reply, OneArmed),
        Case::new(
            "UDP association, forward",
            &to_bound,
            Source,
            0,
            ForwardAssociated,
            Settled,
        ),
        Case::new(
            "UDP association, reply",
            &from_bound,
            Destination,
            0,
            ReplyAssociated,
            Settled,
        ),
        Case::new(
            "forward split, recorded",
            &forward,
            Source,
            0,
            ForwardFlow,
            Split,
        ),
        Case::new(
            "forward split, not recorded",
            &unknown,
            Source,
            MANY,
            ForwardWas,
            Split,
        ),
        Case::new(
            "new connection split",
            &syn,
            Source,
            MANY,
            ForwardNew,
            Split,
        ),
        Case::new(
            "reply split, recorded",
            &reply,
            Destination,
            0,
            Reply,
            Split,
        ),
    ]
}
