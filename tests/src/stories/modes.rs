//! Connections that are not given to the node of their client's slot.
//!
//! In every table here slot i sends new connections to one of the first three nodes, by the remainder of i by 3, and
//! connections that are not recorded to the second one.

use redirector_common::{
    abi::{Load, MODE_LEAST_STATES, MODE_RANDOM, MODE_ROUND_ROBIN, SLOT_SPLIT, Slot, SlotTable},
    host::HostTables,
    verdict::{Event, Verdict},
};

use super::{
    story::{Scene, Story, sent, story},
    talk::{
        ACK, SYN, Talk, but,
        redirect::{ROUTED, TCP4, TCP6, UDP4, UDP6},
        slot::ON_FIRST,
    },
};
use crate::{
    fixture::{BASE, MORE},
    oracle::{Claim, World},
    packets::{Body, Frame},
};

pub(super) fn stories() -> Vec<Story> {
    let mut all = Vec::new();
    for number in [TCP4, TCP6] {
        all.extend([
            random(number),
            washed_away(number),
            begun_before(number),
            in_turn(number),
            to_the_less_loaded(number),
            of_a_prefix(number),
        ]);
    }
    all.extend([UDP4, UDP6].map(datagrams));
    all.push(routed());
    all
}

/// Changes the tables of all redirects.
fn tables_by(tables: &mut HostTables, change: impl Fn(&mut SlotTable)) {
    for redirect in BASE.iter().chain(MORE) {
        let Some(table) = tables.slot_tables.get_mut(&redirect.number) else {
            continue;
        };
        for (index, slot) in (0_u16..=u16::MAX).zip(&mut table.slots) {
            *slot = Slot {
                now: redirect.first_node + index % 3,
                was: (redirect.first_node + 1) | SLOT_SPLIT,
            };
        }
        table.split_slots = 1 << 16;
        change(table);
    }
}

fn by_random(tables: &mut HostTables) {
    tables_by(tables, |table| table.mode = MODE_RANDOM);
}

fn to(talk: &Talk, place: u16, frame: Frame, verdict: Verdict) -> Scene {
    sent(frame, verdict, Claim::Recorded(talk.node(place)))
}

fn back(frame: Frame) -> Scene {
    sent(frame, Verdict::Reply, Claim::Client).by_nodes()
}

/// The same segment with this sequence number.
fn numbered(frame: Frame, sequence: u32) -> Frame {
    but(frame, |frame| {
        if let Body::Tcp(tcp) = &mut frame.body {
            tcp.sequence = sequence;
            tcp.acknowledgement = 1;
        }
    })
}

/// The node's place that a slot sends new connections to.
fn place_of(slot: usize) -> u16 {
    u16::try_from(slot % 3).expect("below 3") + 1
}

/// The places that are drawn for a connection that begins with this number.
fn drawn(talk: &Talk, number: u32) -> (u16, u16) {
    let (one, other) = World::of_fixture().drawn((talk.client, talk.client_port), number);
    (place_of(one), place_of(other))
}

/// The first number of a connection for which these places are drawn.
fn number_for(talk: &Talk, wanted: impl Fn((u16, u16)) -> bool) -> u32 {
    (1000..=u32::MAX)
        .find(|number| wanted(drawn(talk, *number)))
        .expect("all are drawn")
}

fn random(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let (first, third) = (
        number_for(&talk, |places| places.0 == 1),
        number_for(&talk, |places| places.0 == 3),
    );
    let syn = |sequence| numbered(talk.request(SYN), sequence);
    let syn_ack = but(talk.answer(3, SYN | ACK), |frame| {
        if let Body::Tcp(tcp) = &mut frame.body {
            tcp.sequence = 0;
        }
    });
    let ack = numbered(talk.request(ACK), third + 1);
    story(
        format!(
            "by random each connection has a node of its own, where it stays, redirect {number}"
        ),
        vec![
            to(&talk, 1, syn(first), Verdict::ForwardNew),
            to(&talk, 3, syn(third), Verdict::ForwardNew),
            // As often as it comes.
            to(&talk, 3, syn(third), Verdict::ForwardNew),
            back(syn_ack).counting(Event::EmbryoNoted),
            to(&talk, 3, ack, Verdict::ForwardFlow).counting(Event::FlowPromoted),
            to(
                &talk,
                3,
                numbered(talk.request(ACK), first),
                Verdict::ForwardFlow,
            ),
        ],
    )
    .given(by_random)
}

fn washed_away(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let third = number_for(&talk, |places| places.0 == 3);
    let first = number_for(&talk, |places| places.0 == 1);
    story(
        format!("the end of a handshake that nobody noted goes where it began, redirect {number}"),
        vec![
            to(
                &talk,
                3,
                numbered(talk.request(ACK), third + 1),
                Verdict::ForwardNew,
            ),
            to(
                &talk,
                1,
                numbered(talk.request(ACK), first + 1),
                Verdict::ForwardNew,
            ),
        ],
    )
    .given(by_random)
}

