//! Pairs of frames written down by hand: what comes in, and what must leave. Both are built by [`crate::packets`], whose
//! checksums another library has found right.

use std::net::IpAddr;

use crate::{
    fixture::{CLIENT_IFINDEX, NODE_IFINDEX},
    oracle::{Claim, Judge, World},
    packets::{Body, Extension, Frame, Icmp, Ip, Ipv4, Ipv6, SERVICE_TAG, Sum, TAG, Tcp, Udp},
};

/// One frame, and what must become of it.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) input: Vec<u8>,
    pub(super) claim: Claim,
    pub(super) output: Vec<u8>,
    pub(super) ifindex: u32,
}

pub(super) const CLIENT: &str = "198.51.100.7";
pub(super) const CLIENT6: &str = "2001:db8:ff::7";
pub(super) const VIP: &str = "10.0.0.1";
pub(super) const VIP6: &str = "2001:db8::1";
const ROUTED_VIP: &str = "10.0.0.2";
/// The first node of the plain redirect: number 1, port 1088; of UDP number 8, port 5353.
pub(super) const NODE: &str = "10.0.1.2";
/// The first node in IPv6: number 23, port 1088; of UDP number 28, port 5353.
const NODE6: &str = "2001:db8:1::82";
const ROUTER: &str = "192.0.2.77";
const ROUTER6: &str = "2001:db8:77::1";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn ip(from: &str, to: &str, hops: u8) -> Ip {
    Ip::between(address(from), address(to)).living(hops)
}

pub(super) fn tcp(source: u16, destination: u16) -> Body {
    Body::Tcp(Tcp {
        source,
        destination,
        payload: (0..33).collect(),
        ..Tcp::default()
    })
}

fn udp(source: u16, destination: u16) -> Body {
    Body::Udp(Udp {
        source,
        destination,
        ..Udp::default()
    })
}

pub(super) fn frame(ip: Ip, body: Body) -> Frame {
    Frame {
        ip,
        body,
        ..Frame::default()
    }
}

/// The same body with another checksum.
pub(super) fn with_sum(mut body: Body, sum: Sum) -> Body {
    match &mut body {
        Body::Tcp(tcp) => tcp.checksum = sum,
        Body::Udp(udp) => udp.checksum = sum,
        Body::Icmp(icmp) => icmp.checksum = sum,
        Body::Bytes(..) => {}
    }
    body
}

/// An error about the first `length` bytes of a packet.
fn error(from: &str, to: &str, hops: u8, about: &Frame, length: usize) -> Frame {
    let packet = about.packet();
    let length = length.min(packet.len());
    frame(
        ip(from, to, hops),
        Body::Icmp(Icmp::port_unreachable(&packet[..length])),
    )
}

/// A frame as it leaves for a node of the fixture, by the last octet of its address.
pub(super) fn for_node(mut bytes: Vec<u8>, octet: u8) -> Vec<u8> {
    bytes[..12].copy_from_slice(&[2, 0, 0, 0, 1, octet, 2, 0, 0, 0, 0, 1]);
    bytes
}

/// A frame as it leaves for the clients' gateway.
pub(super) fn for_client(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[..12].copy_from_slice(&[2, 0, 0, 0, 2, 9, 2, 0, 0, 0, 0, 2]);
    bytes
}

pub(super) fn to_node(
    name: &'static str,
    node: u16,
    octet: u8,
    input: &Frame,
    output: &Frame,
) -> Pair {
    Pair {
        name,
        input: input.build(),
        claim: Claim::Recorded(node),
        output: for_node(output.build(), octet),
        ifindex: NODE_IFINDEX,
    }
}

fn to_client(name: &'static str, claim: Claim, input: &Frame, output: &Frame) -> Pair {
    Pair {
        name,
        input: input.build(),
        claim,
        output: for_client(output.build()),
        ifindex: CLIENT_IFINDEX,
    }
}

impl Pair {
    fn claimed(self, claim: Claim) -> Self {
        Self { claim, ..self }
    }
}

/// An IPv6 header with extension headers of every kind that is looked through.
fn with_extensions(ip: Ip) -> Ip {
    match ip {
        Ip::V6(ip) => Ip::V6(Ipv6 {
            extensions: vec![
                Extension::HopByHop(6),
                Extension::DestinationOptions(14),
                Extension::Routing(0),
                Extension::Fragment {
                    offset: 0,
                    more: false,
                    identification: 77,
                },
            ],
            ..ip
        }),
        Ip::V4(_) => panic!("only IPv6 has extension headers"),
    }
}

