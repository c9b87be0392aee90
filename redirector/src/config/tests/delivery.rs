//! Listeners, and how their packets come to the nodes.

use super::*;
use crate::family::Family;

/// A valid configuration of both families; `redirect` is the body of its redirect.
fn with(redirect: &str) -> String {
    format!(
        "interfaces = [\"eth0\"]\n[pool.main]\nnodes = [\"10.0.1.2\", \"2001:db8::2\"]\n\
         [pool.checked]\nnodes = [\"10.0.1.3\", \"2001:db8::3\"]\ncheck = {{ type = \"tcp\", port = 1081 }}\n\
         [pool.old]\nnodes = [\"10.0.1.4\"]\n[pool.new]\nnodes = [\"2001:db8::4\"]\n\
         [redirect.one]\n{redirect}\n"
    )
}

#[track_caller]
fn valid(redirect: &str) -> Config {
    Config::parse("valid", &with(redirect)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The redirect of a valid configuration.
#[track_caller]
fn only(redirect: &str) -> Redirect {
    valid(redirect).redirects.swap_remove(0)
}

/// Expects exactly one problem, at `at` in the redirect's last line that has it.
#[track_caller]
fn assert_wrong(redirect: &str, at: &str, message: &str, help: &str) {
    let text = with(redirect);
    let problems = problems(&text);
    assert_eq!(problems.len(), 1, "{redirect}: {problems}");
    let problem = problems.iter().next().unwrap();
    assert!(problem.message.contains(message), "{redirect}: {problems}");
    let found = problem.help.clone().unwrap_or_default();
    assert!(found.contains(help), "{redirect}: {problems}");
    let line = text.lines().nth(problem.line - 1).unwrap();
    assert!(
        line[problem.column - 1..].starts_with(at),
        "{redirect}: {problems}"
    );
}

const RANDOM: &str = "forward-to = { pool = \"main\", mode = \"random\" }";
const FORWARD: &str = "forward-to = { pool = \"main\", port = 1080 }";
const KEEP: &str = "forward-to = { pool = \"checked\" }";

#[test]
fn listeners_are_sockets_ranges_and_whole_addresses_of_both_families() {
    let config = valid(&format!(
        "listen = [\"10.0.0.1:1080\", \"10.0.0.2:1080-1089\", \"[2001:db8::1]:1080\"]\n{FORWARD}"
    ));
    let listen = &config.redirects[0].listen;
    let shown: Vec<_> = listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["10.0.0.1:1080", "10.0.0.2:1080-1089", "[2001:db8::1]:1080"]
    );
    assert_eq!(listen[1].ports().len(), 10);
    let families: Vec<_> = config.redirects[0].families().collect();
    assert_eq!(families, Family::BOTH);
    for address in ["10.0.0.1", "2001:db8::1"] {
        let config = valid(&format!("listen = [\"{address}\"]\n{KEEP}"));
        let listen = config.redirects[0].listen[0];
        assert!(listen.is_every_port());
        assert_eq!(listen.to_string(), address);
        assert_eq!(listen.ports().collect::<Vec<_>>(), [0]);
    }
}

#[test]
fn a_port_is_translated_where_one_is_given_and_kept_otherwise() {
    let redirect = |listen: &str, target: &str| {
        let config = valid(&format!("listen = [{listen}]\n{target}"));
        let redirect = &config.redirects[0];
        let node = &config.pools[0].nodes[0];
        let checked = redirect.checked_socket(node, node.addresses.iter().next().unwrap());
        let checked = config.pools[redirect.pool].checks[0].address(checked);
        (redirect.port, checked.port())
    };
    let range = "\"10.0.0.1:1080-1089\"";
    assert_eq!(redirect(range, FORWARD), (Some(1080), 1080));
    assert_eq!(
        redirect(range, "forward-to = { pool = \"main\" }"),
        (None, 1080)
    );
    assert_eq!(redirect(range, KEEP), (None, 1081));
    let every = "\"10.0.0.1\"";
    assert_eq!(redirect(every, KEEP), (None, 1081));
    // The only port there is may as well be called translated.
    let two = "\"10.0.0.1:2080\", \"10.0.0.2:2080\"";
    assert_eq!(
        redirect(two, "forward-to = { pool = \"main\" }"),
        (Some(2080), 2080)
    );
    let mixed = "\"10.0.0.1:2080\", \"10.0.0.2:2081\"";
    assert_eq!(
        redirect(mixed, "forward-to = { pool = \"main\" }"),
        (None, 2080)
    );
    let route = "route-to = { pool = \"main\", port = 1085 }";
    assert_eq!(redirect(two, route), (None, 1085));
    assert_eq!(
        redirect(two, "route-to = { pool = \"main\" }"),
        (None, 2080)
    );
    assert_eq!(redirect(every, route), (None, 1085));
}

#[test]
fn every_other_setting_of_a_redirect_arrives() {
    let config = valid(&format!(
        "listen = [\"10.0.0.1:1080\"]\n{FORWARD}\nprotocol = \"both\"\nudp-associate = \"shared\"\n\
         direct-tcp = \"allow\""
    ));
    let redirect = &config.redirects[0];
    assert_eq!(redirect.protocol, Protocol::Both);
    assert_eq!(redirect.protocol.numbers(), [6, 17]);
    assert_eq!(redirect.udp_associate, UdpAssociate::Shared);
    assert_eq!(redirect.direct_tcp, DirectTcp::Allow);
    assert_eq!(redirect.delivery, Delivery::Translate);
    let config =
        valid("listen = [\"10.0.0.1:1080\"]\nroute-to = { pool = \"main\" }\nprotocol = \"udp\"");
    let redirect = &config.redirects[0];
    assert_eq!(redirect.protocol.numbers(), [17]);
    assert_eq!(redirect.delivery, Delivery::Route);
    assert_eq!(redirect.udp_associate, UdpAssociate::Direct);
    assert_eq!(redirect.direct_tcp, DirectTcp::Drop);
    let text = VALID.replace("max = 1000", "udp-timeout = \"5m\"");
    let config = Config::parse("valid", &text).unwrap();
    assert_eq!(config.flows.udp_timeout, Duration::from_secs(300));
    assert_eq!(Flows::default().udp_timeout, Duration::from_secs(60));
}

#[test]
fn wrong_listeners_are_reported_where_they_stand() {
    for (listen, message, help) in [
        ("10.0.0.1:0-9", "no valid port", "1080-1089"),
        ("10.0.0.1:9-70000", "no valid port", "1 to 65535"),
        ("10.0.0.1:", "no valid port", "1 to 65535"),
        ("2001:db8::1:70000", "is no address", "brackets"),
        ("[2001:db8::1]:0", "no valid port", "1 to 65535"),
        ("[2001:db8::1", "is no address", "brackets"),
        ("[10.0.0.1", "is no address", "four numbers"),
        ("fe80::1", "link-local", "one host"),
        ("[ff02::1]:1080", "multicast", "one host"),
        ("[::1]:1080", "loopback", "one host"),
        ("::", "names no host", "one host"),
        (
            "::ffff:10.0.0.1",
            "IPv4 address in IPv6 clothes",
            "one host",
        ),
        ("socks.example:1080", "is no address", "only nodes"),
    ] {
        let redirect = format!("listen = [\"{listen}\"]\n{KEEP}");
        assert_wrong(&redirect, &format!("\"{listen}\""), message, help);
    }
}

#[test]
fn a_family_without_nodes_is_reported_at_its_first_listener() {
    let listen = "listen = [\"10.0.0.1:1080\", \"[2001:db8::1]:1080\"]\n";
    let to = |pool: &str| format!("{listen}forward-to = {{ pool = \"{pool}\", port = 1080 }}");
    assert_wrong(&to("old"), "\"[2001:db8::1]", "no IPv6 node", "add one");
    assert_wrong(&to("new"), "\"10.0.0.1", "no IPv4 node", "add one");
    let backup = format!("{listen}{FORWARD}\nbackup = \"old\"");
    assert_wrong(&backup, "\"old\"", "`old` has no IPv6 node", "add one");
    valid(&format!(
        "listen = [\"10.0.0.1:1080\"]\n{FORWARD}\nbackup = \"old\""
    ));
}

#[test]
fn what_does_not_go_together_in_one_redirect_is_reported() {
    let listen = "listen = [\"10.0.0.1:1080\"]\n";
    for (redirect, at, message, help) in [
        (
            format!("listen = [\"10.0.0.1\"]\n{FORWARD}"),
            "1080",
            "every port cannot be translated to one",
            "leave `port` out",
        ),
        (
            "listen = [\"10.0.0.1\"]\nforward-to = { pool = \"main\" }".to_owned(),
            "\"main\"",
            "which port of the nodes",
            "in the pool",
        ),
        (
            "listen = [\"10.0.0.1\"]\nroute-to = { pool = \"main\" }".to_owned(),
            "\"main\"",
            "which port of the nodes",
            "route-to",
        ),
        (
            format!("{listen}{FORWARD}\nroute-to = {{ pool = \"main\" }}"),
            "route-to",
            "either `forward-to` or `route-to`",
            "as they are",
        ),
        (
            format!("{listen}route-to = {{ pool = \"main\" }}\ndirect-tcp = \"drop\""),
            "\"drop\"",
            "does not go with `route-to`",
            "at the nodes",
        ),
        (
            format!("{listen}{FORWARD}\nprotocol = \"udp\"\nudp-associate = \"shared\""),
            "\"shared\"",
            "begin with TCP",
            "both",
        ),
        (
            format!("{listen}route-to = {{ pool = \"main\", mode = \"round-robin\" }}"),
            "\"round-robin\"",
            "does not go with `route-to`",
            "source-hash",
        ),
        (
            format!("{listen}{RANDOM}\ntrack = \"auto\""),
            "\"auto\"",
            "has every connection recorded",
            "leave `track` out",
        ),
        (
            format!("{listen}{RANDOM}\nsticky = 24"),
            "24",
            "does not go with mode `random`",
            "source-hash",
        ),
        (
            format!("{listen}{FORWARD}\nsticky = 33"),
            "33",
            "`sticky` cannot be 33",
            "1 to 32",
        ),
        (
            format!("listen = [\"10.0.0.1:1080\", \"[2001:db8::1]:1080\"]\n{FORWARD}\nsticky = 24"),
            "24",
            "for which family",
            "ipv6 = 56",
        ),
        (
            listen.to_owned(),
            "one]",
            "`forward-to` is missing",
            "forward-to = {",
        ),
        (
            format!("{listen}route-to = 7"),
            "7",
            "`route-to` must be a table",
            "",
        ),
        (
            format!("listen = [\"10.0.0.1:1-9000\"]\n{FORWARD}"),
            "\"main\"",
            "more than 8191 listeners",
            "many ports",
        ),
        (
            format!("listen = [\"10.0.0.1:1080-1089\", \"10.0.0.1:1085\"]\n{FORWARD}"),
            "\"10.0.0.1:1085",
            "listens on 10.0.0.1:1085 twice",
            "another",
        ),
    ] {
        assert_wrong(&redirect, at, message, help);
    }
}

#[test]
fn two_redirects_share_what_they_treat_alike() {
    let two = |one: &str, two: &str| with(&format!("{one}\n[redirect.two]\n{two}"));
    let at = |address: &str| format!("listen = [\"{address}\"]\n");
    let forward = |listen: &str, more: &str| format!("{}{FORWARD}\n{more}", at(listen));
    for (first, second) in [
        (forward("10.0.0.1:1080", ""), forward("10.0.0.2:1080", "")),
        (
            forward("10.0.0.1:1080", "protocol = \"tcp\""),
            forward("10.0.0.1:1080", "protocol = \"udp\""),
        ),
        (
            forward("10.0.0.1:1080", "direct-tcp = \"allow\""),
            format!("{}route-to = {{ pool = \"main\" }}", at("10.0.0.1:1081")),
        ),
        (
            format!("{}{KEEP}", at("10.0.0.1")),
            format!("{}{KEEP}", at("10.0.0.1:1080-1081")),
        ),
        (
            forward("10.0.0.1:1080", "udp-associate = \"shared\""),
            forward("10.0.0.1:1081", "udp-associate = \"shared\""),
        ),
    ] {
        let text = two(&first, &second);
        Config::parse("valid", &text).unwrap_or_else(|problems| panic!("{problems}"));
    }
    for (first, second, message) in [
        (
            forward("10.0.0.1:1080", ""),
            forward("10.0.0.2:1080", "direct-tcp = \"allow\""),
            "with different `direct-tcp`",
        ),
        (
            forward("10.0.0.1:1080", ""),
            forward("10.0.0.2:1080", "on-down = \"keep\""),
            "with different `on-down`",
        ),
        (
            forward("10.0.0.1:1080", ""),
            format!(
                "{}forward-to = {{ pool = \"main\" }}",
                at("10.0.0.2:1080-1081")
            ),
            "one of them keeps ports",
        ),
        (
            forward("10.0.0.1:1080", ""),
            forward("10.0.0.1:1080", "protocol = \"both\""),
            "taken by redirect `one`",
        ),
        (
            forward("10.0.0.1:1080", "udp-associate = \"shared\""),
            format!(
                "{}route-to = {{ pool = \"main\" }}\nudp-associate = \"shared\"",
                at("10.0.0.1:1081")
            ),
            "the associations of 10.0.0.1 are redirect `one`'s already",
        ),
    ] {
        let problems = problems(&two(&first, &second));
        assert_eq!(problems.len(), 1, "{problems}");
        let problem = problems.iter().next().unwrap();
        assert!(problem.message.contains(message), "{problems}");
        let second_begins = two(&first, "").lines().count();
        assert!(problem.line >= second_begins, "{problems}");
    }
}

#[test]
fn every_mode_but_source_hash_has_every_connection_recorded() {
    for (mode, meant, tracks) in [
        ("source-hash", Mode::SourceHash, false),
        ("random", Mode::Random, true),
        ("round-robin", Mode::RoundRobin, true),
        ("least-states", Mode::LeastStates, true),
    ] {
        let forward = format!("forward-to = {{ pool = \"main\", mode = \"{mode}\" }}");
        let one = only(&format!("listen = [\"10.0.0.1:1080\"]\n{forward}"));
        assert_eq!((one.mode, one.tracks_all()), (meant, tracks));
    }
    let text = format!("listen = [\"10.0.0.1:1080\"]\n{FORWARD}\ntrack = \"all\"");
    assert!(only(&text).tracks_all());
}

#[test]
fn a_sticky_length_leaves_the_last_bits_of_its_family_out() {
    let both = "listen = [\"10.0.0.1:1080\", \"[2001:db8::1]:1080\"]";
    let text = format!("{both}\n{FORWARD}\nsticky = {{ ipv4 = 24, ipv6 = 56 }}");
    let sticky = only(&text).sticky;
    assert_eq!(sticky.ignored(Family::V4), [0xff, 0]);
    assert_eq!(sticky.ignored(Family::V6), [0xff, u64::MAX]);
    let sticky = only(&format!("{both}\n{FORWARD}\nsticky = {{ ipv6 = 96 }}")).sticky;
    assert_eq!(sticky.ignored(Family::V4), [0, 0]);
    assert_eq!(sticky.ignored(Family::V6), [0, 0xffff_ffff]);
    let sticky = only(&format!(
        "listen = [\"10.0.0.1:1080\"]\n{FORWARD}\nsticky = 16"
    ))
    .sticky;
    assert_eq!(sticky.ignored(Family::V4), [0xffff, 0]);
}

/// Redirects to one pool of IPv4 nodes, each on a port of its own and to the nodes' port that `port` says.
fn large(nodes: usize, redirects: usize, port: impl Fn(usize) -> usize) -> String {
    let addresses: Vec<String> = (0..nodes)
        .map(|node| format!("10.1.{}.{}", node / 250, 1 + node % 250))
        .collect();
    let redirects: String = (0..redirects)
        .map(|number| {
            let (listened, port) = (2000 + number, port(number));
            format!(
                "[redirect.r{number}]\nlisten = [\"10.0.0.1:{listened}\"]\n\
                 forward-to = {{ pool = \"main\", port = {port} }}\n"
            )
        })
        .collect();
    format!("interfaces = [\"eth0\"]\n[pool.main]\nnodes = {addresses:?}\n{redirects}")
}

#[test]
fn redirects_that_reach_the_same_sockets_take_up_the_room_of_one() {
    for (nodes, redirects) in [(256, 64), (4000, 64), (256, 256)] {
        let config = Config::parse("valid", &large(nodes, redirects, |_| 1080));
        assert_eq!(config.unwrap().redirects.len(), redirects);
    }
    let problems = problems(&large(256, 64, |number| 1080 + number));
    let messages: Vec<_> = problems.iter().map(|problem| &problem.message).collect();
    assert_eq!(
        messages,
        ["with redirect `r15` the relay has more than 4095 nodes to reach"]
    );
}