fn begun_before(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let of_slot = place_of(World::of_fixture().slot_of(talk.client));
    let elsewhere = |place| place != of_slot && place != 2;
    let number_elsewhere = number_for(&talk, |places| elsewhere(places.0));
    let place = drawn(&talk, number_elsewhere).0;
    story(
        format!(
            "connections that began before another mode stay where they are, redirect {number}"
        ),
        vec![
            to(
                &talk,
                2,
                numbered(talk.request(ACK), number_elsewhere + 1),
                Verdict::ForwardWas,
            ),
            to(
                &talk,
                place,
                numbered(talk.request(SYN), number_elsewhere),
                Verdict::ForwardNew,
            ),
        ],
    )
    .given(|tables| {
        let until = tables.epoch + 1;
        tables_by(tables, |table| {
            table.mode = MODE_RANDOM;
            table.tcp_was_until = until;
        });
    })
}

fn in_turn(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let syn = |place| to(&talk, place, talk.request(SYN), Verdict::ForwardNew);
    story(
        format!("in turn each connection goes to the next node, redirect {number}"),
        [1, 2, 3, 1, 2].map(syn).to_vec(),
    )
    .given(|tables| tables_by(tables, |table| table.mode = MODE_ROUND_ROBIN))
}

/// The second node has two connections more than the first, the third more than all.
fn by_load(tables: &mut HostTables) {
    tables_by(tables, |table| table.mode = MODE_LEAST_STATES);
    for redirect in BASE.iter().chain(MORE) {
        for (place, sum) in (0..).zip([10, 16, 1000]) {
            let load = Load { sum, step: 4 };
            tables
                .loads
                .borrow_mut()
                .insert(redirect.first_node + place, load);
        }
    }
}

fn to_the_less_loaded(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let syn = |drawn, place| {
        let sequence = number_for(&talk, |places| places == drawn);
        let syn = numbered(talk.request(SYN), sequence);
        to(&talk, place, syn, Verdict::ForwardNew)
    };
    story(
        format!(
            "of two nodes that are drawn the less loaded gets the connection, redirect {number}"
        ),
        vec![
            // 10 and 16.
            syn((2, 1), 1),
            syn((1, 2), 1),
            // 18 and 16: the other now.
            syn((1, 2), 2),
            syn((3, 2), 2),
            // Nothing but the fullest was drawn.
            syn((3, 3), 3),
        ],
    )
    .given(by_load)
}

/// Eight bits are left out in IPv4, and in IPv6 all but the first 56.
fn of_a_prefix(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let length = if talk.client.is_ipv4() { 24 } else { 56 };
    let world = World::of_fixture();
    let together = place_of(world.slot_of_prefix(talk.client, length));
    // Neighbours, whose whole addresses would send them elsewhere.
    let neighbours = (1_u8..=255).map(|last| match talk.client {
        std::net::IpAddr::V4(client) => {
            let [a, b, c, _] = client.octets();
            std::net::IpAddr::from([a, b, c, last])
        }
        std::net::IpAddr::V6(client) => {
            let mut octets = client.octets();
            octets[7..].fill(last);
            std::net::IpAddr::from(octets)
        }
    });
    let other = neighbours
        .filter(|client| place_of(world.slot_of(*client)) != together)
        .find(|client| {
            world.slot_of_prefix(*client, length) == world.slot_of_prefix(talk.client, length)
        })
        .expect("one of them");
    let neighbour = talk.by(other);
    story(
        format!("clients that agree in their first bits go to one node, redirect {number}"),
        vec![
            to(&talk, together, talk.request(SYN), Verdict::ForwardNew),
            to(
                &neighbour,
                together,
                neighbour.request(SYN),
                Verdict::ForwardNew,
            ),
        ],
    )
    .given(|tables| {
        tables_by(tables, |table| table.ignored = [0xff, u64::MAX]);
    })
}

fn datagrams(number: u16) -> Story {
    let talk = Talk::of(number, ON_FIRST);
    let place = drawn(&talk, 0).0;
    let other = (40_001..=u16::MAX)
        .map(|client_port| Talk {
            client_port,
            ..talk
        })
        .find(|other| drawn(other, 0).0 != place)
        .expect("all are drawn");
    let to_other = drawn(&other, 0).0;
    story(
        format!(
            "a flow of datagrams has the node that is drawn for it, even in turn, redirect {number}"
        ),
        vec![
            to(&talk, place, talk.request(0), Verdict::ForwardNew),
            to(&talk, place, talk.request(0), Verdict::ForwardNew),
            to(&other, to_other, other.request(0), Verdict::ForwardNew),
            back(talk.answer(place, 0)).counting(Event::FlowLearned),
            to(&talk, place, talk.request(0), Verdict::ForwardFlow),
        ],
    )
    .given(|tables| tables_by(tables, |table| table.mode = MODE_ROUND_ROBIN))
}

fn routed() -> Story {
    let talk = Talk::of(ROUTED, ON_FIRST);
    let of_slot = place_of(World::of_fixture().slot_of(talk.client));
    let began = number_for(&talk, |places| places.0 != of_slot && places.0 != 2);
    let place = drawn(&talk, began).0;
    story(
        "by random a routed connection is recorded where its SYN went",
        vec![
            to(
                &talk,
                place,
                numbered(talk.request(SYN), began),
                Verdict::ForwardNew,
            )
            .counting(Event::EmbryoNoted),
            to(
                &talk,
                place,
                numbered(talk.request(ACK), began + 1),
                Verdict::ForwardFlow,
            )
            .counting(Event::FlowPromoted),
            to(
                &talk,
                place,
                numbered(talk.request(ACK), began + 500),
                Verdict::ForwardFlow,
            ),
        ],
    )
    .given(by_random)
}
