//! What would move, and that it does when it is done.

use std::collections::BTreeMap;

use redirector::{
    engine::{Kind, Moves, Operator, OperatorState, Said, find},
    names::{FlowName, With},
};
use redirector_common::abi::Flow;

use super::*;

const REDIRECT: &str =
    "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"main\", port = 1080 }\n";

fn with_nodes(nodes: &str) -> Config {
    let text = format!("interfaces = [\"eth0\"]\n[pool.main]\nnodes = [{nodes}]\n{REDIRECT}");
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn saying(relay: &Relay, state: OperatorState) -> Operator {
    let mut operator = relay.operator().clone();
    operator.say(Said {
        subject: find(relay.config(), Kind::Node, "10.0.1.1").expect("a name"),
        state,
        at: 0,
        until: None,
    });
    operator
}

/// The slots that went elsewhere, as [`Moves::slots`] has them.
fn went(before: &[Slot], after: &[Slot]) -> BTreeMap<(u16, u16), u32> {
    let mut went = BTreeMap::new();
    for (before, after) in before.iter().zip(after) {
        if before.now != after.now {
            *went.entry((before.now, after.now)).or_default() += 1;
        }
    }
    went
}

fn only(mut moves: Vec<Moves>) -> Moves {
    assert_eq!(moves.len(), 1, "{moves:?}");
    moves.remove(0)
}

/// A connection that is recorded on the first node, and one on the second.
fn flows(relay: &Relay) -> Vec<(FlowName, Flow)> {
    let listener = relay.redirects()[&0].listeners[0].id;
    let nodes = ["10.0.1.1:1080", "10.0.1.2:1080"];
    let flow = |node: &str| {
        let backend = relay.backends().id_of(node.parse().expect("a socket"));
        let name = FlowName {
            client: "10.0.0.9:4000".parse().expect("a socket"),
            with: With::Listener(listener),
        };
        let flow = Flow {
            backend: backend.expect("a backend"),
            flags: 0,
            seen: 0,
        };
        (name, flow)
    };
    nodes.map(flow).to_vec()
}

#[test]
fn a_drain_moves_what_was_foreseen_and_foreseeing_moves_nothing() {
    let mut relay = relay(with_nodes("\"10.0.1.1\", \"10.0.1.2\", \"10.0.1.3\""));
    let flows = flows(&relay);
    let (before, revision, desired) = (slots(&relay, "r"), relay.revision(), relay.desired());
    let operator = saying(&relay, OperatorState::Draining);
    let foreseen = only(relay.moves_to(&relay.with_operator(operator.clone(), 0), &flows, 0));
    assert!(slots(&relay, "r") == before, "it was only thought of");
    assert_eq!((relay.revision(), relay.desired()), (revision, desired));
    assert!(relay.operator().is_empty());
    assert_eq!((foreseen.stay, foreseen.end), (2, 0));
    relay.operate(operator, 0);
    let after = slots(&relay, "r");
    assert!(!foreseen.slots.is_empty());
    assert_eq!(foreseen.slots, went(&before, &after));
    let now = only(relay.moves_to(&relay, &flows, 0));
    assert_eq!(now.before, foreseen.after);
    assert_ne!(foreseen.before, foreseen.after);
    assert!(now.slots.is_empty(), "nothing is left to move");
}

#[test]
fn disabling_ends_the_connections_of_the_node_and_no_other() {
    let relay = relay(with_nodes("\"10.0.1.1\", \"10.0.1.2\""));
    let then = relay.with_operator(saying(&relay, OperatorState::Disabled), 0);
    let moves = only(relay.moves_to(&then, &flows(&relay), 0));
    assert_eq!((moves.stay, moves.end), (1, 1));
}

#[test]
fn a_configuration_moves_what_was_foreseen_once_its_new_node_is_up() {
    let mut relay = relay(with_nodes("\"10.0.1.1\", \"10.0.1.2\""));
    let before = slots(&relay, "r");
    let config = with_nodes("\"10.0.1.2\", { address = \"10.0.1.3\", weight = 2 }");
    let then = relay
        .with_config(config.clone(), 0, Instant::now())
        .expect("a configuration");
    let foreseen = only(relay.moves_to(&then, &flows(&relay), 0));
    assert!(slots(&relay, "r") == before, "it was only thought of");
    assert_eq!(
        (foreseen.stay, foreseen.end),
        (2, 0),
        "a removed node keeps them"
    );
    reload(&mut relay, config);
    assert_ne!(
        went(&before, &slots(&relay, "r")),
        foreseen.slots,
        "it is not checked yet"
    );
    check(&mut relay, "10.0.1.3", true);
    assert_eq!(went(&before, &slots(&relay, "r")), foreseen.slots);
}

#[test]
fn a_redirect_that_goes_ends_what_it_had_and_a_new_one_has_no_table_yet() {
    let relay = relay(with_nodes("\"10.0.1.1\", \"10.0.1.2\""));
    let text = format!(
        "interfaces = [\"eth0\"]\n[pool.main]\nnodes = [\"10.0.1.1\", \"10.0.1.2\"]\n{}",
        REDIRECT
            .replace("redirect.r", "redirect.other")
            .replace("10.0.0.1", "10.0.0.5")
    );
    let config = Config::parse("test", &text).expect("right");
    let then = relay
        .with_config(config, 0, Instant::now())
        .expect("a configuration");
    let moves = relay.moves_to(&then, &flows(&relay), 0);
    assert_eq!(moves.len(), 2, "{moves:?}");
    assert_eq!((moves[0].redirect.as_str(), moves[0].end), ("r", 2));
    assert!(moves[0].after.is_none() && moves[0].before.is_some());
    assert_eq!(moves[1].redirect, "other");
    assert!(moves[1].before.is_none() && moves[1].after.is_some());
}

#[test]
fn what_a_reload_would_refuse_cannot_be_foreseen() {
    let relay = relay(with_nodes("\"10.0.1.1\""));
    let text = format!(
        "interfaces = [\"eth0\"]\nhash-key = \"another key than before\"\n[pool.main]\nnodes = [\"10.0.1.1\"]\n{REDIRECT}"
    );
    let config = Config::parse("test", &text).expect("right");
    let refused = relay.with_config(config, 0, Instant::now()).err();
    assert_eq!(refused, Some(RelayError::KeyChange));
}
