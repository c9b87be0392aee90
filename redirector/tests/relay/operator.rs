//! What the operator's words do to slots, backends and recorded flows.

use redirector::{
    engine::{Kind, Operator, OperatorState, Said, Subject, find},
    names::{FlowName, With},
};
use redirector_common::abi::{BACKEND_DEAD, FLOW_FIN_CLIENT, FLOW_FIN_NODE, Flow};

use super::*;

const REDIRECT: Redirect<'_> = ("r", "10.0.0.1:1080", "main", 1080);
const POOLS: &[(&str, &[&str])] = &[("main", TWO), ("spare", &["10.0.2.1"])];

pub(super) fn say(relay: &mut Relay, kind: Kind, name: &str, state: OperatorState) {
    let subject = find(relay.config(), kind, name).expect("a name");
    let mut operator = relay.operator().clone();
    operator.say(Said {
        subject,
        state,
        at: 0,
        until: None,
    });
    relay.operate(operator, 0);
}

fn id_of(relay: &Relay, address: &str) -> u16 {
    let socket = format!("{address}:1080").parse().expect("a socket");
    relay.backends().id_of(socket).expect("a backend")
}

fn is_dead(relay: &Relay, address: &str) -> bool {
    let entry = relay.backends().get(id_of(relay, address)).expect("one");
    entry.backend.flags & BACKEND_DEAD != 0
}

#[test]
fn a_draining_node_gets_no_new_connections_and_keeps_those_that_it_has() {
    let mut relay = relay(config(POOLS, &[REDIRECT]));
    let node = id_of(&relay, "10.0.1.1");
    let before = slots(&relay, "r");
    say(&mut relay, Kind::Node, "10.0.1.1", OperatorState::Draining);
    for (before, after) in before.iter().zip(slots(&relay, "r")) {
        assert_ne!(after.now, node);
        assert_eq!(
            after.unrecorded(),
            before.now,
            "established connections stay"
        );
        assert_eq!(after.is_split(), before.now == node);
    }
    assert!(!is_dead(&relay, "10.0.1.1"));
    say(&mut relay, Kind::Node, "10.0.1.1", OperatorState::Enabled);
    let back = slots(&relay, "r");
    assert!(before.iter().zip(&back).all(|(a, b)| a.now == b.now));
}

#[test]
fn a_disabled_node_is_dead_to_its_connections_though_its_check_succeeds() {
    let mut relay = relay(config(POOLS, &[REDIRECT]));
    say(&mut relay, Kind::Node, "10.0.1.1", OperatorState::Disabled);
    assert!(is_dead(&relay, "10.0.1.1"));
    assert!(!is_dead(&relay, "10.0.1.2"));
    say(&mut relay, Kind::Node, "10.0.1.1", OperatorState::Enabled);
    assert!(!is_dead(&relay, "10.0.1.1"));
}

#[test]
fn a_draining_pool_is_replaced_by_its_backup() {
    let text = "interfaces = [\"eth0\"]\n[pool.main]\nnodes = [\"10.0.1.1\"]\n\
                [pool.spare]\nnodes = [\"10.0.2.1\"]\n\
                [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nbackup = \"spare\"\n\
                forward-to = { pool = \"main\", port = 1080 }\n";
    let mut relay = relay(Config::parse("test", text).expect("a configuration"));
    say(&mut relay, Kind::Pool, "main", OperatorState::Draining);
    let state = relay.redirects().values().next().expect("a redirect");
    assert!(state.using_backup);
    let spare = id_of(&relay, "10.0.2.1");
    assert!(slots(&relay, "r").iter().all(|slot| slot.now == spare));
    say(&mut relay, Kind::Pool, "spare", OperatorState::Draining);
    let state = relay.redirects().values().next().expect("a redirect");
    assert!(state.book.table().slots.iter().all(|slot| slot.now == 0));
}

