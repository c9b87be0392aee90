//! What is found of peers.

use std::time::Duration;

use super::*;
use crate::control::status::PeerCause;

fn peer(told: Option<Result<Heard, Silent>>) -> Peer {
    Peer {
        name: "b".to_owned(),
        address: "10.9.0.2:9180".parse().unwrap(),
        interval: Duration::from_secs(1),
        told,
    }
}

fn heard() -> Heard {
    Heard {
        age: Some(Duration::from_millis(800)),
        took: Duration::from_millis(3),
        ..Heard::default()
    }
}

fn found(told: Option<Result<Heard, Silent>>) -> Finding {
    let finding = only(|facts| facts.peers = vec![peer(told)]);
    assert_eq!(finding.of, "b");
    finding
}

#[test]
fn a_peer_that_is_heard_and_agrees_is_well() {
    for age in [Some(Duration::from_millis(800)), None] {
        let told = Some(Ok(Heard { age, ..heard() }));
        let findings = changed(|facts| facts.peers = vec![peer(told)]);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok));
        assert!(findings.iter().any(|finding| finding.check == "peer"));
    }
    assert_eq!(found(None).level, Level::Unknown);
}

#[test]
fn a_peer_that_is_not_heard_is_said_with_the_reason_and_what_to_do() {
    for (cause, words, at) in [
        (PeerCause::Away, "agent does not run", "at b (10.9.0.2)"),
        (PeerCause::Late, "too busy", "at b (10.9.0.2)"),
        (PeerCause::Token, "token-file", "here and there"),
        (PeerCause::Key, "same `hash-key`", "here and there"),
        (PeerCause::Unusable, "of this version", "at b (10.9.0.2)"),
    ] {
        let silent = |heard| {
            let why = "the reason".to_owned();
            Some(Err(Silent { cause, why, heard }))
        };
        let finding = found(silent(Some(Duration::from_secs(180))));
        assert_eq!((finding.check, finding.level), ("peer", Level::Warning));
        for part in [words, "the reason", "told 3m ago"] {
            assert!(finding.text.contains(part), "{part} in {}", finding.text);
        }
        let mend = finding.mend.expect("a command");
        assert_eq!(mend.at, at, "{cause:?}");
        let never = found(silent(None)).text;
        assert!(never.contains("nothing is known of it"), "{never}");
    }
}

#[test]
fn a_peer_that_differs_is_said_by_what_differs() {
    type Change = fn(&mut Heard);
    let cases: [(&str, &str, Change); 6] = [
        ("peer-tables", "elsewhere: socksbalance", |heard| {
            heard.differing = vec!["socksbalance".to_owned()];
        }),
        ("peer-nodes", "1 node that this relay", |heard| {
            heard.unknown_nodes = vec!["10.0.1.9:1080".parse().unwrap()];
        }),
        ("peer-slots", "of 5 slots", |heard| heard.conflicts = 5),
        ("peer-flows", "for 6 of its", |heard| heard.left_out = 6),
        ("peer-interval", "is 9s old", |heard| {
            heard.age = Some(Duration::from_secs(9));
        }),
        ("peer-interval", "longer than `interval`", |heard| {
            heard.took = Duration::from_millis(1500);
        }),
    ];
    for (check, words, change) in cases {
        let mut differs = heard();
        change(&mut differs);
        let finding = found(Some(Ok(differs)));
        assert_eq!((finding.check, finding.level), (check, Level::Warning));
        assert!(finding.text.contains(words), "{}", finding.text);
    }
    // Where it is not known how often it is asked, nothing is late.
    let late = Heard {
        age: Some(Duration::from_secs(9)),
        ..heard()
    };
    let findings = changed(|facts| {
        facts.peers = vec![Peer {
            interval: Duration::ZERO,
            ..peer(Some(Ok(late)))
        }];
    });
    assert!(findings.iter().all(|finding| finding.level == Level::Ok));
}
