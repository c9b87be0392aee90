//! What the data path is told about listeners and nodes.

use redirector::engine::State;
use redirector_common::abi::{
    BACKEND_IPV6, ENDPOINT_ANY_PORT, ENDPOINT_DIRECT, ENDPOINT_LISTENER, ENDPOINT_NODE,
    ENDPOINT_NODE_ADDRESS, ENDPOINT_REFUSES, ENDPOINT_ROUTE, ENDPOINT_SHARED, ENDPOINT_TRACKED,
    ENDPOINT_VIP, Endpoint,
};

use super::*;

/// What stands there, but for whether it refuses, which one test alone is about.
#[track_caller]
fn at(state: &State, place: Place) -> Endpoint {
    let endpoint = state.endpoints.get(&place);
    let endpoint = *endpoint.unwrap_or_else(|| panic!("nothing at {place:?}"));
    Endpoint {
        flags: endpoint.flags & !ENDPOINT_REFUSES,
        ..endpoint
    }
}

#[test]
fn packets_that_no_node_takes_are_refused_unless_the_redirect_says_otherwise_or_nothing_is_known() {
    let refuses = |relay: &Relay| {
        let state = relay.desired();
        let flags = |endpoint: &Endpoint| endpoint.flags & ENDPOINT_REFUSES != 0;
        let place = tcp("10.0.0.1", 1080);
        let others = state.endpoints.iter().filter(|(other, _)| **other != place);
        assert!(!others.into_iter().any(|(_, other)| flags(other)));
        flags(&state.endpoints[&place])
    };
    let text = |more: &str| format!("[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{more}{FORWARD}");
    assert!(refuses(&relay_of(&text(""))));
    assert!(refuses(&relay_of(&text("when-empty = \"reset\"\n"))));
    assert!(!refuses(&relay_of(&text("when-empty = \"drop\"\n"))));
    let config = config_of(&text(""));
    let mut starting =
        Relay::new(config, KEY, Found::default(), 0, Instant::now()).expect("a relay");
    assert!(!refuses(&starting), "no node has been checked yet");
    starting.release(0);
    assert!(refuses(&starting));
}

const FORWARD: &str = "forward-to = { pool = \"a\", port = 1080 }";

#[test]
fn a_plain_redirect_has_no_flags_and_its_answers_are_restored_by_the_socket_alone() {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{FORWARD}"
    ));
    let state = relay.desired();
    let mut places = state.endpoints.keys();
    assert!(places.all(|place| at(&state, *place).flags == 0));
    let listener = at(&state, tcp("10.0.0.1", 1080));
    assert_eq!(listener.kind, ENDPOINT_LISTENER);
    for node in ["10.0.1.1", "10.0.1.2"] {
        let node = at(&state, tcp(node, 1080));
        assert_eq!(
            (node.kind, node.listener),
            (ENDPOINT_NODE, listener.listener)
        );
        assert_eq!(node.address[..4], [10, 0, 0, 1]);
        assert_eq!(node.port, 1080_u16.to_be_bytes());
    }
    // Listener, two nodes, and the three addresses.
    assert_eq!(state.endpoints.len(), 6);
    let vip = Place::address(tcp("10.0.0.1", 0).address);
    assert_eq!(at(&state, vip), Endpoint::vip(0, listener.listener, 0));
    let node = Place::address(tcp("10.0.1.1", 0).address);
    assert_eq!(at(&state, node).kind, ENDPOINT_NODE_ADDRESS);
    let number = &state.listeners[&listener.listener];
    assert_eq!(
        (number.family, number.protocol, number.flags),
        (4, protocol::TCP, 0)
    );
}

