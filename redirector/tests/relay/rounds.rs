//! Rounds over recorded flows.

use redirector::names::{FlowName, With};
use redirector_common::abi::{FLOW_FIN_CLIENT, FLOW_FIN_NODE, Flow};

use super::*;

fn flow(client: u8, with: With, value: u16, seen: u32) -> (FlowName, Flow) {
    let name = FlowName {
        client: ([198, 51, 100, client], 40_000).into(),
        with,
    };
    let flow = Flow {
        backend: value,
        flags: 0,
        seen,
    };
    (name, flow)
}

/// A relay whose only redirect has `more`, with the number of its TCP listener and a backend.
fn tracked(more: &str) -> (Relay, u16, u16) {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = {{ pool = \"a\", port = 1080 }}\n{more}"
    ));
    let state = relay.desired();
    let listener = state.endpoints[&tcp("10.0.0.1", 1080)].listener;
    let backend = state.endpoints[&tcp("10.0.1.1", 1080)].backend;
    (relay, listener, backend)
}

#[test]
fn a_settled_slot_needs_flows_only_where_the_listener_is_tracked() {
    for (more, forgets) in [("", true), ("direct-tcp = \"allow\"", false)] {
        let (mut relay, listener, backend) = tracked(more);
        let forward = flow(1, With::Listener(listener), backend, 100);
        let forgotten = relay.round(&[forward], 110);
        assert_eq!(!forgotten.is_empty(), forgets, "{more:?}");
    }
}

#[test]
fn a_reverse_record_goes_with_its_forward_one() {
    let (mut relay, listener, backend) = tracked("direct-tcp = \"allow\"");
    let mut round = |flows: &[(FlowName, Flow)], epoch| relay.round(flows, epoch);
    let forward = flow(1, With::Listener(listener), backend, 100);
    let reverse = flow(1, With::Backend(backend), listener, 100);
    assert_eq!(round(&[reverse, forward], 700), []);
    assert_eq!(round(&[reverse, forward], 701), [forward, reverse]);
    let mut closed = forward;
    closed.1.flags = FLOW_FIN_CLIENT | FLOW_FIN_NODE;
    assert_eq!(round(&[reverse, closed], 191), [closed, reverse]);
    // Without a forward record it waits for a handshake only.
    assert_eq!(round(&[reverse], 160), []);
    assert_eq!(round(&[reverse], 161), [reverse]);
    // Another client's forward record, another listener or another backend is not its own.
    let other = flow(2, With::Listener(listener), backend, 100);
    assert_eq!(round(&[reverse, other], 161), [reverse]);
    let astray = flow(1, With::Backend(backend), listener + 1, 100);
    assert_eq!(round(&[astray, forward], 110), [astray]);
    let elsewhere = flow(1, With::Backend(backend + 1), listener, 100);
    assert_eq!(round(&[elsewhere, forward], 161), [elsewhere]);
}

#[test]
fn flows_of_datagrams_end_sooner_than_connections() {
    let (mut relay, listener, backend) = tracked("protocol = \"both\"");
    // Split, so that the round does not forget what is settled.
    check(&mut relay, "10.0.1.1", false);
    let state = relay.desired();
    let datagrams = state.endpoints[&udp("10.0.0.1", 1080)].listener;
    let split = |client: u8| {
        let slot = redirector::names::slot_of(KEY, [198, 51, 100, client].into());
        relay.redirects()[&0].book[slot].is_split()
    };
    let client = (0..255)
        .find(|client| split(*client))
        .expect("a client of 10.0.1.1");
    let tcp = flow(client, With::Listener(listener), backend, 100);
    let udp = flow(client, With::Listener(datagrams), backend, 100);
    assert_eq!(relay.round(&[tcp, udp], 160), []);
    assert_eq!(relay.round(&[tcp, udp], 161), [udp]);
    assert!(relay.redirects()[&0].book.table().udp_was_until == 60);
}

#[test]
fn a_redirect_of_datagrams_only_settles_after_their_timeout() {
    let settles_by = |protocol: &str, epoch: u32| {
        let mut relay = relay_of(&format!(
            "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nprotocol = \"{protocol}\"\n\
             forward-to = {{ pool = \"a\", port = 1080 }}"
        ));
        check(&mut relay, "10.0.1.1", false);
        assert!(relay.redirects()[&0].book.table().split_slots > 0);
        relay.round(&[], epoch);
        relay.redirects()[&0].book.table().split_slots == 0
    };
    assert!(!settles_by("udp", 120));
    assert!(settles_by("udp", 121));
    assert!(!settles_by("both", 121));
    assert!(settles_by("both", 661));
}

#[test]
fn a_node_that_was_taken_out_keeps_its_listeners_while_a_flow_needs_them() {
    let text = |pool: &str| {
        format!(
            "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = {{ pool = \"{pool}\", port = 1080 }}"
        )
    };
    let mut relay = relay_of(&text("a"));
    let old = relay.desired().endpoints[&tcp("10.0.1.1", 1080)];
    reload(&mut relay, config_of(&text("b")));
    check(&mut relay, "10.0.1.3", true);
    assert_eq!(
        relay.desired().endpoints.get(&tcp("10.0.1.1", 1080)),
        Some(&old)
    );
    let client = (0..255)
        .find(|client| {
            let slot = redirector::names::slot_of(KEY, [198, 51, 100, *client].into());
            relay.redirects()[&0].book[slot].unrecorded() == old.backend
        })
        .expect("a client of 10.0.1.1");
    let live = flow(client, With::Listener(old.listener), old.backend, 700);
    relay.round(&[live], 800);
    assert!(
        relay
            .desired()
            .endpoints
            .contains_key(&tcp("10.0.1.1", 1080))
    );
    // Nothing names it any more.
    relay.round(&[], 1400);
    relay.round(&[], 1400);
    assert!(
        !relay
            .desired()
            .endpoints
            .contains_key(&tcp("10.0.1.1", 1080))
    );
    assert!(!relay.desired().backends.contains_key(&old.backend));
}