/// An IPv4 header with a router alert and padding.
fn with_options(ip: Ip) -> Ip {
    match ip {
        Ip::V4(ip) => Ip::V4(Ipv4 {
            options: vec![148, 4, 0, 0, 1, 1, 0, 0],
            ..ip
        }),
        Ip::V6(_) => panic!("only IPv4 has options"),
    }
}

fn segments() -> Vec<Pair> {
    let tagged = |ip, body| Frame {
        tags: vec![SERVICE_TAG, TAG],
        padding: 9,
        ..frame(ip, body)
    };
    vec![
        to_node(
            "TCP in IPv4 with two tags, options and padding",
            1,
            2,
            &tagged(with_options(ip(CLIENT, VIP, 64)), tcp(40_000, 1080)),
            &tagged(with_options(ip(CLIENT, NODE, 63)), tcp(40_000, 1088)),
        ),
        to_node(
            "TCP in IPv6 with two tags, extension headers and padding",
            23,
            0x82,
            &tagged(with_extensions(ip(CLIENT6, VIP6, 64)), tcp(40_000, 1080)),
            &tagged(with_extensions(ip(CLIENT6, NODE6, 63)), tcp(40_000, 1088)),
        ),
        to_client(
            "an answer in UDP and IPv6",
            Claim::Client,
            &frame(ip(NODE6, CLIENT6, 64), udp(5353, 40_000)),
            &frame(ip(VIP6, CLIENT6, 63), udp(5300, 40_000)),
        ),
        to_node(
            "UDP without a checksum",
            8,
            2,
            &frame(ip(CLIENT, VIP, 2), with_sum(udp(40_000, 5300), Sum::Is(0))),
            &frame(ip(CLIENT, NODE, 1), with_sum(udp(40_000, 5353), Sum::Is(0))),
        ),
        to_node(
            "a wrong UDP checksum stays as wrong",
            8,
            2,
            &frame(
                ip(CLIENT, VIP, 64),
                with_sum(udp(40_000, 5300), Sum::Off(5)),
            ),
            &frame(
                ip(CLIENT, NODE, 63),
                with_sum(udp(40_000, 5353), Sum::Off(5)),
            ),
        ),
        all_ones(),
    ]
}

fn other_redirects() -> Vec<Pair> {
    vec![
        to_node(
            "a routed packet at the end of its life",
            13,
            20,
            &frame(ip(CLIENT, ROUTED_VIP, 1), tcp(40_000, 1080)),
            &frame(ip(CLIENT, ROUTED_VIP, 1), tcp(40_000, 1080)),
        ),
        to_node(
            "a port of a range is kept",
            18,
            30,
            &frame(ip(CLIENT, "10.0.0.3", 64), tcp(40_000, 2002)),
            &frame(ip(CLIENT, "10.0.1.30", 63), tcp(40_000, 2002)),
        ),
        to_client(
            "and so in the answer",
            Claim::Client,
            &frame(ip("10.0.1.30", CLIENT, 64), tcp(2002, 40_000)),
            &frame(ip("10.0.0.3", CLIENT, 63), tcp(2002, 40_000)),
        ),
        to_node(
            "a partial TCP checksum is completed",
            1,
            2,
            &frame(
                ip(CLIENT, VIP, 64),
                with_sum(tcp(40_000, 1080), Sum::Partial),
            ),
            &frame(ip(CLIENT, NODE, 63), tcp(40_000, 1088)),
        ),
        to_client(
            "a partial UDP checksum in IPv6 is completed",
            Claim::Client,
            &frame(
                ip(NODE6, CLIENT6, 64),
                with_sum(udp(5353, 40_000), Sum::Partial),
            ),
            &frame(ip(VIP6, CLIENT6, 63), udp(5300, 40_000)),
        ),
        to_node(
            "a datagram of an association",
            33,
            40,
            &frame(ip(CLIENT, "10.0.0.6", 64), udp(6000, 40_123)),
            &frame(ip(CLIENT, "10.0.1.40", 63), udp(6000, 40_123)),
        )
        .claimed(Claim::Associated(33)),
        to_client(
            "a datagram of an association to the client",
            Claim::AssociatedClientOf(9),
            &frame(ip("10.0.1.40", CLIENT, 64), udp(40_123, 6000)),
            &frame(ip("10.0.0.6", CLIENT, 63), udp(40_123, 6000)),
        ),
    ]
}

