//! What is kept of a packet that is sent on.

use redirector_common::verdict::Verdict;
use redirector_tests::{fixture::NODE_IFINDEX, packets::TcpPacket};

use crate::case::{ACK, Case, ON_1, SPLIT_1_WAS_2, answer, case, client, edited, to_vip, valid};

pub(crate) fn what_is_kept() -> Vec<Case> {
    use Verdict::{ForwardSettled, PassTtl, Reply};
    let ack = to_vip(ON_1, ACK);
    let back = answer(1, ON_1, ACK);
    let forward =
        |name, why, packet: TcpPacket| case(name, why, packet.build(), ForwardSettled).to(1);
    vec![
        forward(
            "type of service and ECN are kept",
            "marks belong to the ends",
            TcpPacket {
                tos: 0xff,
                ..ack.clone()
            },
        ),
        forward(
            "TCP options are kept",
            "timestamps, SACK",
            TcpPacket {
                options: (1..=40).collect(),
                ..ack.clone()
            },
        ),
        forward(
            "data of odd length is kept",
            "the last byte is half a word",
            TcpPacket {
                payload: vec![7; 13],
                ..ack.clone()
            },
        ),
        forward(
            "a full frame is kept",
            "1,514 bytes",
            TcpPacket {
                payload: (0..=250).cycle().take(1460).collect(),
                ..ack.clone()
            },
        ),
        forward(
            "a port below the filter's first word is kept",
            "clients may use any port",
            TcpPacket {
                source: (client(ON_1), 1),
                ..ack.clone()
            },
        ),
        case(
            "padding is kept",
            "Ethernet's 60 bytes",
            edited(&ack, |frame| frame.resize(60, 0xa5)),
            ForwardSettled,
        )
        .to(1),
        case(
            "don't-fragment is kept",
            "path-MTU discovery",
            valid(&ack, |frame| frame[20] = 0x40),
            ForwardSettled,
        )
        .to(1),
        case(
            "its absence, too",
            "the twin",
            valid(&ack, |frame| frame[20] = 0),
            ForwardSettled,
        )
        .to(1),
        case(
            "the reserved bit is kept",
            "it is no fragment",
            valid(&ack, |frame| frame[20] = 0x80),
            ForwardSettled,
        )
        .to(1),
        case(
            "a wrong IPv4 checksum stays wrong",
            "the receiver must see the damage",
            edited(&ack, |frame| frame[24] ^= 1),
            ForwardSettled,
        )
        .to(1),
        case(
            "a wrong TCP checksum stays wrong",
            "the receiver must see the damage",
            edited(&ack, |frame| frame[50] ^= 1),
            ForwardSettled,
        )
        .to(1),
        case(
            "an answer's wrong TCP checksum stays wrong",
            "the receiver must see the damage",
            edited(&back, |frame| frame[50] ^= 1),
            Reply,
        )
        .by(NODE_IFINDEX),
        case(
            "an answer's options, data and padding are kept",
            "nothing else changes",
            edited(
                &TcpPacket {
                    tos: 0xfd,
                    options: vec![1; 12],
                    payload: vec![9; 77],
                    ..back.clone()
                },
                |frame| frame.extend([1, 2, 3]),
            ),
            Reply,
        )
        .by(NODE_IFINDEX),
        forward(
            "a TTL of 2 is the least to be forwarded",
            "it leaves as 1",
            TcpPacket {
                ttl: 2,
                ..ack.clone()
            },
        ),
        case(
            "a TTL of 1 is the kernel's",
            "it ends here",
            TcpPacket {
                ttl: 1,
                ..ack.clone()
            }
            .build(),
            PassTtl,
        ),
        case(
            "a TTL of 0 is the kernel's",
            "it must not become 255",
            TcpPacket {
                ttl: 0,
                ..ack.clone()
            }
            .build(),
            PassTtl,
        ),
        case(
            "an answer's TTL of 2 is the least to be sent on",
            "it leaves as 1",
            TcpPacket {
                ttl: 2,
                ..back.clone()
            }
            .build(),
            Reply,
        )
        .by(NODE_IFINDEX),
        case(
            "an answer's TTL of 1 is the kernel's",
            "it ends here",
            TcpPacket {
                ttl: 1,
                ..back.clone()
            }
            .build(),
            PassTtl,
        )
        .by(NODE_IFINDEX),
        case(
            "an answer's TTL of 0 is the kernel's",
            "it must not become 255",
            TcpPacket {
                ttl: 0,
                ..back.clone()
            }
            .build(),
            PassTtl,
        )
        .by(NODE_IFINDEX),
        case(
            "an answer whose TTL ends here teaches nothing",
            "its client never sees it",
            TcpPacket {
                ttl: 1,
                ..answer(3, SPLIT_1_WAS_2, ACK)
            }
            .build(),
            PassTtl,
        )
        .by(NODE_IFINDEX),
    ]
}
