//! Claims that follow from the tables: where an error goes, which way was too narrow, whose a shared socket is.

use std::net::IpAddr;

use redirector_common::{
    abi::{FLOW_REVERSE, Flow, FlowKey4},
    host::HostTables,
};

use super::by_hand::{NODE, VIP, frame, ip};
use crate::{
    fixture,
    oracle::{
        Claim, World, claim_of_error_to_client, claim_of_error_to_node, claim_of_too_big,
        mutants::by_hand::CLIENT,
    },
    packets::{Body, Icmp, Tcp},
};

/// The client of a kind of slot; see [`fixture::slot`].
fn client(kind: usize) -> [u8; 4] {
    fixture::clients_of(kind).next().expect("there are clients")
}

/// An error about an answer of the VIP to this client.
fn error(client: [u8; 4]) -> Vec<u8> {
    let client = IpAddr::from(client).to_string();
    let answer = frame(
        ip(VIP, &client, 50),
        Body::Tcp(Tcp {
            source: 1080,
            destination: 40_000,
            ..Tcp::default()
        }),
    );
    let packet = answer.packet();
    frame(
        ip(&client, VIP, 64),
        Body::Icmp(Icmp::port_unreachable(&packet)),
    )
    .build()
}

fn record(tables: &HostTables, client: [u8; 4], listener: u16, backend: u16) {
    let key = FlowKey4 {
        client,
        port: 40_000_u16.to_be_bytes(),
        listener: listener.to_ne_bytes(),
    };
    let flow = Flow {
        backend,
        ..Flow::default()
    };
    tables.ipv4.flows.borrow_mut().insert(key, flow);
}

#[test]
fn an_error_goes_where_the_connection_lives() {
    let tables = fixture::host_tables();
    let world = World::of_fixture();
    let goes_to = |client| claim_of_error_to_node(&world, &error(client), &tables);
    // Settled on the second node; split, the first being `was`; split from a dead one to the third.
    for (kind, node) in [(1, 2), (4, 2), (5, 3)] {
        assert_eq!(
            goes_to(client(kind)),
            Some(Claim::ErrorToNode(node)),
            "{kind}"
        );
    }
    for kind in [1, 4] {
        record(&tables, client(kind), 1, 3);
    }
    assert_eq!(goes_to(client(4)), Some(Claim::ErrorToNode(3)), "recorded");
    let settled = goes_to(client(1));
    assert_eq!(settled, Some(Claim::ErrorToNode(2)), "not looked up");
}

#[test]
fn an_error_about_another_port_goes_nowhere() {
    let tables = fixture::host_tables();
    let mut other = error(client(1));
    let quoted_port = 14 + 20 + 8 + 20;
    other[quoted_port + 1] ^= 1;
    let claim = claim_of_error_to_node(&World::of_fixture(), &other, &tables);
    assert_eq!(claim, None);
}

#[test]
fn an_error_of_a_node_goes_to_the_client_of_its_listener() {
    let forwarded = |node: &str| {
        frame(
            ip(CLIENT, node, 50),
            Body::Tcp(Tcp {
                destination: 1088,
                ..Tcp::default()
            }),
        )
        .packet()
    };
    let error = |node: &str| {
        frame(
            ip(node, CLIENT, 64),
            Body::Icmp(Icmp::port_unreachable(&forwarded(node))),
        )
        .build()
    };
    let (world, tables) = (World::of_whole_fixture(), fixture::whole_tables());
    let told = claim_of_error_to_client(&world, &error(NODE), &tables);
    assert_eq!(told, Some(Claim::ErrorToClientOf(1)));
    // A socket that two listeners share: only the reverse record tells.
    let shared = "10.0.1.60";
    let told = claim_of_error_to_client(&world, &error(shared), &tables);
    assert_eq!(told, None);
    record(&tables, [198, 51, 100, 7], FLOW_REVERSE + 43, 13);
    let told = claim_of_error_to_client(&world, &error(shared), &tables);
    assert_eq!(told, Some(Claim::ErrorToClientOf(13)));
}

#[test]
fn what_is_too_big_was_too_big_for_the_node_that_it_would_have_gone_to() {
    let tables = fixture::whole_tables();
    let world = World::of_whole_fixture();
    // Split: new connections go to the first node, others to the second.
    let of = |flags| {
        let client = IpAddr::from(client(4)).to_string();
        frame(
            ip(&client, VIP, 64),
            Body::Tcp(Tcp {
                flags,
                payload: vec![0; 900],
                ..Tcp::default()
            }),
        )
        .build()
    };
    let claim = |flags| claim_of_too_big(&world, &of(flags), &tables);
    assert_eq!(claim(0x02), Some(Claim::TooBigForNode(1)));
    assert_eq!(claim(0x10), Some(Claim::TooBigForNode(2)));
    let answer = frame(
        ip(NODE, CLIENT, 64),
        Body::Tcp(Tcp {
            source: 1088,
            destination: 40_000,
            ..Tcp::default()
        }),
    );
    let back = claim_of_too_big(&world, &answer.build(), &tables);
    assert_eq!(back, Some(Claim::TooBigForClient));
}
