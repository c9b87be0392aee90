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
