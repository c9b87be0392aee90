//! What looks like a request or a reply, and is none; and requests and replies that look otherwise.

use redirector_common::{
    abi::Slot,
    verdict::{Event, Verdict},
};

use super::{
    dialogue::{ASSOCIATE, BIND, BOUND, CONNECT, Dialogue, reply},
    story::{Scene, Story, kept, story},
    talk::{
        ACK, Talk,
        redirect::{SHARED4, SHARED6},
        slot::ON_FIRST,
    },
};

pub(super) fn stories() -> Vec<Story> {
    let each = [SHARED4, SHARED6].into_iter().flat_map(|number| {
        let talk = Talk::of(number, ON_FIRST);
        [
            unspecified(talk),
            byte_by_byte(talk),
            at_once(talk),
            password(talk),
            again(talk),
            other_commands(talk, CONNECT),
            other_commands(talk, BIND),
            other_replies(talk),
            other_methods(talk),
            reply_in_two(talk),
            missing_byte(talk),
            other_language(talk),
        ]
    });
    each.chain([two_alike()]).collect()
}

fn named(what: &str, talk: Talk, scenes: Vec<Scene>) -> Story {
    story(format!("{what}, redirect {}", talk.redirect.number), scenes)
}

/// What comes after an association that was opened, and after one that was not.
fn afterwards(dialogue: &Dialogue, opened: bool) -> Vec<Scene> {
    if opened {
        vec![dialogue.there(), dialogue.back()]
    } else {
        vec![
            kept(dialogue.datagram_there(BOUND), Verdict::PassNotOurs),
            kept(dialogue.datagram_back(BOUND), Verdict::PassNotOurs).by_nodes(),
        ]
    }
}

fn unspecified(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.extend(dialogue.greet());
    let request = dialogue.request(ASSOCIATE);
    scenes.push(dialogue.client(ACK, &request));
    let none = vec![0; dialogue.own().len()];
    let granted = dialogue.node(ACK, &reply(&none));
    scenes.push(granted.counting(Event::AssociationOpened));
    scenes.extend(afterwards(&dialogue, true));
    named("no address in a reply becomes the VIP", talk, scenes)
}

fn byte_by_byte(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    for byte in [5, 1, 0] {
        scenes.push(dialogue.client(ACK, &[byte]));
    }
    for byte in [5, 0] {
        scenes.push(dialogue.node(ACK, &[byte]));
    }
    for byte in dialogue.request(ASSOCIATE) {
        scenes.push(dialogue.client(ACK, &[byte]));
    }
    let own = dialogue.own();
    let granted = dialogue.node(ACK, &reply(&own));
    scenes.push(granted.counting(Event::AssociationOpened));
    scenes.extend(afterwards(&dialogue, true));
    named("a dialogue byte by byte is understood", talk, scenes)
}

fn at_once(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    let all = [&[5, 1, 0][..], &dialogue.request(ASSOCIATE)].concat();
    scenes.push(dialogue.client(ACK, &all));
    let own = dialogue.own();
    let all = [&[5, 0][..], &reply(&own)].concat();
    let granted = dialogue.node(ACK, &all);
    scenes.push(granted.counting(Event::AssociationOpened));
    scenes.extend(afterwards(&dialogue, true));
    named("a dialogue all at once is understood", talk, scenes)
}

fn password(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.push(dialogue.client(ACK, &[5, 2, 0, 2]));
    scenes.push(dialogue.node(ACK, &[5, 2]));
    scenes.push(dialogue.client(ACK, &[1, 2, b'm', b'e', 3, b'a', b'b', b'c']));
    scenes.push(dialogue.node(ACK, &[1, 0]));
    let request = dialogue.request(ASSOCIATE);
    scenes.push(dialogue.client(ACK, &request));
    let own = dialogue.own();
    let granted = dialogue.node(ACK, &reply(&own));
    scenes.push(granted.counting(Event::AssociationOpened));
    scenes.extend(afterwards(&dialogue, true));
    named("a password makes no difference", talk, scenes)
}

fn again(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    let before = dialogue;
    scenes.extend(dialogue.greet());
    let request = dialogue.request(ASSOCIATE);
    let mut asked = dialogue;
    scenes.push(dialogue.client(ACK, &request));
    scenes.push(asked.client(ACK, &request));
    let own = dialogue.own();
    let mut answered = dialogue;
    let granted = dialogue.node(ACK, &reply(&own));
    scenes.push(granted.counting(Event::AssociationOpened));
    scenes.push(answered.node(ACK, &reply(&own)));
    // With the method before it, as of a node that was not acknowledged.
    let mut from_the_start = Dialogue {
        client_next: dialogue.client_next,
        ..before
    };
    let all = [&[5, 0][..], &reply(&own)].concat();
    scenes.push(from_the_start.node(ACK, &all));
    scenes.extend(afterwards(&dialogue, true));
    named("what is said again is treated alike", talk, scenes)
}

