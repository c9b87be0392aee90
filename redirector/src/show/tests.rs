pub(crate) use super::peer::tests::peer as a_peer;
use super::*;
use crate::control::status::{
    AnswersStatus, CheckStatus, CounterStatus, FORWARD_TO, FlowsStatus, InterfaceStatus,
    KernelBackend, NameStatus, NextHopStatus, NodeStatus, OperatorState, PoolStatus, ROUTE_TO,
    RecordedFlow, RedirectExplanation, RedirectState, RedirectStatus, SubjectStatus, Traffic,
};
use crate::engine::Subject;
use crate::health::Health;

fn node(id: u32, name: &str, health: Health) -> NodeStatus {
    NodeStatus {
        id,
        name: name.to_owned(),
        address: Some(format!("10.0.1.{id}:1080").parse().unwrap()),
        name_lookup: None,
        readiness: None,
        weight: id,
        priority: 100,
        parent: (id == 4).then(|| "socksservers/p2".to_owned()),
        health,
        operator: OperatorState::Enabled,
        since: 1_000_000,
        availability: (health != Health::Unknown).then_some(99.318),
        last_check: (health != Health::Unknown).then(|| CheckStatus {
            check: "tcp".to_owned(),
            cause: "ok".to_owned(),
            outcome: "tcp connect ok".to_owned(),
            took_us: 3200,
            at: 1_000_000,
        }),
        slots: 100 * id,
        live: 0,
        next_hop: (health == Health::Up).then(|| NextHopStatus {
            interface: "eth1".to_owned(),
            neighbour: [10, 0, 1, 2].into(),
            mac: "02:00:00:00:00:01".to_owned(),
        }),
        traffic: Traffic {
            forward_packets: 10,
            forward_bytes: 2048,
            reply_packets: 9,
            reply_bytes: 900,
            syns: 2,
            syn_acks: 1,
            resets: 0,
        },
        answers: Some(AnswersStatus {
            timed: 12,
            median_us: Some(524),
            p99_us: None,
        }),
    }
}

/// A relay with a node in each state.
pub(crate) fn status() -> Status {
    let pool = |name: &str, nodes| PoolStatus {
        name: name.to_owned(),
        port: Some(1080),
        operator: OperatorState::Enabled,
        nodes,
    };
    let counter = |name: &str, packets| CounterStatus {
        name: name.to_owned(),
        meaning: format!("Meaning of {name}."),
        packets,
    };
    let mut drained = node(4, "10.0.1.4", Health::Up);
    drained.operator = OperatorState::Draining;
    Status {
        version: "0.1.0".to_owned(),
        pid: 4711,
        started: 1_000_000 - 60,
        at: 1_012_000,
        generation: 3,
        interfaces: vec![InterfaceStatus {
            interface: "eth0".to_owned(),
            ifindex: 2,
            mode: "native".to_owned(),
        }],
        absent: Vec::new(),
        redirects: vec![RedirectStatus {
            id: 0,
            name: "socksbalance".to_owned(),
            family: "IPv4".to_owned(),
            delivery: FORWARD_TO.to_owned(),
            mode: "source-hash".to_owned(),
            tracks_all: false,
            sticky: 32,
            listen: vec!["10.0.0.1:1080".to_owned()],
            state: RedirectState::Active,
            operator: OperatorState::Enabled,
            associations: None,
            pool: pool(
                "socksservers",
                vec![
                    node(2, "10.0.1.2", Health::Up),
                    node(3, "p2", Health::Down),
                    drained,
                ],
            ),
            backup: Some(pool("standby", vec![node(9, "10.0.1.9", Health::Unknown)])),
            slots: 65536,
            split_slots: 12,
            generation: 5,
            digest: Some("00f1e2d3c4b5a697".to_owned()),
        }],
        counters: vec![counter("forward-settled", 12), counter("reply", 0)],
        sources: Vec::new(),
        flows: FlowsStatus {
            recorded: 7,
            max: 262_144,
        },
        peers: Vec::new(),
    }
}

#[test]
fn a_redirect_in_both_families_says_which_it_is_about() {
    let mut status = status();
    let twin = RedirectStatus {
        family: "IPv6".to_owned(),
        ..status.redirects[0].clone()
    };
    status.redirects.push(twin);
    let text = summary(&status);
    assert!(text.contains("socksbalance (IPv4) "), "{text}");
    assert!(text.contains("socksbalance (IPv6) "), "{text}");
}