#[test]
fn each_family_has_its_own_table_and_only_its_own_nodes() {
    let mut relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\", \"[2001:db8::1]:1080\"]\n{FORWARD}"
    ));
    let state = relay.desired();
    assert_eq!(state.tables.len(), 2);
    let (v4, v6) = (
        at(&state, tcp("10.0.0.1", 1080)),
        at(&state, tcp("2001:db8::1", 1080)),
    );
    assert_ne!(v4.redirect, v6.redirect);
    assert_ne!(v4.listener, v6.listener);
    assert_eq!(v6.l3_delta, 0);
    let node = at(&state, tcp("2001:db8:1::1", 1080));
    assert_eq!(node.listener, v6.listener);
    assert_eq!(
        state.backends[&node.backend].flags & BACKEND_IPV6,
        BACKEND_IPV6
    );
    let owned = |relay: &Relay, index: u16| {
        let book = &relay.redirects()[&index].book;
        book.owned().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(owned(&relay, v6.redirect), [node.backend]);
    assert_eq!(owned(&relay, v4.redirect).len(), 2);
    assert!(!owned(&relay, v4.redirect).contains(&node.backend));
    // The only node of a family is down: the other family has others and goes on.
    check(&mut relay, "2001:db8:1::1", false);
    assert_eq!(owned(&relay, v6.redirect), [0]);
    assert_eq!(owned(&relay, v4.redirect).len(), 2);
}

#[test]
fn a_node_of_a_family_that_nobody_listens_in_is_not_even_checked() {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{FORWARD}"
    ));
    assert!(nodes(&relay).iter().all(|node| !node.contains(':')));
    assert_eq!(relay.desired().backends.len(), 2);
}

#[test]
fn each_protocol_has_listeners_and_answers_of_its_own_and_they_share_backend_and_table() {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nprotocol = \"both\"\n{FORWARD}"
    ));
    let state = relay.desired();
    let (tcp_listener, udp_listener) = (
        at(&state, tcp("10.0.0.1", 1080)),
        at(&state, udp("10.0.0.1", 1080)),
    );
    assert_ne!(tcp_listener.listener, udp_listener.listener);
    assert_eq!(tcp_listener.redirect, udp_listener.redirect);
    let (tcp_node, udp_node) = (
        at(&state, tcp("10.0.1.1", 1080)),
        at(&state, udp("10.0.1.1", 1080)),
    );
    assert_eq!(tcp_node.backend, udp_node.backend);
    assert_eq!(udp_node.listener, udp_listener.listener);
    assert_eq!(
        (tcp_node.flags, udp_node.flags),
        (0, 0),
        "no socket has two listeners"
    );
}

#[test]
fn several_ports_to_one_are_tracked_and_their_nodes_take_only_the_node_away() {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080-1081\"]\n{FORWARD}"
    ));
    let state = relay.desired();
    for port in [1080, 1081] {
        assert_eq!(at(&state, tcp("10.0.0.1", port)).flags, ENDPOINT_TRACKED);
    }
    let node = at(&state, tcp("10.0.1.1", 1080));
    assert_eq!(node.flags, ENDPOINT_TRACKED);
    let first = at(&state, tcp("10.0.0.1", 1080));
    assert_eq!(node.listener, first.listener);
    let backend = &state.backends[&node.backend];
    let whole = Endpoint::node(
        backend,
        node.backend,
        [10, 0, 0, 1].into(),
        1080,
        0,
        first.listener,
        0,
    );
    assert_ne!(node.l4_delta, whole.l4_delta);
    assert!(
        state
            .listeners
            .values()
            .all(|listener| listener.flags == ENDPOINT_TRACKED)
    );
}

