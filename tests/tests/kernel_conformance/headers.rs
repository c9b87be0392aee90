//! Which headers keep us off.

use redirector_common::verdict::Verdict;
use redirector_tests::{fixture::NODE_IFINDEX, packets::TcpPacket};

use crate::case::{ACK, Case, ON_1, answer, case, edited, tagged, to_vip};

pub(crate) fn headers_that_are_left_alone() -> Vec<Case> {
    use Verdict::{
        ForwardSettled, PassFragment, PassIpOptions, PassMalformed, PassNotIpv4, PassProtocol,
        PassTruncated, PassVlan,
    };
    let ack = TcpPacket {
        payload: vec![5; 24],
        ..to_vip(ON_1, ACK)
    };
    let bytes = |name, why, at: usize, value: &'static [u8], verdict| {
        case(
            name,
            why,
            edited(&ack, |frame| {
                frame[at..at + value.len()].copy_from_slice(value);
            }),
            verdict,
        )
    };
    let mut cases = vec![
        bytes(
            "a VLAN tag is left alone",
            "the IP header is elsewhere",
            12,
            &[0x81, 0],
            PassVlan,
        ),
        bytes(
            "a service VLAN tag is left alone",
            "the IP header is elsewhere",
            12,
            &[0x88, 0xa8],
            PassVlan,
        ),
        bytes(
            "IPv6 is left alone",
            "neighbour discovery",
            12,
            &[0x86, 0xdd],
            PassNotIpv4,
        ),
        bytes(
            "ARP is left alone",
            "or nobody finds the VIP",
            12,
            &[0x08, 0x06],
            PassNotIpv4,
        ),
        bytes(
            "IPv4's type with swapped bytes is not IPv4",
            "network order",
            12,
            &[0x00, 0x08],
            PassNotIpv4,
        ),
        bytes(
            "IP options are left alone",
            "ports are elsewhere",
            14,
            &[0x46],
            PassIpOptions,
        ),
        bytes(
            "the most IP options are left alone",
            "ports are elsewhere",
            14,
            &[0x4f],
            PassIpOptions,
        ),
        bytes(
            "a header length of 4 words is malformed",
            "RFC 791: at least 5",
            14,
            &[0x44],
            PassMalformed,
        ),
        bytes(
            "a header length of 0 is malformed",
            "RFC 791: at least 5",
            14,
            &[0x40],
            PassMalformed,
        ),
        bytes(
            "version 6 in an IPv4 frame is malformed",
            "the type says 4",
            14,
            &[0x65],
            PassMalformed,
        ),
        bytes(
            "version 6 with more words is malformed, not optional",
            "the type says 4",
            14,
            &[0x66],
            PassMalformed,
        ),
        bytes(
            "the first fragment is left alone",
            "the kernel reassembles",
            20,
            &[0x20, 0],
            PassFragment,
        ),
        bytes(
            "a middle fragment is left alone",
            "it has no ports",
            20,
            &[0x20, 0xb9],
            PassFragment,
        ),
        bytes(
            "the last fragment is left alone",
            "it has no ports",
            20,
            &[0x01, 0x72],
            PassFragment,
        ),
        bytes(
            "a fragment at the highest offset is left alone",
            "it has no ports",
            20,
            &[0x1f, 0xff],
            PassFragment,
        ),
        bytes(
            "UDP is left alone",
            "this redirect is for TCP",
            23,
            &[17],
            PassProtocol,
        ),
        bytes(
            "ICMP is left alone",
            "echo to the VIP",
            23,
            &[1],
            PassProtocol,
        ),
        bytes(
            "protocol 0 is left alone",
            "not TCP",
            23,
            &[0],
            PassProtocol,
        ),
        bytes(
            "a total length below the IP header is malformed",
            "RFC 791",
            16,
            &[0, 19],
            PassMalformed,
        ),
        bytes(
            "a total length of the IP header alone is malformed",
            "no TCP header",
            16,
            &[0, 20],
            PassMalformed,
        ),
        bytes(
            "a total length that ends within the TCP header is malformed",
            "20 bytes at least",
            16,
            &[0, 39],
            PassMalformed,
        ),
        bytes(
            "a total length of just the headers is good",
            "the rest is padding",
            16,
            &[0, 40],
            ForwardSettled,
        )
        .to(1),
        bytes(
            "a total length of the whole frame is good",
            "the twin",
            16,
            &[0, 64],
            ForwardSettled,
        )
        .to(1),
        bytes(
            "a total length beyond the frame is truncated",
            "it was cut",
            16,
            &[0, 65],
            PassTruncated,
        ),
        bytes(
            "the greatest total length is truncated",
            "it was cut",
            16,
            &[0xff, 0xff],
            PassTruncated,
        ),
        bytes(
            "a TCP header of 4 words is malformed",
            "RFC 9293: at least 5",
            46,
            &[0x40],
            PassMalformed,
        ),
        bytes(
            "a TCP header of no words is malformed",
            "RFC 9293: at least 5",
            46,
            &[0x00],
            PassMalformed,
        ),
        bytes(
            "a TCP header that ends with the segment is good",
            "all options",
            46,
            &[0xb0],
            ForwardSettled,
        )
        .to(1),
        bytes(
            "a TCP header longer than the segment is malformed",
            "its options would be elsewhere",
            46,
            &[0xc0],
            PassMalformed,
        ),
        bytes(
            "the longest TCP header is malformed in a short segment",
            "its options would be elsewhere",
            46,
            &[0xf0],
            PassMalformed,
        ),
        bytes(
            "reserved TCP bits don't matter",
            "RFC 9293: ignore them",
            46,
            &[0x5f],
            ForwardSettled,
        )
        .to(1),
    ];
    cases.extend([
        case(
            "a real VLAN frame is left alone",
            "4 bytes more",
            tagged(&ack, &[0x81, 0, 0, 7]),
            PassVlan,
        ),
        case(
            "a real QinQ frame is left alone",
            "8 bytes more",
            tagged(&ack, &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]),
            PassVlan,
        ),
        case(
            "a short ARP frame is left alone",
            "42 bytes",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[12..14].copy_from_slice(&[8, 6]);
            }),
            PassNotIpv4,
        ),
        case(
            "a short VLAN frame is left alone",
            "it needs no IP header to be one",
            edited(&ack, |frame| {
                frame.truncate(18);
                frame[12..14].copy_from_slice(&[0x81, 0]);
            }),
            PassVlan,
        ),
        case(
            "a short UDP packet is left alone",
            "28 bytes",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[17] = 28;
                frame[23] = 17;
            }),
            PassProtocol,
        ),
        case(
            "a short ICMP fragment is left alone as a fragment",
            "fragments come first",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[17] = 28;
                frame[20] = 0x20;
                frame[23] = 1;
            }),
            PassFragment,
        ),
        case(
            "a short TCP packet is truncated",
            "no room for its header",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[17] = 28;
            }),
            PassTruncated,
        ),
        case(
            "an answer in a fragment is left alone",
            "the kernel reassembles",
            edited(&answer(1, ON_1, ACK), |frame| frame[20] = 0x20),
            PassFragment,
        )
        .by(NODE_IFINDEX),
    ]);
    cases
}
