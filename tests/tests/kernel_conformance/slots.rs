//! Settled and split slots: who is chosen, what is remembered.

use redirector_common::{
    abi::{
        BACKEND_DEAD, EMBRYO_ESTABLISHED, FLOW_CONTESTED, FLOW_FIN_CLIENT, FLOW_FIN_NODE,
        FLOW_RESET, TRIE_ASK_KERNEL,
    },
    verdict::{Event, Verdict},
};
use redirector_tests::{fixture::NODE_IFINDEX, packets::TcpPacket};

use crate::case::{
    ACK, Case, ECE_CWR, EPOCH, FIN, ON_1, PORT, RST, SPLIT_1_WAS_2, SPLIT_3_WAS_DEAD,
    SPLIT_NOTHING_WAS_DEAD, SPLIT_UNREACHABLE_WAS_1, SYN, answer, case, client, to_vip,
};

pub(crate) fn what_a_settled_slot_does_with_flags() -> Vec<Case> {
    let all = [
        ("a SYN goes to the settled node", SYN),
        ("an ACK goes to the settled node", ACK),
        ("a FIN goes to the settled node", FIN | ACK),
        ("a RST goes to the settled node", RST),
        ("a packet without flags goes to the settled node", 0),
        ("a packet with all flags goes to the settled node", 0xff),
    ];
    all.into_iter()
        .map(|(name, flags)| {
            case(
                name,
                "a settled slot does not look",
                to_vip(ON_1, flags).build(),
                Verdict::ForwardSettled,
            )
            .to(1)
            .not_recorded()
        })
        .collect()
}

