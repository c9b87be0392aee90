mod any_text;
mod checks;
mod delivery;
mod names;
mod sources;

use std::net::IpAddr;
use std::time::Duration;

use super::*;

const EXAMPLE: &str = include_str!("../../examples/socksbalance.toml");

/// A valid configuration with everything in it, for tests that vary one thing.
const VALID: &str = r#"interfaces = ["eth0", "eth1"]
xdp-mode = "native"
hash-key = "00112233445566778899aabbccddeeff"
[health]
interval = "2s"
timeout = "200ms"
rise = 2
fall = 3
[flows]
max = 1000
[pool.main]
nodes = ["10.0.1.2", { address = "10.0.1.3", weight = 2, name = "p2" }]
check = { type = "tcp" }
health = { interval = "10s" }
[pool.standby]
nodes = ["10.0.1.9"]
[redirect.one]
listen = ["10.0.0.1:1080"]
forward-to = { pool = "main", port = 1080 }
backup = "standby"
on-down = "keep"
[redirect.two]
listen = ["10.0.0.1:1081"]
forward-to = { pool = "main", port = 1081 }
"#;

fn problems(text: &str) -> Problems {
    Config::parse("test.toml", text).expect_err("the configuration is wrong")
}

/// Replaces one thing in [`VALID`] and expects exactly one problem, on the line of the replacement.
#[track_caller]
fn one_problem(from: &str, to: &str) -> Problem {
    assert_eq!(
        VALID.matches(from).count(),
        1,
        "{from:?} is not in VALID once"
    );
    let problems = problems(&VALID.replace(from, to));
    assert_eq!(problems.len(), 1, "{problems}");
    problems.iter().next().unwrap().clone()
}

#[track_caller]
fn assert_problem(from: &str, to: &str, message: &str, help: &str) {
    let problem = one_problem(from, to);
    assert!(
        problem.message.contains(message),
        "{from:?} -> {to:?}: {}",
        problem.message
    );
    let found = problem.help.unwrap_or_default();
    assert!(found.contains(help), "{from:?} -> {to:?}: {found}");
}

#[test]
fn the_shipped_example_means_what_its_comments_say() {
    let config = Config::parse("example", EXAMPLE).unwrap();
    assert_eq!(config.interfaces, ["eth0", "eth1"]);
    assert_eq!(config.xdp_mode, XdpMode::Auto);
    assert_eq!(config.hash_key, None);
    assert_eq!(config.flows, Flows::default());
    let nodes: Vec<_> = config.pools[0]
        .nodes
        .iter()
        .map(|n| (n.name.as_str(), n.addresses, n.weight))
        .collect();
    assert_eq!(
        nodes,
        [
            ("10.0.1.2", IpAddr::from([10, 0, 1, 2]).into(), 1),
            ("p2", IpAddr::from([10, 0, 1, 3]).into(), 2)
        ]
    );
    assert_eq!(config.pools[0].timing, Timing::default());
    let redirect = &config.redirects[0];
    let listen: std::net::SocketAddr = "10.0.0.1:1080".parse().unwrap();
    assert_eq!(redirect.listen, [listen.into()]);
    assert_eq!(
        (redirect.pool, redirect.port, redirect.backup),
        (0, Some(1080), None)
    );
    assert_eq!(
        (redirect.on_down, redirect.direct_tcp),
        (OnDown::Auto, DirectTcp::Drop)
    );
}

#[test]
fn every_setting_arrives() {
    let config = Config::parse("valid", VALID).unwrap();
    assert_eq!(config.xdp_mode, XdpMode::Native);
    assert_eq!(
        config.hash_key,
        Some([0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff])
    );
    assert_eq!(
        config.flows,
        Flows {
            max: 1000,
            ..Flows::default()
        }
    );
    let timing = Timing {
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(200),
        rise: 2,
        fall: 3,
        ..Timing::default()
    };
    assert_eq!(config.pools[1].timing, timing);
    assert_eq!(
        config.pools[0].timing,
        Timing {
            interval: Duration::from_secs(10),
            ..timing
        }
    );
    assert_eq!(config.redirects[0].backup, Some(1));
    assert_eq!(config.redirects[0].on_down, OnDown::Keep);
    assert_eq!(config.redirects[1].name, "two");
}

