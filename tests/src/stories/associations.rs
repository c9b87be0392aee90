//! UDP associations from request to end.

use redirector_common::{
    abi::{Association, FlowKey4, MAX_ASSOCIATIONS},
    verdict::{Event, Verdict},
};

use super::{
    dialogue::{ASSOCIATE, BOUND, Dialogue, reply},
    story::{Scene, Story, kept, sent, story},
    talk::{
        ACK, FIN, RST, SYN, Talk, error, living,
        redirect::{SHARED_ROUTED, SHARED4, SHARED6},
        slot::{ON_FIRST, ON_SECOND},
        with_more_headers,
    },
};
use crate::oracle::Claim;

pub(super) fn stories() -> Vec<Story> {
    let mut all = Vec::new();
    for number in [SHARED4, SHARED6] {
        all.extend([
            datagrams(number),
            pieces(number),
            errors(number),
            replaced(number),
        ]);
        all.extend(endings(number));
    }
    all.extend([routed(), full()]);
    all
}

fn dialogue(number: u16) -> Dialogue {
    Dialogue::of(Talk::of(number, ON_FIRST))
}

fn datagrams(number: u16) -> Story {
    let mut dialogue = dialogue(number);
    let mut scenes = vec![
        kept(dialogue.datagram_there(BOUND), Verdict::PassNotOurs),
        kept(dialogue.datagram_back(BOUND), Verdict::PassNotOurs).by_nodes(),
    ];
    scenes.extend(dialogue.associate());
    let stranger = Dialogue::of(Talk::of(number, ON_SECOND));
    let other_node = Dialogue {
        place: 2,
        ..dialogue
    };
    let node = Claim::Associated(dialogue.talk.node(1));
    let more = with_more_headers(dialogue.datagram_there(BOUND));
    scenes.extend([
        dialogue.there(),
        dialogue.back(),
        sent(more, Verdict::ForwardAssociated, node),
        kept(stranger.datagram_there(BOUND), Verdict::DropStranger),
        kept(stranger.datagram_back(BOUND), Verdict::PassNotOurs).by_nodes(),
        kept(other_node.datagram_back(BOUND), Verdict::PassNotOurs).by_nodes(),
        kept(dialogue.datagram_there(BOUND + 1), Verdict::PassNotOurs),
        kept(dialogue.datagram_back(BOUND + 1), Verdict::PassNotOurs).by_nodes(),
        kept(living(dialogue.datagram_there(BOUND), 1), Verdict::PassTtl),
        kept(living(dialogue.datagram_back(BOUND), 1), Verdict::PassTtl).by_nodes(),
    ]);
    let name = format!("datagrams go both ways through their own pinhole, redirect {number}");
    story(name, scenes)
}

fn pieces(number: u16) -> Story {
    let mut dialogue = dialogue(number);
    let mut scenes = dialogue.associate();
    let (there, back) = (
        dialogue.datagram_there(BOUND).fragments(16, 7),
        dialogue.datagram_back(BOUND).fragments(16, 9),
    );
    let node = Claim::Associated(dialogue.talk.node(1));
    let client = Claim::AssociatedClientOf(dialogue.talk.number());
    scenes.extend([
        sent(there[0].clone(), Verdict::ForwardAssociated, node),
        sent(
            there[1].clone(),
            Verdict::ForwardFragment,
            Claim::AfterFirst,
        ),
        sent(back[0].clone(), Verdict::ReplyAssociated, client).by_nodes(),
        sent(
            back[1].clone(),
            Verdict::ReplyFragment,
            Claim::ClientAfterFirst,
        )
        .by_nodes(),
    ]);
    let name = format!("datagrams in pieces go through the pinhole, redirect {number}");
    story(name, scenes)
}

fn errors(number: u16) -> Story {
    let mut dialogue = dialogue(number);
    let talk = dialogue.talk;
    let swapped = |frame: crate::packets::Frame, from, to| {
        super::talk::but(frame, |frame| {
            frame.ip = crate::packets::Ip::between(from, to);
        })
    };
    let (vip, node) = (talk.redirect.vip, talk.node_address(1));
    // As the client has seen the node's datagram, and as the node has seen the client's.
    let seen_by_client = swapped(dialogue.datagram_back(BOUND), vip, talk.client);
    let seen_by_node = swapped(dialogue.datagram_there(BOUND), talk.client, node);
    let by_client = error(talk.client, vip, &seen_by_client);
    let by_node = error(node, talk.client, &seen_by_node);
    let mut scenes = vec![
        kept(by_client.clone(), Verdict::PassIcmp),
        kept(by_node.clone(), Verdict::PassIcmp).by_nodes(),
    ];
    scenes.extend(dialogue.associate());
    let to_node = Claim::ErrorToNode(talk.node(1));
    let to_client = Claim::ErrorToClientOf(talk.number());
    scenes.extend([
        sent(by_client, Verdict::ForwardIcmp, to_node),
        sent(by_node, Verdict::ReplyIcmp, to_client).by_nodes(),
    ]);
    let name = format!("errors about datagrams go both ways, redirect {number}");
    story(name, scenes)
}

