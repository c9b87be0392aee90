mod any_text;
mod corpus;
mod mistakes;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::*;
use crate::config::{CheckKind, Delivery, Expect, Mode, Protocol, Step};
use crate::health::glob::Glob;

/// Files and names that exist in a test only.
#[derive(Default)]
struct Imagined {
    files: HashMap<String, Vec<u8>>,
}

impl Imagined {
    fn with(files: &[(&str, &str)]) -> Self {
        let files = files.iter();
        Self {
            files: files
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
                .collect(),
        }
    }
}

impl Surroundings for Imagined {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(path.to_str().unwrap_or_default());
        let mut bytes = bytes.ok_or(io::ErrorKind::NotFound)?.clone();
        bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let number = match host {
            "www6.example.com" => return Ok(vec!["2001:db8::80".parse().unwrap()]),
            "www.example.com" => 80,
            "dns.example.com" => 53,
            "sorryhost.example.com" => 99,
            _ => match host
                .strip_prefix("front-www")
                .and_then(|rest| rest.get(..1)?.parse().ok())
            {
                Some(number) => number,
                None => return Err(io::Error::other("no such name")),
            },
        };
        Ok(vec![IpAddr::from([192, 0, 2, number])])
    }
}

fn import_text(text: &str) -> Result<String, ImportError> {
    import_files(&[("relayd.conf", text)])
}

fn import_files(files: &[(&str, &str)]) -> Result<String, ImportError> {
    let interfaces = ["eth0".to_owned(), "eth1".to_owned()];
    import(
        Path::new("relayd.conf"),
        &interfaces,
        &Imagined::with(files),
    )
}

#[track_caller]
fn imported(text: &str) -> (String, Config) {
    let toml = import_text(text).unwrap_or_else(|error| panic!("{error}"));
    let config = Config::parse("t", &toml).unwrap();
    (toml, config)
}

/// A redirect with these lines in it, after these lines.
fn with(before: &str, options: &str) -> String {
    format!(
        "{before}\ntable <t> {{ 10.0.1.2 10.0.1.3 }}\ntable <u> {{ 10.0.1.9 }}\nredirect r {{\n{options}\n}}\n"
    )
}

const LISTEN: &str = "listen on 10.0.0.1 port 1080";

#[test]
fn what_has_a_counterpart_means_the_same() {
    let (toml, config) = imported(include_str!("../../../tests/relayd/dante.conf"));
    assert_eq!(config.interfaces, ["eth0", "eth1"]);
    let [pool] = config.pools.as_slice() else {
        panic!("{toml}");
    };
    assert_eq!(pool.name, "socksservers");
    assert_eq!(
        pool.nodes
            .iter()
            .map(|node| node.addresses.to_string())
            .collect::<Vec<_>>(),
        ["10.0.1.2", "10.0.1.3"]
    );
    assert_eq!(pool.timing.interval.as_secs(), 5);
    assert_eq!(pool.timing.timeout.as_millis(), 200, "relayd's default");
    assert_eq!(
        (pool.timing.rise, pool.timing.fall),
        (1, 1),
        "relayd believes one result"
    );
    assert_eq!(pool.checks[0].name(), "tcp");
    let [redirect] = config.redirects.as_slice() else {
        panic!("{toml}");
    };
    assert_eq!(redirect.name, "socksbalance");
    assert_eq!(redirect.listen[0].to_string(), "10.0.0.1:1080");
    assert_eq!(redirect.protocol, Protocol::Tcp);
    assert_eq!(redirect.delivery, Delivery::Translate);
    assert_eq!(redirect.port, Some(1080));
    assert!(toml.contains("relayd.conf:15: `interface em0`"), "{toml}");
}

#[test]
fn defaults_are_those_of_relayd() {
    let (_, config) = imported(&with("", &format!("{LISTEN}\nforward to <t> check tcp")));
    assert_eq!(config.pools[0].timing.interval.as_secs(), 10);
    assert_eq!(config.pools[0].timing.timeout.as_millis(), 200);
    assert_eq!(
        config.redirects[0].port,
        Some(1080),
        "the first port that is listened on"
    );
}

