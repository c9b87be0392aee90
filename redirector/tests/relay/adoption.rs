//! An agent that goes on from what another has left.

use redirector_common::abi::SlotTable;

use super::*;

/// What an agent finds when `relay` has written everything and died; `flows` are recorded.
fn found(relay: &Relay, flows: &[(u16, u16)]) -> Found {
    let state = relay.desired();
    let tables = state.tables.keys().map(|index| {
        let mut table: Box<SlotTable> = bytemuck::zeroed_box();
        *table = *relay.table(*index).expect("a table");
        (*index, table)
    });
    Found {
        tables: tables.collect(),
        endpoints: state.endpoints,
        listeners: state.listeners,
        backends: state.backends,
        flows: flows.iter().copied().collect(),
        operator: relay.operator().clone(),
    }
}

fn adopt(config: Config, found: Found) -> Relay {
    let mut relay = Relay::new(config, [7, 7], found, 0, Instant::now()).expect("a relay");
    reach(&mut relay);
    relay
}

const EVERYTHING: &str = r#"
[pool.c]
nodes = ["10.0.3.1"]
check = { type = "tcp", port = 1080 }
[redirect.one]
listen = ["10.0.0.1:1080-1082", "[2001:db8::1]:1080"]
protocol = "both"
udp-associate = "shared"
direct-tcp = "allow"
forward-to = { pool = "a", port = 1080 }
[redirect.two]
listen = ["10.0.0.2"]
route-to = { pool = "b", port = 1080 }
[redirect.three]
listen = ["10.0.0.3", "10.0.0.3:7"]
forward-to = { pool = "c" }
"#;

#[test]
fn the_same_configuration_adopts_everything_and_writes_nothing() {
    let first = relay_of(EVERYTHING);
    let left = found(&first, &[]);
    let held = State {
        endpoints: left.endpoints.clone(),
        listeners: left.listeners.clone(),
        backends: left.backends.clone(),
        tables: first.desired().tables,
    };
    let second = adopt(config_of(EVERYTHING), left);
    assert_eq!(plan(&held, &second.desired()), []);
    assert_eq!(second.key(), KEY);
    for (index, state) in first.redirects() {
        let adopted = &second.redirects()[index];
        assert_eq!((&adopted.name, adopted.family), (&state.name, state.family));
        assert_eq!(adopted.listeners, state.listeners);
    }
}

#[test]
fn what_is_configured_no_more_is_not_adopted() {
    let first = relay_of(
        "[redirect.r]\nlisten = [\"10.0.0.1:1080\", \"[2001:db8::1]:1080\"]\n\
         forward-to = { pool = \"a\", port = 1080 }",
    );
    let left = found(&first, &[]);
    let second = adopt(
        config_of(
            "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"a\", port = 1080 }",
        ),
        left,
    );
    assert_eq!(second.redirects().len(), 1);
    let state = second.desired();
    assert!(state.endpoints.keys().all(|place| place.address.is_ipv4()));
    assert!(state.backends.len() == 2);
}

#[test]
fn a_backend_that_only_a_flow_names_is_adopted_with_its_listener() {
    let text = |pool: &str| {
        format!(
            "[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = {{ pool = \"{pool}\", port = 1080 }}"
        )
    };
    let first = relay_of(&text("a"));
    let node = first.desired().endpoints[&tcp("10.0.1.1", 1080)];
    let mut left = found(&first, &[(node.listener, node.backend)]);
    // Nothing else names it: no slot, and its endpoint has been lost.
    for slot in &mut left.tables.get_mut(&0).expect("a table").slots {
        *slot = Slot::default();
    }
    left.endpoints.remove(&tcp("10.0.1.1", 1080));
    let second = adopt(config_of(&text("b")), left);
    assert_eq!(second.desired().endpoints[&tcp("10.0.1.1", 1080)], node);
}

#[test]
fn a_number_that_flows_of_a_lost_listener_have_is_not_given_to_another() {
    let text = |vip: &str| {
        format!(
            "[redirect.r]\nlisten = [\"{vip}:1080\"]\nforward-to = {{ pool = \"a\", port = 1080 }}"
        )
    };
    let first = relay_of(&text("10.0.0.1"));
    let number = first.desired().endpoints[&tcp("10.0.0.1", 1080)].listener;
    let mut left = found(&first, &[(number, 1)]);
    left.endpoints.clear();
    left.listeners.clear();
    let second = adopt(config_of(&text("10.0.0.9")), left);
    assert_ne!(
        second.desired().endpoints[&tcp("10.0.0.9", 1080)].listener,
        number
    );
}