fn other_commands(talk: Talk, command: u8) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.extend(dialogue.greet());
    let request = dialogue.request(command);
    scenes.push(dialogue.client(ACK, &request));
    let own = dialogue.own();
    scenes.push(dialogue.node(ACK, &reply(&own)));
    scenes.extend(afterwards(&dialogue, false));
    let what = format!("the node's address in a reply to command {command} is left alone");
    named(&what, talk, scenes)
}

fn other_replies(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.extend(dialogue.greet());
    let request = dialogue.request(ASSOCIATE);
    scenes.push(dialogue.client(ACK, &request));
    let own = dialogue.own();
    let granted = reply(&own);
    let changed = |at: usize, value: u8| {
        let mut reply = granted.clone();
        reply[at] = value;
        reply
    };
    // Refused; of a version that does not exist; a name; somebody else's address.
    for reply in [
        changed(1, 7),
        changed(0, 4),
        changed(3, 3),
        changed(4, own[0] ^ 1),
    ] {
        let mut now = dialogue;
        scenes.push(now.node(ACK, &reply));
    }
    scenes.extend(afterwards(&dialogue, false));
    named("another reply opens nothing", talk, scenes)
}

fn other_methods(talk: Talk) -> Story {
    const GSSAPI: u8 = 1;
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.push(dialogue.client(ACK, &[5, 1, GSSAPI]));
    scenes.push(dialogue.node(ACK, &[5, GSSAPI]));
    let request = dialogue.request(ASSOCIATE);
    scenes.push(dialogue.client(ACK, &request));
    let own = dialogue.own();
    scenes.push(dialogue.node(ACK, &reply(&own)));
    scenes.extend(afterwards(&dialogue, false));
    named(
        "what is said by a method that encrypts is left alone",
        talk,
        scenes,
    )
}

fn reply_in_two(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.extend(dialogue.greet());
    let request = dialogue.request(ASSOCIATE);
    scenes.push(dialogue.client(ACK, &request));
    let own = dialogue.own();
    let all = reply(&own);
    for part in all.chunks(all.len() - 1) {
        scenes.push(dialogue.node(ACK, part));
    }
    scenes.extend(afterwards(&dialogue, false));
    named("a reply in two segments is left alone", talk, scenes)
}

fn missing_byte(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    scenes.extend(dialogue.greet());
    dialogue.client_next = dialogue.client_next.wrapping_add(1);
    let request = dialogue.request(ASSOCIATE);
    let too_early = dialogue.client(ACK, &request);
    scenes.push(too_early.counting(Event::NegotiationLost));
    let own = dialogue.own();
    scenes.push(dialogue.node(ACK, &reply(&own)));
    scenes.extend(afterwards(&dialogue, false));
    named(
        "a client of whom a byte is missing is not followed",
        talk,
        scenes,
    )
}

fn other_language(talk: Talk) -> Story {
    let mut dialogue = Dialogue::of(talk);
    let mut scenes = dialogue.begin();
    // SOCKS 4, CONNECT.
    let asked = dialogue.client(ACK, &[4, 1, 0, 80, 192, 0, 2, 80, 0]);
    scenes.push(asked.counting(Event::NegotiationLost));
    scenes.push(dialogue.node(ACK, &[0, 90, 0, 80, 192, 0, 2, 80]));
    scenes.push(dialogue.client(ACK, b"GET / HTTP/1.0\r\n\r\n"));
    scenes.extend(afterwards(&dialogue, false));
    named("another language is not followed", talk, scenes)
}

/// Two clients that share the last 16 bits of their addresses, and the port.
fn two_alike() -> Story {
    let talk = Talk::of(SHARED4, ON_FIRST);
    let mut first = Dialogue::of(talk.by([198, 51, 100, 7]));
    let mut second = Dialogue::of(talk.by([192, 0, 100, 7]));
    let mut scenes = [first.begin(), second.begin(), first.greet(), second.greet()].concat();
    let request = first.request(CONNECT);
    scenes.push(first.client(ACK, &request));
    let request = second.request(ASSOCIATE);
    scenes.push(second.client(ACK, &request));
    let own = second.own();
    let granted = second.node(ACK, &reply(&own));
    scenes.push(granted.counting(Event::AssociationOpened));
    scenes.extend(afterwards(&second, true));
    story(
        "a negotiation that ends does not end one that looks alike",
        scenes,
    )
    .given(|tables| {
        let table = tables.slot_tables.get_mut(&SHARED4).expect("it has one");
        table.slots.fill(Slot::settled_on(33));
        table.split_slots = 0;
    })
}