#[test]
fn nodes_that_answer_past_the_relay_are_not_said_to_be_silent() {
    let mut status = status();
    assert!(nodes(&status).contains("900 B"));
    status.redirects[0].delivery = ROUTE_TO.to_owned();
    assert!(!nodes(&status).contains("900 B"));
}

#[test]
fn the_summary_looks_like_relayctl() {
    assert_eq!(
        summary(&status()),
        "\
Id  Type      Name               Avlblty  Status
0   redirect  socksbalance                active
0   pool      socksservers:1080           active (1 node)
2   node      10.0.1.2            99.32%  up
3   node      p2                  99.32%  down
4   node      10.0.1.4            99.32%  draining
0   pool      standby:1080                empty
9   node      10.0.1.9                 -  unknown
"
    );
}

#[test]
fn names_have_a_line_each_with_what_they_stand_for_since_when_and_what_is_wrong() {
    let mut status = status();
    let now = status.at;
    let lookup = |host: &str, at: Option<u64>, error: Option<&str>| NameStatus {
        host: host.to_owned(),
        at,
        error: error.map(str::to_owned),
    };
    let [first, second, third] = &mut status.redirects[0].pool.nodes[..] else {
        panic!("three nodes");
    };
    first.name_lookup = Some(lookup("dante-1.example.net", Some(now - 12), None));
    let error = "no name server answered within 2s";
    second.name_lookup = Some(lookup("dante-2", Some(now - 300), Some(error)));
    third.name_lookup = Some(lookup(
        "dante-3",
        None,
        Some("there is no such name (NXDOMAIN)"),
    ));
    third.address = None;
    let text = nodes(&status);
    assert!(
        text.contains("socksservers  10.0.1.4  unresolved "),
        "{text}"
    );
    let (_, names) = text.split_once("\n\n").unwrap();
    assert_eq!(
        names,
        "\
Host name            Addresses   Confirmed  Last error
dante-1.example.net  10.0.1.2      12s ago  -
dante-2              10.0.1.3       5m ago  no name server answered within 2s
dante-3              unresolved      never  there is no such name (NXDOMAIN)
"
    );
}

#[test]
fn nodes_have_a_line_each() {
    assert_eq!(
        nodes(&status()),
        "\
Id  Pool          Name      Address        Weight  Priority  Parent           Health   Operator     For  Avlblty  Slots  Live     Sent  Answered  SYN  SYN-ACK     Answers in  Next hop                               Last check
2   socksservers  10.0.1.2  10.0.1.2:1080       2       100  -                up       enabled   3h 20m   99.32%    200     0  2.0 KiB     900 B    2        1  524us, >537ms  10.0.1.2 at 02:00:00:00:00:01 on eth1  tcp (3ms, tcp connect ok)
3   socksservers  p2        10.0.1.3:1080       3       100  -                down     enabled   3h 20m   99.32%    300     0  2.0 KiB     900 B    2        1  524us, >537ms  unknown                                tcp (3ms, tcp connect ok)
4   socksservers  10.0.1.4  10.0.1.4:1080       4       100  socksservers/p2  up       draining  3h 20m   99.32%    400     0  2.0 KiB     900 B    2        1  524us, >537ms  10.0.1.2 at 02:00:00:00:00:01 on eth1  tcp (3ms, tcp connect ok)
9   standby       10.0.1.9  10.0.1.9:1080       9       100  -                unknown  enabled   3h 20m        -    900     0  2.0 KiB     900 B    2        1  524us, >537ms  unknown                                -
"
    );
}

#[test]
fn redirects_have_a_line_each_and_the_agent_one() {
    assert_eq!(
        redirects(&status()),
        "\
Id  Name          Listen         Pool               Backup   Mode         Status  Nodes  Split slots  Tables
0   socksbalance  10.0.0.1:1080  socksservers:1080  standby  source-hash  active    1/4     12/65536       5

agent 0.1.0 (pid 4711) running for 3h 21m, configuration 3, attached to eth0 (native), 7 of 262144 flows recorded
"
    );
}