pub(crate) fn split_slots_towards_nodes() -> Vec<Case> {
    use Event::{FlowPromoted, FlowTableFull};
    use Verdict::{
        DropNoBackend, DropNoNextHop, ForwardFlow, ForwardNew, ForwardOrphan, ForwardWas,
    };
    let split =
        |name, why, flags, verdict| case(name, why, to_vip(SPLIT_1_WAS_2, flags).build(), verdict);
    let kind = SPLIT_1_WAS_2;
    let other =
        |name, why, kind, flags, verdict| case(name, why, to_vip(kind, flags).build(), verdict);
    vec![
        split(
            "a SYN in a split slot goes to the new node",
            "it starts anew",
            SYN,
            ForwardNew,
        )
        .to(1)
        .not_recorded(),
        split(
            "a SYN with ECN bits is a SYN",
            "RFC 3168, section 6.1.1",
            SYN | ECE_CWR,
            ForwardNew,
        )
        .to(1),
        split(
            "a SYN starts anew on a recorded port",
            "ports are reused",
            SYN,
            ForwardNew,
        )
        .flow(kind, 3, 0)
        .to(1)
        .recorded(3, 0, 3),
        split(
            "a SYN with ACK does not start anew",
            "it is none",
            SYN | ACK,
            ForwardWas,
        )
        .to(2),
        split(
            "a SYN with RST does not start anew",
            "it is none",
            SYN | RST,
            ForwardWas,
        )
        .to(2),
        split(
            "an unrecorded ACK goes to the old node",
            "that is where it lives",
            ACK,
            ForwardWas,
        )
        .to(2)
        .not_recorded(),
        split(
            "an unrecorded RST goes to the old node",
            "that is where it lives",
            RST,
            ForwardWas,
        )
        .to(2)
        .not_recorded(),
        split(
            "an unrecorded packet without flags goes to the old node",
            "that is where it lives",
            0,
            ForwardWas,
        )
        .to(2),
        split(
            "a recorded ACK goes to its node",
            "it lives there",
            ACK,
            ForwardFlow,
        )
        .flow(kind, 3, 0)
        .to(3)
        .recorded(3, 0, EPOCH),
        split(
            "a recorded FIN is remembered",
            "the agent expires it sooner",
            FIN | ACK,
            ForwardFlow,
        )
        .flow(kind, 3, FLOW_FIN_NODE)
        .to(3)
        .recorded(3, FLOW_FIN_NODE | FLOW_FIN_CLIENT, EPOCH),
        split(
            "a client's RST is believed only by his node",
            "anybody can send one",
            RST,
            ForwardFlow,
        )
        .flow(kind, 3, 0)
        .to(3)
        .recorded(3, 0, EPOCH),
        case(
            "the record of another port does not count",
            "the twin",
            TcpPacket {
                source: (client(kind), PORT + 1),
                ..to_vip(kind, ACK)
            }
            .build(),
            ForwardWas,
        )
        .flow(kind, 3, 0)
        .to(2)
        .not_recorded(),
        split(
            "the ACK of a handshake records it",
            "it lives where it was answered",
            ACK,
            ForwardFlow,
        )
        .embryo(kind, 3, 5001, 0)
        .to(3)
        .events(&[FlowPromoted])
        .recorded(3, 0, EPOCH),
        split(
            "an ACK of data said meanwhile does, too",
            "the first may be lost",
            ACK,
            ForwardFlow,
        )
        .embryo(kind, 3, 5001_u32.wrapping_sub(0xffff), 0)
        .to(3)
        .events(&[FlowPromoted])
        .recorded(3, 0, EPOCH),
        split(
            "an ACK beyond the window does not",
            "it is another connection's",
            ACK,
            ForwardWas,
        )
        .embryo(kind, 3, 5001_u32.wrapping_sub(0x1_0000), 0)
        .to(2)
        .not_recorded(),
        split(
            "an ACK of less than the SYN-ACK does not",
            "it is another connection's",
            ACK,
            ForwardWas,
        )
        .embryo(kind, 3, 5002, 0)
        .to(2)
        .not_recorded(),
        split(
            "a packet without ACK completes nothing",
            "its number does not count",
            0,
            ForwardWas,
        )
        .embryo(kind, 3, 5001, 0)
        .to(2)
        .not_recorded(),
        split(
            "a RST of a handshake goes where it was answered",
            "the node forgets it",
            RST,
            ForwardFlow,
        )
        .embryo(kind, 3, 5001, 0)
        .to(3)
        .not_recorded(),
        split(
            "with a full table the handshake stays where it was noted",
            "it can't be recorded",
            ACK,
            ForwardFlow,
        )
        .full()
        .embryo(kind, 3, 5001, 0)
        .to(3)
        .events(&[FlowTableFull])
        .not_recorded(),
        split(
            "a connection that lives there goes on",
            "whatever it acknowledges",
            ACK,
            ForwardFlow,
        )
        .full()
        .embryo(kind, 3, 77, EMBRYO_ESTABLISHED)
        .to(3)
        .not_recorded(),
        split(
            "a contested connection goes where its ACK belongs",
            "a port was reused",
            ACK,
            ForwardFlow,
        )
        .flow(kind, 2, FLOW_CONTESTED)
        .embryo(kind, 3, 5001, 0)
        .to(3)
        .events(&[FlowPromoted])
        .recorded(3, 0, EPOCH),
        split(
            "a contested connection stays where its ACK does not belong elsewhere",
            "a SYN was spoofed",
            ACK,
            ForwardFlow,
        )
        .flow(kind, 2, FLOW_CONTESTED)
        .embryo(kind, 3, 6000, 0)
        .to(2)
        .recorded(2, FLOW_CONTESTED, EPOCH),
        split(
            "a RST does not decide a contest",
            "anybody can send one",
            RST,
            ForwardFlow,
        )
        .flow(kind, 2, FLOW_CONTESTED)
        .embryo(kind, 3, 5001, 0)
        .to(2)
        .recorded(2, FLOW_CONTESTED, EPOCH),
        split(
            "an uncontested connection does not look at handshakes",
            "the twin",
            ACK,
            ForwardFlow,
        )
        .flow(kind, 2, 0)
        .embryo(kind, 3, 5001, 0)
        .to(2)
        .recorded(2, 0, EPOCH),
        other(
            "an orphan goes to the new node",
            "whose reset tells the client",
            SPLIT_3_WAS_DEAD,
            ACK,
            ForwardOrphan,
        )
        .to(3),
        other(
            "it is no orphan while its node lives",
            "the twin",
            SPLIT_3_WAS_DEAD,
            ACK,
            ForwardWas,
        )
        .given(|tables| tables.backends.get_mut(&5).expect("set").flags &= !BACKEND_DEAD)
        .to(5),
        split(
            "a recorded orphan goes to the new node",
            "its node is dead",
            ACK,
            ForwardOrphan,
        )
        .flow(kind, 5, 0)
        .to(1),
        split(
            "a connection of a removed node goes to the new node",
            "its entry is unset",
            ACK,
            ForwardOrphan,
        )
        .flow(kind, 60, 0)
        .to(1),
        other(
            "an unrecorded connection of a removed node, too",
            "its entry is unset",
            SPLIT_3_WAS_DEAD,
            ACK,
            ForwardOrphan,
        )
        .given(|tables| {
            tables.backends.remove(&5);
        })
        .to(3),
        other(
            "a SYN where nothing is left is dropped",
            "no node is up",
            SPLIT_NOTHING_WAS_DEAD,
            SYN,
            DropNoBackend,
        ),
        other(
            "an orphan where nothing is left is dropped",
            "no node is up",
            SPLIT_NOTHING_WAS_DEAD,
            ACK,
            DropNoBackend,
        ),
        other(
            "a SYN to a node without a neighbour is dropped",
            "its address is not known yet",
            SPLIT_UNREACHABLE_WAS_1,
            SYN,
            DropNoNextHop,
        ),
        other(
            "old connections of that slot go on",
            "the twin",
            SPLIT_UNREACHABLE_WAS_1,
            ACK,
            ForwardWas,
        )
        .to(1),
    ]
}