#[test]
fn a_node_that_two_redirects_share_tracks_them_and_leaves_a_third_alone() {
    let relay = relay_of(&format!(
        "[redirect.one]\nlisten = [\"10.0.0.1:1080\"]\n{FORWARD}\n\
         [redirect.two]\nlisten = [\"10.0.0.2:1080\"]\nforward-to = {{ pool = \"b\", port = 1080 }}\n\
         [redirect.three]\nlisten = [\"10.0.0.3:1080\"]\nforward-to = {{ pool = \"b\", port = 1081 }}"
    ));
    let state = relay.desired();
    // 10.0.1.2 is in both pools; the others follow, so that a listener is either tracked or not.
    for place in [
        tcp("10.0.0.1", 1080),
        tcp("10.0.0.2", 1080),
        tcp("10.0.1.1", 1080),
        tcp("10.0.1.2", 1080),
        tcp("10.0.1.3", 1080),
    ] {
        assert_eq!(at(&state, place).flags, ENDPOINT_TRACKED, "{place:?}");
    }
    for place in [
        tcp("10.0.0.3", 1080),
        tcp("10.0.1.2", 1081),
        tcp("10.0.1.3", 1081),
    ] {
        assert_eq!(at(&state, place).flags, 0, "{place:?}");
    }
    let shared = at(&state, tcp("10.0.1.2", 1080));
    assert_eq!(state.backends.len(), 5);
    let entry = relay.backends().get(shared.backend).expect("a backend");
    assert_eq!(entry.listeners.len(), 2);
}

#[test]
fn every_port_of_an_address_is_tracked_and_keeps_ports() {
    let relay = relay_of(
        "[redirect.r]\nlisten = [\"10.0.0.1\"]\nforward-to = { pool = \"b\" }\n\
         [redirect.s]\nlisten = [\"10.0.0.2:80-81\"]\nforward-to = { pool = \"b\" }",
    );
    let state = relay.desired();
    let kept = ENDPOINT_ANY_PORT | ENDPOINT_TRACKED;
    let listener = at(&state, tcp("10.0.0.1", 0));
    assert_eq!((listener.kind, listener.flags), (ENDPOINT_LISTENER, kept));
    assert_eq!(at(&state, tcp("10.0.1.2", 0)).flags, kept);
    // The other redirect's ports are among every port, so an answer from there may belong to either.
    assert_eq!(at(&state, tcp("10.0.1.2", 80)).flags, kept);
    assert_eq!(at(&state, tcp("10.0.0.2", 81)).flags, kept);
    assert!(
        state
            .backends
            .values()
            .all(|backend| backend.port == [0; 2])
    );
    assert_eq!(state.backends.len(), 2);
    assert_eq!(
        at(&state, tcp("10.0.1.2", 0)).backend,
        at(&state, tcp("10.0.1.2", 80)).backend
    );
}

#[test]
fn a_range_of_kept_ports_alone_needs_no_tracking() {
    let relay =
        relay_of("[redirect.s]\nlisten = [\"10.0.0.2:80-81\"]\nforward-to = { pool = \"b\" }");
    let state = relay.desired();
    for place in [
        tcp("10.0.0.2", 80),
        tcp("10.0.0.2", 81),
        tcp("10.0.1.2", 80),
        tcp("10.0.1.3", 81),
    ] {
        assert_eq!(at(&state, place).flags, ENDPOINT_ANY_PORT, "{place:?}");
    }
}

#[test]
fn direct_connections_are_told_apart_by_tracking_the_others() {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{FORWARD}\ndirect-tcp = \"allow\""
    ));
    let state = relay.desired();
    assert_eq!(at(&state, tcp("10.0.0.1", 1080)).flags, ENDPOINT_TRACKED);
    let direct = ENDPOINT_TRACKED | ENDPOINT_DIRECT;
    assert_eq!(at(&state, tcp("10.0.1.1", 1080)).flags, direct);
}

#[test]
fn nodes_that_packets_are_routed_to_have_no_endpoints() {
    let relay = relay_of(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\", \"10.0.0.1:1081\"]\nroute-to = { pool = \"a\", port = 1090 }\n\
         udp-associate = \"shared\"",
    );
    let state = relay.desired();
    let flags = ENDPOINT_ROUTE | ENDPOINT_SHARED | ENDPOINT_ANY_PORT;
    assert_eq!(at(&state, tcp("10.0.0.1", 1080)).flags, flags);
    assert_eq!(
        at(&state, Place::address([10, 0, 0, 1].into())).flags,
        flags
    );
    assert!(
        state
            .endpoints
            .values()
            .all(|e| matches!(e.kind, ENDPOINT_LISTENER | ENDPOINT_VIP))
    );
    assert_eq!(state.backends.len(), 2);
    assert!(
        state
            .backends
            .values()
            .all(|backend| backend.port == [0; 2])
    );
    assert!(
        relay
            .targets()
            .iter()
            .all(|(target, _)| target.address.port() == 1090)
    );
    assert_eq!(relay.redirects()[&0].book.owned().len(), 2);
}

