//! How nodes are checked.

use super::*;

/// The checks of pool `main` where `check = { type = "tcp" }` of [`VALID`] reads like this.
fn checks(written: &str) -> Vec<Check> {
    let text = VALID.replace("check = { type = \"tcp\" }", written);
    let config = Config::parse("valid", &text).unwrap_or_else(|problems| panic!("{problems}"));
    config.pools[0].checks.to_vec()
}

fn kind(written: &str) -> CheckKind {
    checks(written).remove(0).kind
}

#[track_caller]
fn wrong(written: &str, message: &str, help: &str) {
    assert_problem("check = { type = \"tcp\" }", written, message, help);
}

fn canary(to: &str, steps: Vec<Step>) -> Canary {
    Canary {
        to: Destination::Socket(to.parse().unwrap()),
        steps,
    }
}

#[test]
fn without_a_word_the_port_is_connected_to() {
    for written in ["", "check = \"tcp\"", "checks = [\"tcp\"]"] {
        assert_eq!(checks(written), [Check::default()], "{written}");
    }
}

#[test]
fn a_socks_check_may_have_a_login_a_canary_and_an_association() {
    assert_eq!(
        kind("check = \"socks5\""),
        CheckKind::Socks5(Socks5::default())
    );
    let written = "check = { type = \"socks5\", connect = \"192.0.2.80:80\", username = \"monitor\", \
                   password-file = \"/etc/secret\", send = \"hello\", expect = \"hi*\" }";
    let step = Step {
        send: b"hello".to_vec(),
        expect: Some(Expect::Text(crate::health::glob::Glob::new("hi*"))),
    };
    assert_eq!(
        kind(written),
        CheckKind::Socks5(Socks5 {
            login: Some(Login {
                username: "monitor".to_owned(),
                password_file: "/etc/secret".into(),
            }),
            connect: Some(canary("192.0.2.80:80", vec![step])),
            associate: None,
        })
    );
    assert_eq!(
        kind(
            "check = { type = \"socks5\", udp-associate = true, udp-canary = \"192.0.2.80:7\", \
              udp-send-hex = \"00 ff\" }"
        ),
        CheckKind::Socks5(Socks5 {
            associate: Some(Associate {
                canary: Some(DatagramCanary {
                    to: Destination::Socket("192.0.2.80:7".parse().unwrap()),
                    send: Some(vec![0, 0xff]),
                    expect: None,
                }),
            }),
            ..Socks5::default()
        })
    );
    assert_eq!(
        kind("check = { type = \"socks4\", connect = \"192.0.2.80:80\" }"),
        CheckKind::Socks4(Socks4 {
            username: String::new(),
            connect: canary("192.0.2.80:80", Vec::new()),
        })
    );
}

#[test]
fn several_checks_have_their_own_ports_and_times() {
    let checks = checks(
        "checks = [\"tcp\", { type = \"send\", port = 25, timeout = \"2s\", slow = \"300ms\", \
         steps = [{ expect = \"220 *\" }, { send = \"QUIT\\r\\n\" }] }]",
    );
    assert_eq!(checks[0], Check::default());
    let Check {
        kind,
        port,
        timeout,
        slow,
    } = &checks[1];
    assert_eq!(*port, Some(25));
    assert_eq!(*timeout, Some(Duration::from_secs(2)));
    assert_eq!(*slow, Some(Duration::from_millis(300)));
    let CheckKind::Exchange(steps) = kind else {
        panic!("{kind:?}");
    };
    assert_eq!(steps.len(), 2);
    assert_eq!((steps[0].send.len(), steps[1].expect.is_some()), (0, false));
}