#[test]
fn retry_is_the_number_of_failures_that_are_forgiven() {
    let text = "table <t> { 10.0.1.2 retry 2 10.0.1.3 retry 2 }\nredirect r { listen on 10.0.0.1 port 80\n\
                forward to <t> check tcp }";
    assert_eq!(imported(text).1.pools[0].timing.fall, 3);
    let (toml, _) = imported(&text.replace("10.0.1.3 retry 2", "10.0.1.3"));
    let node = "{ address = \"10.0.1.3\", health = { fall = 1 } }";
    assert!(toml.contains(node), "{toml}");
}

#[test]
fn timeouts_of_tables_are_those_above_them_unless_they_have_their_own() {
    let text = "timeout 300\ntable <t> { 10.0.1.2 }\ntimeout 400\ntable <u> { 10.0.1.3 }\n\
                redirect r { listen on 10.0.0.1 port 80\nforward to <t> check tcp }\n\
                redirect s { listen on 10.0.0.1 port 81\nforward to <u> check tcp }\n\
                redirect v { listen on 10.0.0.1 port 82\nforward to <u> timeout 500 check tcp interval 20 }";
    let (toml, config) = imported(text);
    let timings: Vec<_> = config
        .pools
        .iter()
        .map(|pool| {
            (
                pool.name.as_str(),
                pool.timing.timeout.as_millis(),
                pool.timing.interval.as_secs(),
            )
        })
        .collect();
    assert_eq!(
        timings,
        [("t", 300, 10), ("u", 400, 10), ("u-v", 500, 20)],
        "{toml}"
    );
}

#[test]
fn redirects_with_the_same_check_share_a_pool() {
    let text = with("", &format!("{LISTEN}\nforward to <t> check tcp"))
        + "redirect s { listen on 10.0.0.1 port 81\nforward to <t> check tcp }";
    assert_eq!(imported(&text).1.pools.len(), 1);
}

#[test]
fn the_second_table_is_the_backup() {
    let (_, config) = imported(&with(
        "",
        &format!("{LISTEN}\nforward to <t> check tcp\nforward to <u> check tcp"),
    ));
    let backup = config.redirects[0].backup.unwrap();
    assert_eq!(config.pools[backup].name, "u");
}

#[test]
fn what_cannot_be_a_backup_is_left_out_with_the_reason() {
    for (before, backup, reason) in [
        (
            "table <v> { 10.0.1.3 10.0.1.8 }",
            "forward to <v> check tcp",
            "10.0.1.3 is in the main table",
        ),
        (
            "table <v> disable { 10.0.1.8 }",
            "forward to <v> check tcp",
            "is off in relayd",
        ),
        (
            "table <v> { 127.0.0.1 }",
            "forward to <v> check tcp",
            "it has no nodes",
        ),
        (
            "table <v> { 2001:db8::9 }",
            "forward to <v> check tcp",
            "it has no IPv4 host",
        ),
        (
            "table <v> { 10.0.1.8 }",
            "route to <v> interface em0 check tcp",
            "either forwards or routes",
        ),
    ] {
        let (toml, config) = imported(&with(
            before,
            &format!("{LISTEN}\nforward to <t> check tcp\n{backup}"),
        ));
        assert_eq!(config.redirects[0].backup, None);
        assert!(
            toml.replace("\n#  ", "").contains(reason),
            "{reason}: {toml}"
        );
    }
}

#[test]
fn route_to_sends_packets_as_they_are() {
    let (toml, config) = imported(&with(
        "",
        &format!("{LISTEN}\nroute to <t> port 1081 interface em1 check tcp"),
    ));
    assert_eq!(config.redirects[0].delivery, Delivery::Route);
    assert_eq!(config.redirects[0].check_port, 1081);
    assert!(toml.contains("interface em1"), "{toml}");
}

#[test]
fn ranges_keep_their_ports_unless_the_target_has_one() {
    let range = "listen on 10.0.0.1 port 1080:1089\n";
    let (_, config) = imported(&with("", &format!("{range}forward to <t> check tcp")));
    assert_eq!(config.redirects[0].port, None);
    assert_eq!(
        config.redirects[0].listen[0].to_string(),
        "10.0.0.1:1080-1089"
    );
    let (_, config) = imported(&with(
        "",
        &format!("{range}forward to <t> port 1080 check tcp"),
    ));
    assert_eq!(config.redirects[0].port, Some(1080));
    let two = "listen on 10.0.0.1 port 8080\nlisten on 10.0.0.1 port 80\nforward to <t> check tcp";
    assert_eq!(
        imported(&with("", two)).1.redirects[0].port,
        Some(8080),
        "PF sends all of them to the first"
    );
}