/// A UDP checksum that comes out as 0 and is sent as all ones (RFC 768).
fn all_ones() -> Pair {
    let datagram = |destination, filler: u16| {
        Body::Udp(Udp {
            source: 40_000,
            destination,
            payload: filler.to_be_bytes().to_vec(),
            ..Udp::default()
        })
    };
    let output = |filler| frame(ip(CLIENT, NODE, 63), datagram(5353, filler));
    let filler = (0..u16::MAX)
        .find(|filler| output(*filler).build()[40..42] == [0xff, 0xff])
        .expect("one of 65,535");
    to_node(
        "a UDP checksum of all ones",
        8,
        2,
        &frame(ip(CLIENT, VIP, 64), datagram(5300, filler)),
        &output(filler),
    )
}

fn errors() -> Vec<Pair> {
    // What the client saw, and what the node had sent.
    let answer = |vip| frame(ip(vip, CLIENT, 50), tcp(1080, 40_000));
    let sent = frame(ip(NODE, CLIENT, 50), tcp(1088, 40_000));
    let answer6 = frame(with_extensions(ip(VIP6, CLIENT6, 50)), udp(5300, 40_000));
    let sent6 = frame(with_extensions(ip(NODE6, CLIENT6, 50)), udp(5353, 40_000));
    // What the node saw, and what the client had sent.
    let seen = frame(with_options(ip(CLIENT, NODE, 50)), tcp(40_000, 1088));
    let asked = frame(with_options(ip(CLIENT, VIP, 50)), tcp(40_000, 1080));
    let no_sum = |body| with_sum(body, Sum::Is(0));
    let seen_udp = frame(ip(CLIENT, NODE, 50), no_sum(udp(40_000, 5353)));
    let asked_udp = frame(ip(CLIENT, VIP, 50), no_sum(udp(40_000, 5300)));
    let seen6 = frame(ip(CLIENT6, NODE6, 50), tcp(40_000, 1088));
    let asked6 = frame(ip(CLIENT6, VIP6, 50), tcp(40_000, 1080));
    let to = |name, node, octet, input: &Frame, output: &Frame| {
        to_node(name, node, octet, input, output).claimed(Claim::ErrorToNode(node))
    };
    vec![
        to(
            "a client's error about 8 bytes of TCP",
            1,
            2,
            &error(CLIENT, VIP, 64, &answer(VIP), 28),
            &error(CLIENT, NODE, 63, &sent, 28),
        ),
        to(
            "a router's error about all of an answer",
            1,
            2,
            &error(ROUTER, VIP, 64, &answer(VIP), 500),
            &error(ROUTER, NODE, 63, &sent, 500),
        ),
        to(
            "an error about UDP in IPv6 behind extension headers",
            28,
            0x82,
            &error(ROUTER6, VIP6, 64, &answer6, 500),
            &error(ROUTER6, NODE6, 63, &sent6, 500),
        ),
        to(
            "an error about a routed answer",
            13,
            20,
            &error(CLIENT, ROUTED_VIP, 64, &answer(ROUTED_VIP), 28),
            &error(CLIENT, ROUTED_VIP, 64, &answer(ROUTED_VIP), 28),
        ),
        to_client(
            "a node's error",
            Claim::ErrorToClientOf(1),
            &error(NODE, CLIENT, 64, &seen, 500),
            &error(VIP, CLIENT, 63, &asked, 500),
        ),
        to_client(
            "an error of a router on the nodes' side keeps its name",
            Claim::ErrorToClientOf(1),
            &error(ROUTER, CLIENT, 64, &seen, 36),
            &error(ROUTER, CLIENT, 63, &asked, 36),
        ),
        to_client(
            "a node's error about UDP without a checksum",
            Claim::ErrorToClientOf(3),
            &error(NODE, CLIENT, 64, &seen_udp, 500),
            &error(VIP, CLIENT, 63, &asked_udp, 500),
        ),
        to_client(
            "a node's error in IPv6",
            Claim::ErrorToClientOf(7),
            &error(NODE6, CLIENT6, 64, &seen6, 48),
            &error(VIP6, CLIENT6, 63, &asked6, 48),
        ),
    ]
}