#[test]
fn the_silence_of_a_node_that_answers_past_the_relay_means_nothing() {
    use redirector::engine::Traffic;
    use redirector_common::abi::BACKEND_DEAD;

    let silent = |text: &str| {
        let mut relay = relay_of(text);
        check(&mut relay, "10.0.1.1", false);
        let start = Instant::now();
        for second in 0..600_u64 {
            let traffic = Traffic {
                asked: 10 * second,
                heard: 0,
            };
            relay.listen(|_| traffic, start + Duration::from_secs(second));
        }
        let dead =
            |(_, entry): (u16, &redirector::engine::Entry)| entry.backend.flags & BACKEND_DEAD != 0;
        relay.backends().iter().any(dead)
    };
    assert!(silent(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{FORWARD}"
    )));
    assert!(!silent(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nroute-to = { pool = \"a\" }"
    ));
}

#[test]
fn the_entry_of_a_vip_names_the_listener_with_associations() {
    let relay = relay_of(&format!(
        "[redirect.r]\nlisten = [\"10.0.0.1:1081\"]\nroute-to = {{ pool = \"b\" }}\n\
         [redirect.s]\nlisten = [\"10.0.0.1:1080\"]\nudp-associate = \"shared\"\n{FORWARD}"
    ));
    let state = relay.desired();
    let shared = at(&state, tcp("10.0.0.1", 1080));
    assert_eq!(shared.flags, ENDPOINT_SHARED);
    let vip = at(&state, Place::address([10, 0, 0, 1].into()));
    assert_eq!(
        (vip.listener, vip.redirect),
        (shared.listener, shared.redirect)
    );
    assert_eq!(
        vip.flags & (ENDPOINT_SHARED | ENDPOINT_ROUTE),
        ENDPOINT_SHARED
    );
    assert_eq!(at(&state, tcp("10.0.1.1", 1080)).flags, ENDPOINT_SHARED);
}

#[test]
fn a_listener_that_moves_gets_another_number_and_one_that_stays_keeps_it() {
    let text = |listen: &str| format!("[redirect.r]\nlisten = [{listen}]\n{FORWARD}");
    let mut relay = relay_of(&text("\"10.0.0.1:1080\", \"10.0.0.2:1080\""));
    let number = |relay: &Relay, vip| at(&relay.desired(), tcp(vip, 1080)).listener;
    let (first, second) = (number(&relay, "10.0.0.1"), number(&relay, "10.0.0.2"));
    reload(
        &mut relay,
        config_of(&text("\"10.0.0.3:1080\", \"10.0.0.2:1080\"")),
    );
    assert_eq!(number(&relay, "10.0.0.2"), second);
    let third = number(&relay, "10.0.0.3");
    assert_ne!(third, first, "flows of the old one may still be recorded");
    // A round that finds no flow of it, late enough, lets it be used again.
    relay.round(&[], 1000);
    reload(
        &mut relay,
        config_of(&text("\"10.0.0.4:1080\", \"10.0.0.2:1080\"")),
    );
    assert_eq!(number(&relay, "10.0.0.4"), first);
}

#[test]
fn a_redirect_that_is_split_in_two_gives_its_table_to_one_of_them() {
    let mut relay = relay_of(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\", \"10.0.0.2:1080\"]\nforward-to = { pool = \"a\", port = 1080 }",
    );
    reload(
        &mut relay,
        config_of(&format!(
            "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n{FORWARD}\n\
             [redirect.s]\nlisten = [\"10.0.0.2:1080\"]\n{FORWARD}"
        )),
    );
    let names: Vec<&str> = relay
        .redirects()
        .values()
        .map(|state| state.name.as_str())
        .collect();
    assert_eq!(names, ["r", "s"]);
}