#[test]
fn protocols_are_one_redirect_where_they_can_be() {
    let both = "listen on 10.0.0.1 tcp port 53\nlisten on 10.0.0.1 udp port 53\nforward to <t> port 53 check tcp";
    let (_, config) = imported(&with("", both));
    assert_eq!(config.redirects.len(), 1);
    assert_eq!(config.redirects[0].protocol, Protocol::Both);
    let (toml, config) = imported(&with("", &both.replace("udp port 53", "udp port 54")));
    let named: Vec<_> = config
        .redirects
        .iter()
        .map(|r| (r.name.as_str(), r.protocol))
        .collect();
    assert_eq!(
        named,
        [("r", Protocol::Tcp), ("r-udp", Protocol::Udp)],
        "{toml}"
    );
    let (toml, config) = imported(&with("", &both.replace("udp port", "sctp port")));
    assert_eq!(config.redirects[0].protocol, Protocol::Tcp);
    assert!(toml.contains("protocol sctp has no counterpart"), "{toml}");
}

#[test]
fn a_redirect_that_is_off_becomes_a_comment() {
    let on = "redirect s { listen on 10.0.0.1 port 81\nforward to <t> check tcp }";
    let text = with("", &format!("{LISTEN}\ndisable\nforward to <t> check tcp"));
    let (toml, config) = imported(&(text.clone() + on));
    assert_eq!(config.redirects.len(), 1);
    assert!(toml.contains("# [redirect.r]"), "{toml}");
    let error = import_text(&text).unwrap_err();
    assert!(matches!(error, ImportError::Nothing { .. }), "{error}");
    assert!(error.to_string().contains("`disable`"), "{error}");
}

#[test]
fn keys_are_taken_over_when_they_are_long_enough() {
    let text = |key: &str| {
        with(
            "",
            &format!("{LISTEN}\nforward to <t> mode source-hash {key} check tcp"),
        )
    };
    let key = |text: &str| imported(text).1.hash_key;
    let hex = key(&text("0x00112233445566778899aabbccddeeff"));
    assert_eq!(hex, Some([0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff]));
    assert!(key(&text("\"a text of some length\"")).is_some());
    assert_eq!(key(&text("short")), None);
    assert_eq!(key(&text("")), None);
}

#[test]
fn session_timeouts_become_the_longest() {
    let text = with(
        "",
        &format!("{LISTEN}\nsession timeout 600\nforward to <t> check tcp"),
    ) + "redirect s { listen on 10.0.0.1 port 81\nsession timeout 7200\nforward to <t> check tcp }";
    assert_eq!(imported(&text).1.flows.session_timeout.as_secs(), 7200);
    let without = with("", &format!("{LISTEN}\nforward to <t> check tcp"));
    let ours = crate::config::Flows::default().session_timeout;
    assert_eq!(imported(&without).1.flows.session_timeout, ours);
}

#[test]
fn names_are_looked_up_and_stay_names_of_nodes() {
    let text = "table <t> { front-www1.example.com }\nredirect r { listen on www.example.com port 80\n\
                listen on www6.example.com port 80\nforward to <t> check tcp }";
    let (toml, config) = imported(text);
    let node = &config.pools[0].nodes[0];
    assert_eq!(
        (node.name.as_str(), node.addresses.to_string().as_str()),
        ("front-www1.example.com", "192.0.2.1")
    );
    assert_eq!(config.redirects[0].listen.len(), 1);
    let flat = toml.replace("\n#  ", "");
    assert!(
        flat.contains("2001:db8::80 is left out: table <t> has no IPv6 host"),
        "{toml}"
    );
}

#[test]
fn files_are_included_where_relayd_allows_it() {
    let files = [
        (
            "relayd.conf",
            "include \"tables.conf\"\nredirect r {\ninclude \"/etc/options.conf\"\n}",
        ),
        (
            "tables.conf",
            "socks = \"1080\"\ntable <t> {\ninclude \"hosts.conf\"\n}",
        ),
        ("hosts.conf", "10.0.1.2\n10.0.1.3"),
        (
            "/etc/options.conf",
            "listen on 10.0.0.1 port $socks\nforward to <t> check tcp",
        ),
    ];
    let toml = import_files(&files).unwrap_or_else(|error| panic!("{error}"));
    let config = Config::parse("t", &toml).unwrap();
    assert_eq!(config.pools[0].nodes.len(), 2);
    assert!(toml.contains("# tables.conf:2"), "{toml}");
}

