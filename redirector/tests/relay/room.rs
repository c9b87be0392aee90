//! What the data path has no room for is refused before anything has changed.

use std::fmt::Write as _;

use super::*;

/// A hundred ports, which nodes keep, and as many nodes of this network.
fn hundred(network: u8) -> Config {
    let mut text = "interfaces = [\"eth0\"]\n[pool.main]\nnodes = [".to_owned();
    for node in 1..=100 {
        write!(text, "\"10.0.{network}.{node}\", ").expect("strings take all");
    }
    text.push_str(
        "]\n[redirect.main]\nlisten = [\"192.0.2.1:2000-2099\"]\nforward-to = { pool = \"main\" }\n",
    );
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

#[test]
fn nodes_are_not_replaced_while_there_is_no_room_for_the_old_ones_beside_them() {
    let mut relay = relay(hundred(1));
    let before = relay.desired();
    let error = relay
        .reconfigure(hundred(2), 0, Instant::now())
        .expect_err("twice ten thousand sockets");
    assert!(matches!(error, RelayError::TooManyEndpoints(_)), "{error}");
    assert_eq!(relay.desired(), before);
}

#[test]
fn nodes_are_replaced_where_there_is_room_for_both() {
    let nodes = |network: u8| format!("10.0.{network}.1");
    let with = |node: &str| {
        config(
            &[("main", &[node])],
            &[("main", "192.0.2.1:1080", "main", 1080)],
        )
    };
    let mut relay = relay(with(&nodes(1)));
    reload(&mut relay, with(&nodes(2)));
    assert_eq!(relay.backends().iter().count(), 2);
}