/// All pairs whose frames are independent of each other.
pub(super) fn pairs() -> Vec<Pair> {
    [segments(), other_redirects(), errors()].concat()
}

/// First and later fragments: these depend on each other.
pub(super) fn fragments() -> Vec<Vec<Pair>> {
    let pieces = |name, input: &Frame, output: &Frame, claims: [Claim; 2], octet: Option<u8>| {
        let pairs = input
            .fragments(24, 7)
            .into_iter()
            .zip(output.fragments(24, 7));
        pairs
            .enumerate()
            .map(|(index, (input, output))| Pair {
                name,
                input,
                claim: claims[index.min(1)],
                output: octet.map_or_else(
                    || for_client(output.clone()),
                    |octet| for_node(output.clone(), octet),
                ),
                ifindex: if octet.is_some() {
                    NODE_IFINDEX
                } else {
                    CLIENT_IFINDEX
                },
            })
            .collect()
    };
    vec![
        pieces(
            "a segment in pieces to a node",
            &frame(ip(CLIENT, VIP, 64), tcp(40_000, 1080)),
            &frame(ip(CLIENT, NODE, 63), tcp(40_000, 1088)),
            [Claim::Recorded(1), Claim::AfterFirst],
            Some(2),
        ),
        pieces(
            "a segment in pieces to a node in IPv6",
            &frame(ip(CLIENT6, VIP6, 64), tcp(40_000, 1080)),
            &frame(ip(CLIENT6, NODE6, 63), tcp(40_000, 1088)),
            [Claim::Recorded(23), Claim::AfterFirst],
            Some(0x82),
        ),
        pieces(
            "a datagram in pieces to a client",
            &frame(ip(NODE6, CLIENT6, 64), udp(5353, 40_000)),
            &frame(ip(VIP6, CLIENT6, 63), udp(5300, 40_000)),
            [Claim::Client, Claim::ClientAfterFirst],
            None,
        ),
        pieces(
            "a routed segment in pieces",
            &frame(ip(CLIENT, ROUTED_VIP, 64), tcp(40_000, 1080)),
            &frame(ip(CLIENT, ROUTED_VIP, 64), tcp(40_000, 1080)),
            [Claim::Recorded(13), Claim::AfterFirst],
            Some(20),
        ),
    ]
}

/// What the judge of the fixture says of a pair.
pub(super) fn judged(judge: &mut Judge, pair: &Pair, output: &[u8]) -> Result<(), String> {
    judge.judge_sent(
        &pair.input,
        pair.claim,
        |_, _| (0, 0),
        (output, pair.ifindex),
    )
}

#[test]
fn every_pair_is_found_right() {
    for pair in pairs() {
        let judged = judged(&mut Judge::new(World::of_fixture()), &pair, &pair.output);
        assert_eq!(judged, Ok(()), "{}", pair.name);
    }
}

#[test]
fn every_fragment_is_found_right_after_its_first_and_only_then() {
    for pairs in fragments() {
        assert!(pairs.len() > 1);
        let mut judge = Judge::new(World::of_fixture());
        let too_early = judged(&mut judge, &pairs[1], &pairs[1].output);
        assert!(too_early.is_err(), "{}", pairs[1].name);
        for pair in pairs {
            let judged = judged(&mut judge, &pair, &pair.output);
            assert_eq!(judged, Ok(()), "{}", pair.name);
        }
    }
}

#[test]
fn no_bit_of_what_leaves_may_be_another() {
    for pair in pairs() {
        let mut judge = Judge::new(World::of_fixture());
        for bit in 0..pair.output.len() * 8 {
            let mut output = pair.output.clone();
            output[bit / 8] ^= 1 << (bit % 8);
            let judged = judged(&mut judge, &pair, &output);
            assert!(judged.is_err(), "{}: bit {bit}", pair.name);
        }
    }
}

#[test]
fn what_is_right_by_one_interface_is_wrong_by_another() {
    for pair in pairs() {
        let elsewhere = Pair {
            ifindex: pair.ifindex + 1,
            ..pair
        };
        let judged = judged(
            &mut Judge::new(World::of_fixture()),
            &elsewhere,
            &elsewhere.output,
        );
        let complaint = judged.expect_err(elsewhere.name);
        assert!(complaint.contains("interface"), "{complaint}");
    }
}