#[test]
fn hosts_and_other_services_are_checked_too() {
    assert_eq!(kind("check = \"icmp\""), CheckKind::Icmp);
    let tls = |verify| Tls {
        verify,
        server_name: None,
        ca_file: None,
    };
    assert_eq!(kind("check = \"tls\""), CheckKind::Tls(tls(true)));
    let CheckKind::Tls(named) = kind(
        "check = { type = \"tls\", server-name = \"a.example.net\", ca-file = \"/etc/ca.pem\" }",
    ) else {
        panic!("no tls");
    };
    assert_eq!(named.server_name.as_deref(), Some("a.example.net"));
    assert_eq!(named.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(kind("check = \"http\""), CheckKind::Http(Page::default()));
    let written = "check = { type = \"https\", verify = false, path = \"/x\", host = \"h\", code = [200, 204] }";
    assert_eq!(
        kind(written),
        CheckKind::Http(Page {
            tls: Some(tls(false)),
            method: Method::Head,
            path: "/x".to_owned(),
            host: Some("h".to_owned()),
            codes: vec![200..=200, 204..=204],
            digest: None,
        })
    );
    let digits = "ab".repeat(20);
    let CheckKind::Http(page) = kind(&format!(
        "check = {{ type = \"http\", digest = \"{digits}\" }}"
    )) else {
        panic!("no http");
    };
    assert_eq!(page.method, Method::Get);
    assert_eq!(page.digest, Some(Digest::Sha1([0xab; 20])));
    assert_eq!(
        kind(
            "check = { type = \"script\", command = [\"/bin/x\", \"{address}\"], user = \"daemon\", \
             up-when = \"positive\" }"
        ),
        CheckKind::Script(Script {
            command: vec!["/bin/x".to_owned(), "{address}".to_owned()],
            user: Some("daemon".to_owned()),
            up_when: UpWhen::Positive,
        })
    );
}

#[test]
fn nodes_have_settings_of_their_own() {
    let from = "{ address = \"10.0.1.3\", weight = 2, name = \"p2\" }";
    let to = "{ address = \"10.0.1.3\", name = \"p2\", check-port = 1085, check-ttl = 3, \
              health = { timeout = \"1s\", fast-interval = \"2s\", jitter = 10 } }, \
              { address = \"10.0.1.4\", parent = \"p2\" }, { address = \"10.0.1.5\", parent = \"standby/10.0.1.9\" }";
    let config = Config::parse("valid", &VALID.replace(from, to)).unwrap();
    let nodes = &config.pools[0].nodes;
    assert_eq!(
        (nodes[1].check_port, nodes[1].check_ttl),
        (Some(1085), Some(3))
    );
    let timing = nodes[1].timing.unwrap();
    assert_eq!(
        timing,
        Timing {
            timeout: Duration::from_secs(1),
            fast_interval: Some(Duration::from_secs(2)),
            jitter: 10,
            ..config.pools[0].timing
        }
    );
    let parents = [nodes[0].parent, nodes[2].parent, nodes[3].parent];
    let parent = |pool, node| Some(Parent { pool, node });
    assert_eq!(parents, [None, parent(0, 1), parent(1, 0)]);
    for (written, message, help) in [
        ("parent = \"p3\"", "no node `p3`", "did you mean `p2`"),
        ("parent = \"stand/x\"", "no pool `stand`", ""),
        ("parent = \"standby/x\"", "no node `x`", "POOL/NODE"),
        ("parent = \"p2\"", "has a parent itself", "name the node"),
        ("check-port = 0", "`check-port` cannot be 0", "1 to 65535"),
        ("check-ttl = 256", "`check-ttl` cannot be 256", "1 to 255"),
        (
            "health = { jitter = 51 }",
            "`jitter` cannot be 51",
            "0 to 50",
        ),
        (
            "health = { fast-interval = \"11s\" }",
            "longer than the interval",
            "lower it",
        ),
        ("health = { intervall = \"1s\" }", "unknown key", "interval"),
    ] {
        let with = format!("{{ address = \"10.0.1.3\", name = \"p2\", {written} }}");
        assert_problem(from, &with, message, help);
    }
}

#[test]
fn a_node_in_doubt_is_checked_more_often() {
    let timing = |interval, timeout, fast| Timing {
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
        fast_interval: Option::map(fast, Duration::from_millis),
        ..Timing::default()
    };
    for (timing, fast) in [
        (timing(5000, 200, None), 1000),
        (timing(5000, 2000, None), 2000),
        (timing(5000, 200, Some(50)), 50),
        (timing(5000, 200, Some(9000)), 5000),
    ] {
        assert_eq!(timing.pace(true).as_millis(), fast);
        assert_eq!(timing.pace(false), timing.interval);
    }
}

#[test]
fn mistakes_in_checks_are_found_where_they_are() {
    for (written, message, help) in [
        ("check = \"sox5\"", "cannot be \"sox5\"", "socks5"),
        ("check = 7", "must be a string", ""),
        ("check = { port = 1 }", "`type` is missing", "tcp"),
        ("checks = []", "0 entries", "1 to 16"),
        (
            "check = \"tcp\"\nchecks = [\"tcp\"]",
            "either `check` or `checks`",
            "all of them",
        ),
        (
            "check = { type = \"tcp\", connect = \"x\" }",
            "unknown key `connect`",
            "known here",
        ),
        (
            "check = \"send\"",
            "sends nothing and expects nothing",
            "type = \"send\"",
        ),
        ("check = \"socks4\"", "`connect` is missing", "socks4"),
        (
            "check = { type = \"socks4\", connect = \"[2001:db8::1]:80\" }",
            "SOCKS 4 has no IPv6",
            "socks5",
        ),
        (
            "check = { type = \"socks5\", connect = \"192.0.2.80\" }",
            "no address with a port",
            "192.0.2.80:80",
        ),
        (
            "check = { type = \"socks5\", username = \"me\" }",
            "needs `password-file`",
            "username =",
        ),
        (
            "check = { type = \"socks5\", password-file = \"/x\" }",
            "needs `username`",
            "username =",
        ),
        (
            "check = { type = \"socks5\", username = \"me\", password-file = \"x\" }",
            "no absolute path",
            "begin it with /",
        ),
        (
            "check = { type = \"socks5\", expect = \"x\" }",
            "nobody is connected to",
            "connect =",
        ),
        (
            "check = { type = \"socks5\", udp-canary = \"192.0.2.80:7\" }",
            "does nothing without an association",
            "udp-associate = true",
        ),
        (
            "check = { type = \"socks5\", udp-associate = true, udp-send = \"x\" }",
            "nobody to speak with",
            "udp-canary",
        ),
        (
            "check = { type = \"socks5\", udp-associate = \"yes\" }",
            "true or false",
            "",
        ),
        (
            "check = { type = \"send\", send-hex = \"0g\" }",
            "not hexadecimal",
            "two digits",
        ),
        (
            "check = { type = \"send\", send = \"a\", send-hex = \"00\" }",
            "twice",
            "keep one",
        ),
        (
            "check = { type = \"send\", expect = \"\" }",
            "is empty",
            "leave it out",
        ),
        (
            "check = { type = \"send\", steps = [{}] }",
            "a step sends nothing",
            "`send`",
        ),
        (
            "check = { type = \"send\", send = \"x\", steps = [{ send = \"y\" }] }",
            "either `steps` or one turn",
            "every turn",
        ),
        (
            "check = { type = \"tcp\", slow = \"3\" }",
            "no duration",
            "3s",
        ),
    ] {
        wrong(written, message, help);
    }
}

#[test]
fn every_port_needs_a_check_that_knows_its_own() {
    let with = |check: &str| {
        let text = format!(
            "interfaces = [\"eth0\"]\n[pool.main]\nnodes = [\"10.0.1.2\"]\n{check}\n\
             [redirect.all]\nlisten = [\"10.0.0.1\"]\nforward-to = {{ pool = \"main\" }}\n"
        );
        Config::parse("valid", &text).map_err(|problems| problems.to_string())
    };
    let report = with("checks = [{ type = \"tcp\", port = 1080 }, \"socks5\"]").unwrap_err();
    assert!(report.contains("which port"), "{report}");
    with("checks = [{ type = \"tcp\", port = 1080 }]").unwrap();
}