pub(crate) fn split_slots_towards_clients() -> Vec<Case> {
    use Event::{EmbryoNoted, FlowLearned, FlowTableFull};
    let kind = SPLIT_1_WAS_2;
    let split = |name, why, flags| {
        case(
            name,
            why,
            answer(3, SPLIT_1_WAS_2, flags).build(),
            Verdict::Reply,
        )
        .by(NODE_IFINDEX)
    };
    vec![
        split(
            "a SYN-ACK is noted, not recorded",
            "anybody can cause one",
            SYN | ACK,
        )
        .events(&[EmbryoNoted])
        .not_recorded(),
        split(
            "a SYN-ACK contests the record of its port",
            "the client's ACK decides",
            SYN | ACK,
        )
        .flow(kind, 2, 0)
        .events(&[EmbryoNoted])
        .recorded(2, FLOW_CONTESTED, 3),
        split("data records its connection", "it lives there", ACK)
            .events(&[FlowLearned])
            .recorded(3, 0, EPOCH),
        split(
            "a FIN records its connection, too",
            "it half lives there",
            FIN | ACK,
        )
        .events(&[FlowLearned])
        .recorded(3, FLOW_FIN_NODE, EPOCH),
        split(
            "data keeps its record fresh",
            "the agent expires idle ones",
            ACK,
        )
        .flow(kind, 3, FLOW_FIN_CLIENT)
        .recorded(3, FLOW_FIN_CLIENT, EPOCH),
        split(
            "a FIN is remembered",
            "the agent expires it sooner",
            FIN | ACK,
        )
        .flow(kind, 3, 0)
        .recorded(3, FLOW_FIN_NODE, EPOCH),
        split(
            "data of one node does not touch the record of another's",
            "late packets",
            ACK,
        )
        .flow(kind, 2, 0)
        .recorded(2, 0, 3),
        split(
            "a RST records nothing",
            "it ends what may never have been",
            RST,
        )
        .not_recorded(),
        split("a RST is remembered", "the agent expires it sooner", RST)
            .flow(kind, 3, 0)
            .recorded(3, FLOW_RESET, 3),
        split(
            "a RST of one node does not touch the record of another's",
            "it answers a stray",
            RST,
        )
        .flow(kind, 2, 0)
        .recorded(2, 0, 3),
        case(
            "a node's own SYN is left alone and teaches nothing",
            "it is no answer",
            answer(3, SPLIT_1_WAS_2, SYN).build(),
            Verdict::PassNotOurs,
        )
        .by(NODE_IFINDEX)
        .not_recorded(),
        split(
            "data that can't be recorded is sent all the same",
            "the table is full",
            ACK,
        )
        .full()
        .events(&[FlowTableFull])
        .not_recorded(),
        split(
            "a SYN-ACK is noted though the table is full",
            "it needs no room there",
            SYN | ACK,
        )
        .full()
        .events(&[EmbryoNoted])
        .not_recorded(),
        case(
            "an answer that no route leads on is the kernel's, and teaches nothing",
            "it tells the node that there is no route",
            answer(3, SPLIT_1_WAS_2, ACK).build(),
            Verdict::PassToRelay,
        )
        .by(NODE_IFINDEX)
        .given(|tables| tables.ipv4.return_root.entries.fill(TRIE_ASK_KERNEL))
        .events(&[Event::ReturnHopAsked]),
    ]
}
