//! Which headers keep us off.

use redirector_common::verdict::Verdict;
use redirector_tests::{fixture::NODE_IFINDEX, packets::TcpPacket};

use crate::case::{ACK, Case, ON_1, answer, case, edited, tagged, to_vip};

pub(crate) fn headers_that_are_left_alone() -> Vec<Case> {
    use Verdict::{
        DropFragment, ForwardSettled, PassIcmp, PassMalformed, PassNotIp, PassProtocol,
        PassSourceRoute, PassTruncated, PassVlan, Reply,
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
            "a VLAN tag before no IP is left alone",
            "what follows the tag is not IP",
            12,
            &[0x81, 0],
            PassNotIp,
        ),
        bytes(
            "a service VLAN tag before no IP is left alone",
            "what follows the tag is not IP",
            12,
            &[0x88, 0xa8],
            PassNotIp,
        ),
        bytes(
            "IPv4 that calls itself IPv6 is left alone",
            "the version in the header says otherwise",
            12,
            &[0x86, 0xdd],
            PassMalformed,
        ),
        bytes(
            "ARP is left alone",
            "or nobody finds the VIP",
            12,
            &[0x08, 0x06],
            PassNotIp,
        ),
        bytes(
            "IPv4's type with swapped bytes is not IPv4",
            "network order",
            12,
            &[0x00, 0x08],
            PassNotIp,
        ),
        bytes(
            "an option longer than the header is malformed",
            "RFC 791, section 3.1",
            14,
            &[0x46],
            PassMalformed,
        ),
        bytes(
            "an option longer than the longest header is malformed",
            "RFC 791, section 3.1",
            14,
            &[0x4f],
            PassMalformed,
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
            "a first fragment is sent",
            "it has the ports",
            20,
            &[0x20, 0],
            ForwardSettled,
        )
        .to(1),
        bytes(
            "a middle fragment without its first is dropped",
            "half of a datagram is of no use",
            20,
            &[0x20, 0xb9],
            DropFragment,
        ),
        bytes(
            "the last fragment without its first is dropped",
            "half of a datagram is of no use",
            20,
            &[0x01, 0x72],
            DropFragment,
        ),
        bytes(
            "a fragment at the highest offset without its first is dropped",
            "half of a datagram is of no use",
            20,
            &[0x1f, 0xff],
            DropFragment,
        ),
        bytes("GRE is left alone", "not TCP", 23, &[47], PassProtocol),
        bytes(
            "ICMP is left alone",
            "what it has for a type is none of an error",
            23,
            &[1],
            PassIcmp,
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
    cases.extend(vec![
        case(
            "a VLAN frame is sent",
            "the tag is kept",
            tagged(&ack, &[0x81, 0, 0, 7]),
            ForwardSettled,
        )
        .to(1),
        case(
            "a QinQ frame is sent",
            "both tags are kept",
            tagged(&ack, &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]),
            ForwardSettled,
        )
        .to(1),
        case(
            "a third VLAN tag is left alone",
            "no network has three",
            tagged(&ack, &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 0x81, 0, 0, 9]),
            PassVlan,
        ),
        case(
            "IPv4 options are kept",
            "no operation, then the end",
            with_options(&ack.build(), &[1, 1, 1, 0]),
            ForwardSettled,
        )
        .to(1),
        case(
            "a loose source route is left alone",
            "the VIP is only the next stop",
            with_options(&ack.build(), &[131, 3, 4, 0]),
            PassSourceRoute,
        ),
        case(
            "a strict source route is left alone",
            "the VIP is only the next stop",
            with_options(&ack.build(), &[1, 137, 3, 4]),
            PassSourceRoute,
        ),
        case(
            "a short ARP frame is left alone",
            "42 bytes",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[12..14].copy_from_slice(&[8, 6]);
            }),
            PassNotIp,
        ),
        case(
            "a short VLAN frame is left alone",
            "it needs no IP header to be one",
            edited(&ack, |frame| {
                frame.truncate(18);
                frame[12..14].copy_from_slice(&[0x81, 0]);
            }),
            PassNotIp,
        ),
        case(
            "a short UDP packet is malformed",
            "its length field says 0",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[17] = 28;
                frame[23] = 17;
            }),
            PassMalformed,
        ),
        case(
            "a first fragment of an ICMP message is left alone",
            "not TCP",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[17] = 28;
                frame[20] = 0x20;
                frame[23] = 1;
            }),
            PassIcmp,
        ),
        case(
            "a segment shorter than its header is malformed",
            "no room for its header",
            edited(&ack, |frame| {
                frame.truncate(42);
                frame[17] = 28;
            }),
            PassMalformed,
        ),
        case(
            "an answer in a first fragment is sent",
            "it has the ports",
            edited(&answer(1, ON_1, ACK), |frame| frame[20] = 0x20),
            Reply,
        )
        .by(NODE_IFINDEX),
    ]);
    cases
}

/// The frame with IPv4 options, which have a multiple of four bytes.
fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.splice(34..34, options.iter().copied());
    let words = u8::try_from(options.len() / 4).expect("at most 40 bytes");
    frame[14] += words;
    frame[17] += words * 4;
    let sum = !sum_of(&[&frame[14..24], &frame[26..34], options]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The sum of 16-bit words, carries added in (RFC 1071).
fn sum_of(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}
