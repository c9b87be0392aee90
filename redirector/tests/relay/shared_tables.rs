//! Redirects that have had the same changes hold one table between them, and it is the one that each would have alone.

use std::sync::Arc;

use proptest::prelude::*;
use redirector::{
    engine::{Kind, OperatorState},
    names::{FlowName, With},
};
use redirector_common::abi::Flow;

use super::{operator::say, *};

const NODES: &[&str] = &["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"];
const POOLS: &[(&str, &[&str])] = &[("main", NODES)];
const REDIRECTS: [Redirect<'_>; 3] = [
    ("one", "10.0.0.1:1080", "main", 1080),
    ("two", "10.0.0.1:1081", "main", 1080),
    ("three", "10.0.0.1:1082", "main", 1080),
];

fn are_shared(relay: &Relay, one: u16, other: u16) -> bool {
    let redirects = relay.redirects();
    Arc::ptr_eq(&redirects[&one].book, &redirects[&other].book)
}

#[test]
fn redirects_of_a_pool_hold_one_table_until_one_of_them_goes_its_own_way() {
    let mut relay = relay(config(POOLS, &REDIRECTS));
    check(&mut relay, "10.0.1.2", false);
    say(&mut relay, Kind::Node, "10.0.1.3", OperatorState::Draining);
    relay.round(&[], 1_000_000);
    assert!(are_shared(&relay, 0, 1) && are_shared(&relay, 0, 2));
    let before = slots(&relay, "one");
    say(&mut relay, Kind::Redirect, "two", OperatorState::Disabled);
    assert!(!are_shared(&relay, 0, 1) && are_shared(&relay, 0, 2));
    assert!(slots(&relay, "two").iter().all(|slot| slot.now == 0));
    assert_eq!(slots(&relay, "one"), before);
}

#[test]
fn another_port_of_the_nodes_or_another_mode_is_another_table() {
    let mut redirects = REDIRECTS;
    redirects[1].3 = 1090;
    let relay = relay(config(POOLS, &redirects));
    assert!(!are_shared(&relay, 0, 1) && are_shared(&relay, 0, 2));
}

/// What happens to relays.
#[derive(Clone, Copy, Debug)]
enum Event {
    Check {
        node: usize,
        up: bool,
    },
    Say {
        node: usize,
        state: OperatorState,
    },
    SayRedirect {
        redirect: usize,
        state: OperatorState,
    },
    Round {
        flow: Option<(usize, u8, u16)>,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let state = || {
        prop_oneof![
            Just(OperatorState::Enabled),
            Just(OperatorState::Draining),
            Just(OperatorState::Disabled),
        ]
    };
    let (nodes, redirects) = (0..NODES.len(), 0..REDIRECTS.len());
    prop_oneof![
        (nodes.clone(), any::<bool>()).prop_map(|(node, up)| Event::Check { node, up }),
        (nodes, state()).prop_map(|(node, state)| Event::Say { node, state }),
        (redirects.clone(), state())
            .prop_map(|(redirect, state)| Event::SayRedirect { redirect, state }),
        proptest::option::of((redirects, any::<u8>(), 1..=4_u16))
            .prop_map(|flow| Event::Round { flow }),
    ]
}

/// Lets an event happen to the relay of these redirects.
fn happen(relay: &mut Relay, event: Event, redirects: &[Redirect<'_>], epoch: u32) {
    let has = |name: &str| redirects.iter().any(|redirect| redirect.0 == name);
    match event {
        Event::Check { node, up } => check(relay, NODES[node], up),
        Event::Say { node, state } => say(relay, Kind::Node, NODES[node], state),
        Event::SayRedirect { redirect, state } => {
            let name = REDIRECTS[redirect].0;
            if has(name) {
                say(relay, Kind::Redirect, name, state);
            }
        }
        Event::Round { flow } => {
            let live = flow.and_then(|(redirect, client, backend)| {
                let name = REDIRECTS[redirect].0;
                let mut states = relay.redirects().values();
                let listener = states.find(|state| state.name == name)?.listeners[0].id;
                let name = FlowName {
                    client: ([198, 51, 100, client], 40_000).into(),
                    with: With::Listener(listener),
                };
                let flow = Flow {
                    backend,
                    flags: 0,
                    seen: epoch,
                };
                Some((name, flow))
            });
            relay.round(live.as_slice(), epoch);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_table_is_the_one_that_its_redirect_has_alone(
        events in proptest::collection::vec(event(), 1..20)
    ) {
        let mut together = relay(config(POOLS, &REDIRECTS));
        let mut alone = REDIRECTS.map(|redirect| relay(config(POOLS, &[redirect])));
        for (event, epoch) in events.into_iter().zip((0..).step_by(50_000)) {
            happen(&mut together, event, &REDIRECTS, epoch);
            for (relay, redirect) in alone.iter_mut().zip(REDIRECTS) {
                happen(relay, event, &[redirect], epoch);
                prop_assert!(
                    slots(&together, redirect.0) == slots(relay, redirect.0),
                    "{} differs after {event:?}", redirect.0
                );
            }
        }
    }
}