fn replaced(number: u16) -> Story {
    let mut first = dialogue(number);
    let mut second = Dialogue::of(Talk {
        client_port: 40_001,
        ..first.talk
    });
    let mut scenes = first.associate();
    let mut of_second = second.associate();
    if let Some(last) = of_second.last_mut() {
        last.events.push(Event::PinholeReplaced);
    }
    scenes.extend(of_second);
    // Not the first one's any more.
    scenes.push(
        first
            .node(FIN | ACK, &[])
            .counting(Event::AssociationClosed),
    );
    scenes.push(second.there());
    let name = format!("an association takes over the port of another one, redirect {number}");
    story(name, scenes)
}

/// Each way in which a control connection may end or seem to.
fn endings(number: u16) -> Vec<Story> {
    let base = dialogue(number);
    let mut open = base;
    let associated = open.associate();
    let other_node = Dialogue { place: 2, ..open };
    let next_but_one = Dialogue {
        client_next: open.client_next.wrapping_add(1),
        ..open
    };
    let closing = |mut by: Dialogue, of_client: bool, flags: u8| {
        if of_client {
            by.client(flags, &[])
        } else {
            by.node(flags, &[])
        }
    };
    let ends: [(&str, Scene, bool); 9] = [
        ("the node's FIN", closing(open, false, FIN | ACK), true),
        ("the node's reset", closing(open, false, RST), true),
        ("the client's reset", closing(open, true, RST), true),
        (
            "a reset with another number",
            closing(next_but_one, true, RST),
            false,
        ),
        ("the client's FIN", closing(open, true, FIN | ACK), false),
        (
            "another node's FIN",
            closing(other_node, false, FIN | ACK),
            false,
        ),
        ("a client's SYN", closing(open, true, SYN), false),
        ("the node's SYN-ACK", closing(open, false, SYN | ACK), true),
        // Anybody can send a SYN in the client's name; where the slot is split another node answers it.
        (
            "another node's SYN-ACK",
            closing(other_node, false, SYN | ACK),
            false,
        ),
    ];
    ends.into_iter()
        .map(|(what, scene, closes)| {
            let mut scenes = associated.clone();
            if closes {
                scenes.push(scene.counting(Event::AssociationClosed));
                // The mark is the agent's to take away.
                scenes.push(kept(open.datagram_there(BOUND), Verdict::DropStranger));
                scenes.push(kept(open.datagram_back(BOUND), Verdict::PassNotOurs).by_nodes());
            } else {
                scenes.extend([scene, open.there(), open.back()]);
            }
            let does = if closes { "ends" } else { "does not end" };
            story(
                format!("{what} {does} an association, redirect {number}"),
                scenes,
            )
        })
        .collect()
}

/// Of a node that holds the VIP only the client is heard, and any port may be the one that it has bound.
fn routed() -> Story {
    let mut dialogue = dialogue(SHARED_ROUTED);
    let stranger = Dialogue::of(Talk::of(SHARED_ROUTED, ON_SECOND));
    let mut scenes = vec![
        kept(dialogue.datagram_there(BOUND), Verdict::PassNotOurs),
        dialogue.client(SYN, &[]),
        dialogue.client(ACK, &[]),
        dialogue.client(ACK, &[5, 1, 0]),
    ];
    let request = dialogue.request(ASSOCIATE);
    scenes.push(
        dialogue
            .client(ACK, &request)
            .counting(Event::AssociationOpened),
    );
    let node = Claim::Associated(dialogue.talk.node(1));
    let to = |port| {
        sent(
            dialogue.datagram_there(port),
            Verdict::ForwardAssociated,
            node,
        )
    };
    scenes.extend([
        to(BOUND),
        to(BOUND + 1),
        sent(
            living(dialogue.datagram_there(BOUND), 1),
            Verdict::ForwardAssociated,
            node,
        ),
        kept(stranger.datagram_there(BOUND), Verdict::PassNotOurs),
    ]);
    let end = dialogue
        .client(FIN | ACK, &[])
        .counting(Event::AssociationClosed);
    scenes.extend([
        end,
        kept(dialogue.datagram_there(BOUND), Verdict::PassNotOurs),
    ]);
    story(
        "where nodes hold the VIP datagrams follow the client's request",
        scenes,
    )
}

/// A reply is left as it is when its association can't be noted.
fn full() -> Story {
    let mut dialogue = dialogue(SHARED4);
    let mut scenes = dialogue.begin();
    scenes.extend(dialogue.greet());
    let request = dialogue.request(ASSOCIATE);
    scenes.push(dialogue.client(ACK, &request));
    let own = dialogue.own();
    let granted = dialogue.node(ACK, &reply(&own));
    scenes.push(Scene {
        unreplaced: true,
        ..granted.counting(Event::AssociationTableFull)
    });
    scenes.push(kept(dialogue.datagram_there(BOUND), Verdict::PassNotOurs));
    story(
        "an association for which there is no room goes as it would without us",
        scenes,
    )
    .given(|tables| {
        let mut associations = tables.ipv4.associations.borrow_mut();
        for number in 0..MAX_ASSOCIATIONS {
            let [high, mid, low, last] = number.to_be_bytes();
            let key = FlowKey4 {
                client: [127, mid, low, last],
                port: [high, 9],
                listener: [0, 0],
            };
            associations.insert(key, Association::default());
        }
    })
}