#[test]
fn every_other_statement_is_answered_with_a_comment() {
    let before = "log state changes\nlog host checks\nlog connection errors\nlog connection\nprefork 5\nsnmp trap\n\
                  snmp \"/x\"\nagentx context \"c\" path \"/x\"\nsocket \"/x\"\nanchor \"relayd/*\"\n\
                  rdr-anchor relayd/*\nrelay x { listen on 1.2.3.4 port 1 }\nrouter y { route 0.0.0.0/0\n}\n\
                  http protocol z { pass }\ndns protocol d { tcp { nodelay } }\nprotocol p { }";
    let (toml, _) = imported(&with(
        before,
        &format!("{LISTEN}\nforward to <t> check tcp"),
    ));
    for line in 1..=before.lines().count() {
        // `router y` is two lines.
        if line != 14 {
            assert!(
                toml.contains(&format!("# relayd.conf:{line}: ")),
                "{line}: {toml}"
            );
        }
    }
}

#[test]
fn without_interfaces_a_comment_asks_for_them() {
    let text = include_str!("../../../tests/relayd/dante.conf");
    let toml = import(
        Path::new("relayd.conf"),
        &[],
        &Imagined::with(&[("relayd.conf", text)]),
    )
    .unwrap();
    assert!(toml.contains("--interfaces"), "{toml}");
    assert!(toml.contains("It names em0."), "{toml}");
}

#[test]
fn what_one_relay_cannot_do_is_printed_with_the_problem() {
    let text = with("", &format!("{LISTEN}\nforward to <t> check tcp"))
        + "redirect s { listen on 10.0.0.1 port 1080\nforward to <u> check tcp }";
    let error = import_text(&text).unwrap_err();
    let ImportError::Unfit { toml, problems, .. } = &error else {
        panic!("{error}");
    };
    assert!(toml.contains("[redirect.s]"));
    assert!(
        problems.to_string().contains("taken by redirect `r`"),
        "{error}"
    );
}

#[test]
fn checks_are_translated() {
    let check = |text: &str| {
        let (toml, config) = imported(&with(
            "",
            &format!("{LISTEN}\nforward to <t> mode source-hash check {text}"),
        ));
        let [check] = config.pools[0].checks.as_ref() else {
            panic!("{toml}");
        };
        (check.kind.clone(), toml.contains("has no counterpart"))
    };
    assert_eq!(check("tcp"), (CheckKind::Tcp, false));
    let greeting = Step {
        send: vec![5, 1, 0],
        expect: Some(Expect::Bytes(vec![5, 0])),
    };
    assert_eq!(
        check("binary send \"050100\" expect \"0500\""),
        (CheckKind::Exchange(vec![greeting]), false)
    );
    let banner = Step {
        send: Vec::new(),
        expect: Some(Expect::Text(Glob::new("220 *\n"))),
    };
    assert_eq!(
        check(r#"send nothing expect "220 *\n""#),
        (CheckKind::Exchange(vec![banner]), false)
    );
}

#[test]
fn modes_are_translated_and_what_keeps_a_client_at_its_node_is_source_hash() {
    for (options, mode, remark) in [
        ("forward to <t> check tcp", Mode::RoundRobin, ""),
        (
            "forward to <t> mode roundrobin check tcp",
            Mode::RoundRobin,
            "",
        ),
        ("forward to <t> mode random check tcp", Mode::Random, ""),
        (
            "forward to <t> mode least-states check tcp",
            Mode::LeastStates,
            "",
        ),
        (
            "forward to <t> mode source-hash check tcp",
            Mode::SourceHash,
            "",
        ),
        (
            "sticky-address\nforward to <t> mode random check tcp",
            Mode::SourceHash,
            "keeps a client at its node, too",
        ),
        (
            "route to <t> mode least-states check tcp interface em0",
            Mode::Random,
            "no counterpart with route-to",
        ),
        (
            "route to <t> mode random check tcp interface em0",
            Mode::Random,
            "",
        ),
    ] {
        let (toml, config) = imported(&with("", &format!("{LISTEN}\n{options}")));
        assert_eq!(config.redirects[0].mode, mode, "{toml}");
        assert!(toml.contains(remark), "{toml}");
        let remarked = toml.contains("keeps a client") || toml.contains("no counterpart with");
        assert_eq!(remarked, !remark.is_empty(), "{toml}");
    }
}