#[test]
fn a_disabled_redirect_has_no_slots_and_its_flows_are_forgotten_but_not_those_of_another() {
    let other: Redirect<'_> = ("s", "10.0.0.2:1080", "main", 1080);
    let mut relay = relay(config(POOLS, &[REDIRECT, other]));
    let node = id_of(&relay, "10.0.1.1");
    let flow_of = |relay: &Relay, vip: &str| {
        let listener = relay.desired().endpoints[&tcp(vip, 1080)].listener;
        let name = FlowName {
            client: ([198, 51, 100, 1], 40_000).into(),
            with: With::Listener(listener),
        };
        let flow = Flow {
            backend: node,
            flags: 0,
            seen: 100,
        };
        (name, flow)
    };
    let flows = [flow_of(&relay, "10.0.0.1"), flow_of(&relay, "10.0.0.2")];
    assert_eq!(relay.round(&flows, 110), [], "shared nodes: all are kept");
    let before = slots(&relay, "s");
    say(&mut relay, Kind::Redirect, "r", OperatorState::Disabled);
    assert!(slots(&relay, "r").iter().all(|s| *s == Slot::default()));
    assert!(slots(&relay, "s") == before);
    assert!(!is_dead(&relay, "10.0.1.1"), "the other redirect uses it");
    assert_eq!(relay.round(&flows, 110), [flows[0]]);
    say(&mut relay, Kind::Redirect, "r", OperatorState::Enabled);
    assert!(slots(&relay, "r") == before, "settled, as at the beginning");
}

#[test]
fn what_was_said_outlives_a_reload_unless_what_it_was_about_is_gone() {
    let mut relay = relay(config(POOLS, &[REDIRECT]));
    say(&mut relay, Kind::Node, "10.0.1.1", OperatorState::Draining);
    say(&mut relay, Kind::Pool, "spare", OperatorState::Disabled);
    let node = id_of(&relay, "10.0.1.1");
    let fewer = config(&[("main", TWO)], &[REDIRECT]);
    let gone = relay.operator().strangers_to(&fewer);
    assert_eq!(gone.len(), 1, "{gone:?}");
    reload(&mut relay, fewer);
    assert!(slots(&relay, "r").iter().all(|slot| slot.now != node));
    let left: Vec<String> = relay
        .operator()
        .iter()
        .map(|s| s.subject.to_string())
        .collect();
    assert_eq!(left, ["node main/10.0.1.1"]);
}

#[test]
fn an_agent_that_is_told_what_was_said_never_gives_the_node_a_slot() {
    let said = Said {
        subject: Subject::Node {
            pool: "main".to_owned(),
            node: "10.0.1.1".to_owned(),
        },
        state: OperatorState::Draining,
        at: 0,
        until: None,
    };
    let found = Found {
        operator: std::iter::once(said).collect::<Operator>(),
        ..Found::default()
    };
    let config = config(POOLS, &[REDIRECT]);
    let mut relay = Relay::new(config, KEY, found, 0, Instant::now()).expect("a relay");
    reach(&mut relay);
    for node in nodes(&relay) {
        check(&mut relay, &node, true);
        relay.release(0);
        let id = id_of(&relay, "10.0.1.1");
        assert!(slots(&relay, "r").iter().all(|slot| slot.now != id));
    }
}

#[test]
fn live_connections_are_counted_where_they_live_and_closed_or_silent_ones_are_not() {
    let mut relay = relay(config(POOLS, &[REDIRECT]));
    say(&mut relay, Kind::Node, "10.0.1.1", OperatorState::Draining);
    let node = id_of(&relay, "10.0.1.1");
    let listener = relay.redirects()[&0].listeners[0].id;
    let flow = |client: u8, backend: u16, flags: u16, seen: u32| {
        let name = FlowName {
            client: ([198, 51, 100, client], 40_000).into(),
            with: With::Listener(listener),
        };
        let flow = Flow {
            backend,
            flags,
            seen,
        };
        (name, flow)
    };
    let flows = [
        flow(1, node, 0, 100),
        flow(2, node, FLOW_FIN_CLIENT, 50),
        flow(3, node, FLOW_FIN_CLIENT | FLOW_FIN_NODE, 100),
        flow(4, node + 1, 0, 100),
    ];
    let subject = find(relay.config(), Kind::Node, "10.0.1.1").expect("a node");
    let live = |silent| {
        let live = relay.live(&flows, silent, 110);
        let ways = relay.ways_of(&subject).into_iter();
        let mine: Vec<_> = ways.filter_map(|way| live.get(&way).copied()).collect();
        assert!(mine.len() <= 1, "{mine:?}");
        mine.first().map(|live| (live.connections, live.idle))
    };
    assert_eq!(live(None), Some((2, 10)));
    assert_eq!(live(Some(59)), Some((1, 10)));
    assert_eq!(live(Some(9)), None);
}