#[test]
fn pools_and_redirects_keep_the_order_of_the_file() {
    let text = VALID
        .replace("pool.main", "pool.zebra")
        .replace("\"main\"", "\"zebra\"");
    let config = Config::parse("valid", &text).unwrap();
    assert_eq!(config.pools[0].name, "zebra");
    assert_eq!(config.pools[1].name, "standby");
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let report = problems(
        r#"interfaces = ["eth0", "eth0"]
xdp-mod = "auto"
[health]
interval = 5
rise = 0
[pool.main]
nodes = ["10.0.1.2:1080", { address = "10.0.1.3", wieght = 2 }]
[redirect.one]
listen = ["10.0.0.1:1089-1080"]
forward-to = { pool = "mian", port = 70000, mode = "source-hash" }
"#,
    );
    let expected = r#"test.toml:1:23: interface "eth0" is listed twice
  |
1 | interfaces = ["eth0", "eth0"]
  |                       ^^^^^^
  = a one-armed relay needs it only once

test.toml:2:1: unknown key `xdp-mod` in the file
  |
2 | xdp-mod = "auto"
  | ^^^^^^^
  = did you mean `xdp-mode`?

test.toml:4:12: `interval` must be a string such as "5s"; this is a whole number
  |
4 | interval = 5
  |            ^

test.toml:5:8: `rise` cannot be 0
  |
5 | rise = 0
  |        ^
  = it can be 1 to 1000

test.toml:7:10: "10.0.1.2:1080" has a port
  |
7 | nodes = ["10.0.1.2:1080", { address = "10.0.1.3", wieght = 2 }]
  |          ^^^^^^^^^^^^^^^
  = write "10.0.1.2"; the port is the one of the redirect's forward-to

test.toml:7:51: unknown key `wieght` in a node
  |
7 | nodes = ["10.0.1.2:1080", { address = "10.0.1.3", wieght = 2 }]
  |                                                   ^^^^^^
  = did you mean `weight`?

test.toml:9:11: the ports 1089-1080 are in the wrong order
  |
9 | listen = ["10.0.0.1:1089-1080"]
  |           ^^^^^^^^^^^^^^^^^^^^
  = write 1080-1089

test.toml:10:23: there is no pool `mian`
   |
10 | forward-to = { pool = "mian", port = 70000, mode = "source-hash" }
   |                       ^^^^^^
   = did you mean `main`?

test.toml:10:38: `port` cannot be 70000
   |
10 | forward-to = { pool = "mian", port = 70000, mode = "source-hash" }
   |                                      ^^^^^
   = a port is 1 to 65535

test.toml: 9 problems"#;
    assert_eq!(report.to_string(), expected);
}

#[test]
fn all_syntax_errors_are_reported_at_once() {
    let report = problems("interfaces = [\"eth0\"\nxdp-mode = \n[health\ninterval = \"5s\"\n");
    assert!(report.len() >= 2, "{report}");
    let report = problems("a = 1\na = 2\n");
    assert_eq!(
        report.iter().next().map(|p| (p.line, p.column)),
        Some((2, 1))
    );
}

