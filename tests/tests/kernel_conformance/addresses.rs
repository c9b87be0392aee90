//! Whom packets are for, and whom answers are from.

use redirector_common::verdict::{Event, Verdict};
use redirector_tests::{
    fixture::{
        CLIENT_IFINDEX, KERNEL_CLIENT, KERNEL_LOCAL, KERNEL_STRANGER, LOST_NETWORK, NODE_IFINDEX,
        NODE_PORT, NODES, RELAY, VIP, VIP_WITHOUT_TABLE,
    },
    packets::TcpPacket,
};

use crate::case::{
    ACK, Case, ON_1, ON_2, ON_3, ON_NOTHING, PORT, RST, SYN, answer, case, settle, to_vip,
};

pub(crate) fn whom_packets_are_for() -> Vec<Case> {
    use Verdict::{DropDirectTcp, DropNoBackend, DropNoTable, ForwardSettled, PassNotOurs};
    let ack = to_vip(ON_1, ACK);
    let to = |destination| {
        TcpPacket {
            destination,
            ..ack.clone()
        }
        .build()
    };
    vec![
        case(
            "a packet to the VIP goes to its client's node",
            "the job",
            ack.build(),
            ForwardSettled,
        )
        .to(1),
        case(
            "another client's goes to his",
            "the slot decides",
            to_vip(ON_2, ACK).build(),
            ForwardSettled,
        )
        .to(2),
        case(
            "a third one's, too",
            "the slot decides",
            to_vip(ON_3, ACK).build(),
            ForwardSettled,
        )
        .to(3),
        case(
            "another port of the VIP is not ours",
            "ssh to the relay",
            to((VIP.0, 22)),
            PassNotOurs,
        ),
        case(
            "a port in the filter at the VIP is not ours without a listener",
            "the filter is no proof",
            to((VIP.0, NODE_PORT)),
            PassNotOurs,
        ),
        case(
            "the VIP's port at another address is not ours",
            "forwarded traffic",
            to(([192, 0, 2, 80], VIP.1)),
            PassNotOurs,
        ),
        case(
            "a client's packet to a node's port is dropped",
            "it avoids the VIP",
            to((NODES[0], NODE_PORT)),
            DropDirectTcp,
        ),
        case(
            "a client's packet to another port of a node is not ours",
            "ssh to a node",
            to((NODES[0], 22)),
            PassNotOurs,
        ),
        case(
            "a slot without a backend drops",
            "no node is up",
            to_vip(ON_NOTHING, SYN).build(),
            DropNoBackend,
        ),
        case(
            "a redirect without a table drops",
            "the agent has not got so far",
            to(VIP_WITHOUT_TABLE),
            DropNoTable,
        ),
        case(
            "a slot whose backend is unset drops for want of a backend",
            "an agent's fault gets the right name",
            ack.build(),
            DropNoBackend,
        )
        .given(|tables| {
            tables.backends.remove(&1);
        }),
        case(
            "a slot whose backend has no neighbour yet drops for want of it",
            "the twin",
            ack.build(),
            Verdict::DropNoNextHop,
        )
        .given(|tables| tables.backends.get_mut(&1).expect("set").flags = 0),
        case(
            "a node that is a client goes by its own slot",
            "nodes may use the VIP, too",
            TcpPacket {
                source: (NODES[0], NODE_PORT),
                destination: VIP,
                ..ack.clone()
            }
            .build(),
            ForwardSettled,
        )
        .by(NODE_IFINDEX)
        .given(|tables| settle(tables, NODES[0], 3))
        .to(3),
        case(
            "the way back is noted from the SYN of a client that is not among the routes",
            "its first answer can't wait for ARP",
            from_stranger(SYN),
            ForwardSettled,
        )
        .given(|tables| settle(tables, KERNEL_STRANGER, 3))
        .to(3)
        .events(&[Event::WayBackNoted]),
        case(
            "and from no other packet of it",
            "once is enough",
            from_stranger(ACK),
            ForwardSettled,
        )
        .given(|tables| settle(tables, KERNEL_STRANGER, 3))
        .to(3),
    ]
}

fn from_stranger(flags: u8) -> Vec<u8> {
    TcpPacket {
        source: (KERNEL_STRANGER, PORT),
        ..to_vip(ON_3, flags)
    }
    .build()
}

