//! The promise: a connection whose node still answers never moves, whatever happens to the others.
//!
//! Random histories of clients, nodes, attackers and the agent run over the very code that the kernel
//! runs. After every packet of an established connection the history checks that it reached the node
//! which the connection was made with. Mutants of the agent run the same histories and must break some.

mod history;
mod world;

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use crate::{
    history::{Event, history},
    world::{Agent, World},
};

/// Plays a history; gives the number of packets checked, or how a connection moved.
fn play(agent: Agent, history: &[Event]) -> Result<u64, String> {
    let mut world = World::new(agent);
    for (at, event) in history.iter().enumerate() {
        world
            .step(event)
            .map_err(|moved| format!("event {at}, {event:?}: {moved}"))?;
    }
    Ok(world.checked)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_whose_node_answers_never_moves(history in history()) {
        if let Err(moved) = play(Agent::Real, &history) {
            prop_assert!(false, "{}", moved);
        }
    }
}

/// How many of 300 fixed histories a faulty agent breaks, and how many packets they check.
fn broken_by(agent: Agent) -> (usize, u64) {
    let mut runner = TestRunner::deterministic();
    let mut broken = 0;
    let mut checked = 0;
    for _ in 0..300 {
        let history = history()
            .new_tree(&mut runner)
            .expect("a history")
            .current();
        match play(agent, &history) {
            Ok(packets) => checked += packets,
            Err(_) => broken += 1,
        }
    }
    (broken, checked)
}

#[test]
fn the_histories_of_the_mutants_are_kept_by_the_real_agent_and_check_many_packets() {
    let (broken, checked) = broken_by(Agent::Real);
    assert_eq!(broken, 0);
    assert!(checked > 3000, "only {checked} packets were checked");
}

#[test]
fn an_agent_that_always_uses_now_breaks_connections() {
    assert!(broken_by(Agent::AlwaysNow).0 > 30);
}

#[test]
fn an_agent_that_settles_at_once_breaks_connections() {
    assert!(broken_by(Agent::SettlesAtOnce).0 > 0);
}

#[test]
fn an_agent_that_settles_over_recorded_flows_breaks_connections() {
    assert!(broken_by(Agent::IgnoresFlows).0 > 0);
}