#[test]
fn the_mode_of_a_redirect_is_told_with_what_is_unusual_about_it() {
    for (mode, sticky, tracks_all, told) in [
        ("source-hash", 32, false, "source-hash  active"),
        ("source-hash", 24, false, "source-hash/24  active"),
        ("source-hash", 32, true, "source-hash, track all  active"),
        ("round-robin", 32, true, "round-robin  active"),
    ] {
        let mut status = status();
        mode.clone_into(&mut status.redirects[0].mode);
        status.redirects[0].sticky = sticky;
        status.redirects[0].tracks_all = tracks_all;
        let text = redirects(&status);
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn counters_that_counted_nothing_are_shown_on_demand() {
    assert_eq!(
        counters(&status(), false),
        "\
Counter          Packets  Meaning
forward-settled       12  Meaning of forward-settled.
"
    );
    assert_eq!(counters(&status(), true).lines().count(), 3);
    let mut silent = status();
    silent.counters.remove(0);
    assert!(counters(&silent, false).starts_with("no packets counted yet"));
}

#[test]
fn an_explanation_says_where_and_why() {
    let mut redirect = RedirectExplanation {
        redirect: "socksbalance".to_owned(),
        slot: 77,
        mode: "source-hash".to_owned(),
        now: Some("p2".to_owned()),
        was: Some("10.0.1.2".to_owned()),
        split: true,
        kernel: Some(KernelBackend {
            id: 3,
            address: ([10, 0, 1, 3], 1080).into(),
            mac: "02:00:00:00:00:01".to_owned(),
            interface: "eth1".to_owned(),
            reachable: true,
            dead: false,
        }),
        agrees: false,
        recorded: vec![RecordedFlow {
            port: 40000,
            node: "p2".to_owned(),
            idle: 61,
        }],
        reason: "p2 has the highest score of the nodes that are up".to_owned(),
    };
    let explain = |redirect: &RedirectExplanation| {
        explanation(&Explanation {
            client: [192, 0, 2, 7].into(),
            redirects: vec![redirect.clone()],
        })
    };
    assert_eq!(
        explain(&redirect),
        "\
client 192.0.2.7, redirect socksbalance, slot 77: new connections go to p2
  why: p2 has the highest score of the nodes that are up
  in the kernel: backend 3, 10.0.1.3:1080 at 02:00:00:00:00:01 on eth1
  the kernel differs from what was computed; `redirector audit` says in what
  recorded: the connection from port 40000 lives on p2 (idle 1m 1s)
"
    );
    redirect.split = false;
    redirect.now = None;
    redirect.recorded.clear();
    let text = explain(&redirect);
    assert!(
        text.contains("go to no node") && !text.contains("split"),
        "{text}"
    );
}

#[test]
fn json_reads_back_as_the_same_status() {
    let status = status();
    let text = summary_json(&status).to_string();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    let nodes = nodes_json(&status);
    assert_eq!(nodes.as_array().map(Vec::len), Some(4));
    assert_eq!(nodes[3]["pool"], "standby");
    assert_eq!(nodes[1]["health"], "down");
    assert_eq!(redirects_json(&status)[0]["state"], "active");
    assert_eq!(counters_json(&status)[0]["packets"], 12);
}

#[test]
fn what_was_done_and_what_still_lives_is_said_in_a_line_each() {
    let one = SubjectStatus {
        subject: Subject::Node {
            pool: "socksservers".to_owned(),
            node: "p2".to_owned(),
        },
        state: OperatorState::Draining,
        before: OperatorState::Enabled,
        at: 1000,
        until: Some(1600),
        live: 1,
        idle: 3,
        associations: 2,
        note: None,
    };
    let pool = SubjectStatus {
        subject: Subject::Pool {
            pool: "standby".to_owned(),
        },
        state: OperatorState::Disabled,
        before: OperatorState::Disabled,
        until: None,
        live: 0,
        associations: 0,
        note: Some("mind the step".to_owned()),
        ..one.clone()
    };
    assert_eq!(
        operated(&[one.clone(), pool.clone()]),
        "\
node socksservers/p2: enabled -> draining; 1 live connection seen, the last packet 3s ago, 2 UDP associations; disabled in 10m
pool standby: disabled as before; mind the step
"
    );
    assert_eq!(
        draining(&[one, pool]),
        "\
node socksservers/p2: draining, 1 live connection seen, the last packet 3s ago, 2 UDP associations
pool standby: disabled, no live connection seen
"
    );
}