pub(crate) fn answers() -> Vec<Case> {
    use Event::ReturnHopAsked;
    use Verdict::{DropNoReturnHop, PassNotOurs, PassToRelay, Reply};
    let back = answer(1, ON_1, ACK);
    let from = |source| {
        TcpPacket {
            source,
            ..back.clone()
        }
        .build()
    };
    let to = |address| {
        TcpPacket {
            destination: (address, PORT),
            ..back.clone()
        }
        .build()
    };
    let [a, b, c] = LOST_NETWORK;
    let cases = vec![
        case(
            "an answer becomes the VIP's",
            "the job",
            back.build(),
            Reply,
        ),
        case(
            "another node's, too",
            "every node",
            from((NODES[2], NODE_PORT)),
            Reply,
        ),
        case(
            "one of a node without a next hop, too",
            "that is about the way there",
            from((NODES[3], NODE_PORT)),
            Reply,
        ),
        case(
            "one of a node held for dead, too",
            "down is not dead",
            from((NODES[4], NODE_PORT)),
            Reply,
        ),
        case(
            "a node's other port is not ours",
            "its external side",
            from((NODES[0], 443)),
            PassNotOurs,
        ),
        case(
            "a node's port of a stranger is not ours",
            "forwarded traffic",
            from(([10, 0, 1, 99], NODE_PORT)),
            PassNotOurs,
        ),
        case(
            "a packet from the VIP's own address is not ours",
            "the relay's, looped back",
            from(VIP),
            PassNotOurs,
        ),
        case(
            "an answer to the relay is the relay's",
            "health checks",
            to(RELAY),
            PassToRelay,
        ),
        case(
            "an answer to its neighbour is not",
            "the twin",
            to([10, 0, 1, 200]),
            Reply,
        )
        .given(|tables| settle(tables, [10, 0, 1, 200], 1)),
        case(
            "an answer to an address that only the kernel knows as its own is the relay's",
            "health checks",
            to(KERNEL_LOCAL),
            PassToRelay,
        )
        .events(&[ReturnHopAsked]),
        case(
            "an answer whose way only the kernel knows is sent",
            "routes not mirrored yet",
            to(KERNEL_CLIENT),
            Reply,
        )
        .events(&[ReturnHopAsked]),
        case(
            "an answer whose way nobody knows is dropped",
            "it must not leak the node's address",
            to([a, b, c, 7]),
            DropNoReturnHop,
        )
        .events(&[ReturnHopAsked]),
        case(
            "a RST in a settled slot is sent",
            "the client must know",
            answer(1, ON_1, RST).build(),
            Reply,
        )
        .not_recorded(),
        case(
            "a SYN-ACK in a settled slot is not noted",
            "no state in the steady state",
            answer(1, ON_1, SYN | ACK).build(),
            Reply,
        )
        .not_recorded(),
        case(
            "data in a settled slot is not recorded",
            "no state in the steady state",
            answer(1, ON_1, ACK).build(),
            Reply,
        )
        .not_recorded(),
        case(
            "data of another node in a settled slot is not recorded",
            "a settled slot says that there is none",
            answer(3, ON_1, ACK).build(),
            Reply,
        )
        .not_recorded(),
    ];
    cases
        .into_iter()
        .map(|case| case.by(NODE_IFINDEX))
        .collect()
}

pub(crate) fn where_frames_leave() -> Vec<Case> {
    use Verdict::{ForwardSettled, Reply};
    let ack = to_vip(ON_1, ACK).build();
    let back = answer(1, ON_1, ACK).build();
    vec![
        case(
            "from the clients' interface it is redirected",
            "two-armed",
            ack.clone(),
            ForwardSettled,
        )
        .to(1)
        .by(CLIENT_IFINDEX),
        case(
            "from the nodes' interface it is turned around",
            "one-armed",
            ack.clone(),
            ForwardSettled,
        )
        .to(1)
        .by(NODE_IFINDEX),
        case(
            "an answer from the nodes' interface is redirected",
            "two-armed",
            back.clone(),
            Reply,
        )
        .by(NODE_IFINDEX),
        case(
            "an answer from the clients' interface is turned around",
            "one-armed",
            back,
            Reply,
        )
        .by(CLIENT_IFINDEX),
        // The loopback interface is not in the device map.
        case(
            "by an interface that is not ours it is dropped",
            "it is translated by half",
            ack,
            ForwardSettled,
        )
        .given(|tables| tables.backends.get_mut(&1).expect("set").hop.ifindex = 1)
        .to(1)
        .leaving_by(1),
    ]
}