#[test]
fn an_empty_file_lacks_what_every_relay_needs() {
    let report = problems("").to_string();
    assert!(report.contains("`interfaces` is missing"), "{report}");
    assert!(report.contains("`redirect` is missing"), "{report}");
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn wrong_single_values_are_reported_where_they_stand() {
    for (from, to, message, help) in [
        (
            "[\"eth0\", \"eth1\"]",
            "[]",
            "`interfaces` is empty",
            "at least one",
        ),
        (
            "\"eth1\"",
            "\"a name too long\"",
            "cannot be the name of an interface",
            "ip link",
        ),
        ("\"eth1\"", "7", "must be a list of strings", ""),
        (
            "\"native\"",
            "\"navite\"",
            "cannot be \"navite\"",
            "did you mean \"native\"?",
        ),
        (
            "\"native\"",
            "\"fast\"",
            "cannot be \"fast\"",
            "\"auto\", \"native\", \"generic\"",
        ),
        (
            "00112233445566778899aabbccddeeff",
            "short",
            "too short",
            "openssl",
        ),
        ("\"2s\"", "\"2\"", "has no unit", "\"2s\""),
        ("\"2s\"", "\"two\"", "no duration", "such as"),
        ("\"2s\"", "\"2ms\"", "out of range", "20ms"),
        (
            "\"200ms\"",
            "\"3s\"",
            "longer than the interval",
            "raise interval",
        ),
        ("rise = 2", "rise = 0", "cannot be 0", "1 to"),
        ("fall = 3", "fall = -1", "cannot be -1", "1 to"),
        ("fall = 3", "fall = 99999999999999999999", "too large", ""),
        ("max = 1000", "max = 0", "cannot be 0", "1 to"),
        (
            "max = 1000",
            "session-timeout = \"500ms\"",
            "out of range",
            "1s",
        ),
        (
            "weight = 2",
            "weight = 0",
            "`weight` cannot be 0",
            "1 to 1000",
        ),
        (
            "weight = 2",
            "weight = 1001",
            "`weight` cannot be 1001",
            "1 to 1000",
        ),
        (
            "weight = 2",
            "weight = 1.5",
            "this is a number with a point",
            "",
        ),
        ("\"p2\"", "\"p 2\"", "cannot be a name", "letters"),
        ("pool.standby", "pool.\"\"", "cannot be a name", "letters"),
        ("[\"10.0.1.9\"]", "[]", "has no nodes", "at least one"),
        ("[\"10.0.1.9\"]", "[7]", "must be addresses", ""),
        (
            "\"10.0.1.9\"",
            "\"10.0.1\"",
            "is no address",
            "four numbers",
        ),
        (
            "\"10.0.1.9\"",
            "\"dante.example:1080\"",
            "has a port",
            "write \"dante.example\"",
        ),
        ("\"10.0.1.9\"", "\"127.0.0.1\"", "loopback", "one host"),
        ("\"10.0.1.9\"", "\"224.0.0.1\"", "multicast", ""),
        ("\"10.0.1.9\"", "\"0.0.0.0\"", "names no host", ""),
        (
            "\"10.0.0.1:1081\"",
            "\"10.0.0.1:0\"",
            "no valid port",
            "1 to 65535",
        ),
        (
            "\"10.0.0.1:1081\"",
            "\"10.0.0.1:99999\"",
            "no valid port",
            "1 to 65535",
        ),
        (
            "[\"10.0.0.1:1081\"]",
            "\"10.0.0.1:1081\"",
            "must be a list",
            "",
        ),
        ("[\"10.0.0.1:1081\"]", "[]", "listens nowhere", ""),
        ("port = 1081", "port = 0", "cannot be 0", "1 to 65535"),
        (
            "\"main\", port = 1081",
            "\"other\", port = 1081",
            "no pool `other`",
            "main, standby",
        ),
        ("\"keep\"", "\"kepp\"", "cannot be \"kepp\"", "\"keep\""),
    ] {
        let text = VALID.replace(from, to);
        let text = if from == "[\"10.0.1.9\"]" || from == "pool.standby" {
            text.replace("backup = \"standby\"\n", "")
        } else {
            text
        };
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{from:?} -> {to:?}: {problems}");
        let problem = problems.iter().next().unwrap();
        assert!(
            problem.message.contains(message),
            "{from:?} -> {to:?}: {problems}"
        );
        assert!(
            problem.help.clone().unwrap_or_default().contains(help),
            "{problems}"
        );
        let line = text.lines().nth(problem.line - 1).unwrap();
        assert!(
            line.contains(to),
            "{from:?} -> {to:?} is reported at {line:?}"
        );
    }
}

#[test]
fn values_that_clash_are_reported() {
    for (from, to, message, help) in [
        (
            "\"10.0.1.3\", weight",
            "\"10.0.1.2\", weight",
            "in pool `main` twice",
            "weight",
        ),
        (
            "name = \"p2\"",
            "name = \"10.0.1.2\"",
            "two nodes named",
            "another name",
        ),
        (
            "10.0.0.1:1081",
            "10.0.0.1:1080",
            "taken by redirect `one`",
            "another",
        ),
        (
            "10.0.0.1:1081",
            "10.0.1.9:1081",
            "the address of node `10.0.1.9`",
            "relay's own",
        ),
        (
            "port = 1081",
            "port = 1080",
            "with different `on-down`",
            "another port",
        ),
        (
            "\"10.0.1.9\"",
            "\"10.0.1.3\"",
            "share node 10.0.1.3",
            "other hosts",
        ),
        (
            "backup = \"standby\"",
            "backup = \"main\"",
            "is the main pool",
            "another pool",
        ),
        (
            "backup = \"standby\"",
            "backup = \"stanbdy\"",
            "no pool",
            "did you mean `standby`?",
        ),
    ] {
        assert_problem(from, to, message, help);
    }
}

#[test]
fn redirects_may_share_nodes_on_different_ports_and_addresses_on_different_ports() {
    Config::parse("valid", VALID).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load("/nonexistent/redirector.toml")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nonexistent/redirector.toml: No such file"),
        "{error}"
    );
    let error = Config::load("/").unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
    let error = Config::load("/dev/zero").unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
}
