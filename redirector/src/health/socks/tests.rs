//! The conversation against servers of every kind, hostile ones among them.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::config::{Destination, Expect, Step};
use crate::health::glob::Glob;

const SOON: Duration = Duration::from_secs(5);
const GRANTED: [u8; 10] = [5, 0, 0, 1, 10, 0, 1, 2, 4, 56];

fn canary(steps: Vec<Step>) -> Canary {
    Canary {
        to: Destination::Socket("192.0.2.80:80".parse().unwrap()),
        steps,
    }
}

fn greeting_of_target() -> Vec<Step> {
    vec![Step {
        send: b"hello\n".to_vec(),
        expect: Some(Expect::Text(Glob::new("hi*"))),
    }]
}

/// What a client of version 5 makes of a server that says all this at once, then ends or keeps silent.
async fn hears(says: &[u8], ends: bool, login: Option<Login<'_>>, steps: Vec<Step>) -> Outcome {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(says).await.unwrap();
    if ends {
        theirs.shutdown().await.unwrap();
    }
    let mut talk = Talk::new(ours, Duration::from_millis(60));
    match through(&mut talk, login, Some(&canary(steps))).await {
        Ok(story) => Outcome::passed(story),
        Err(outcome) => outcome,
    }
}

fn after_greeting(reply: &[u8]) -> Vec<u8> {
    [&[5, 0], reply].concat()
}

#[tokio::test]
async fn every_way_to_fail_has_its_own_cause() {
    for (says, ends, cause) in [
        (after_greeting(&GRANTED), false, Cause::Passed),
        (
            after_greeting(&[5, 0, 0, 3, 1, b'x', 0, 80]),
            false,
            Cause::Passed,
        ),
        (vec![], false, Cause::NoAnswer),
        (vec![], true, Cause::Closed),
        (vec![5], true, Cause::Closed),
        (
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            true,
            Cause::NotSocks,
        ),
        (vec![5, 0xff], true, Cause::AuthRefused),
        (vec![5, 1], true, Cause::NotSocks),
        (after_greeting(&[5, 1, 0, 1]), true, Cause::GeneralFailure),
        (after_greeting(&[5, 2, 0, 1]), true, Cause::NotAllowed),
        (
            after_greeting(&[5, 3, 0, 1]),
            true,
            Cause::NetworkUnreachable,
        ),
        (after_greeting(&[5, 4, 0, 1]), true, Cause::HostUnreachable),
        (
            after_greeting(&[5, 5, 0, 1]),
            true,
            Cause::ConnectionRefused,
        ),
        (after_greeting(&[5, 6, 0, 1]), true, Cause::TtlExpired),
        (after_greeting(&[5, 77, 0, 1]), true, Cause::UnassignedReply),
        (after_greeting(&[4, 0, 0, 1]), true, Cause::NotSocks),
        (after_greeting(&[5, 0, 0, 9, 1, 1]), true, Cause::NotSocks),
        (
            after_greeting(&[5, 0, 0, 1, 10]),
            true,
            Cause::NotForwarding,
        ),
        (after_greeting(&[]), false, Cause::NotForwarding),
        (after_greeting(&[]), true, Cause::NotForwarding),
    ] {
        let outcome = hears(&says, ends, None, Vec::new()).await;
        assert_eq!(outcome.cause(), cause, "{says:02x?}: {outcome}");
    }
}

#[tokio::test]
async fn the_canary_must_say_what_is_expected() {
    for (canary, cause) in [
        (&b"hi there"[..], Cause::Passed),
        (b"go away", Cause::CanaryWrong),
        (b"", Cause::NotForwarding),
    ] {
        let says = [&after_greeting(&GRANTED)[..], canary].concat();
        let outcome = hears(&says, false, None, greeting_of_target()).await;
        assert_eq!(outcome.cause(), cause, "{outcome}");
    }
}

#[tokio::test]
async fn a_login_is_made_after_the_greeting_and_its_password_is_never_told() {
    let secret = Secret::new("hunter2");
    let login = Some(("monitor", &secret));
    for (says, cause) in [
        ([&[5, 2, 1, 0][..], &GRANTED].concat(), Cause::Passed),
        ([&[5, 2, 5, 0][..], &GRANTED].concat(), Cause::Passed),
        (vec![5, 2, 1, 1], Cause::AuthRefused),
        (vec![5, 2], Cause::AuthRefused),
        (vec![5, 0xff], Cause::AuthRefused),
        (vec![5, 0], Cause::NotSocks),
        (vec![5, 2, 9, 0], Cause::NotSocks),
    ] {
        let outcome = hears(&says, true, login, Vec::new()).await;
        assert_eq!(outcome.cause(), cause, "{says:02x?}: {outcome}");
        assert!(!format!("{outcome:?} {outcome}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_password_is_not_sent_to_what_is_no_socks_server() {
    let (ours, mut theirs) = duplex(1 << 10);
    let secret = Secret::new("hunter2");
    let node = tokio::spawn(async move {
        theirs.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        heard
    });
    let mut talk = Talk::new(ours, SOON);
    let outcome = through(&mut talk, Some(("monitor", &secret)), None).await;
    assert_eq!(outcome.unwrap_err().cause(), Cause::NotSocks);
    drop(talk);
    assert_eq!(node.await.unwrap(), [5, 1, 2]);
}

#[tokio::test]
async fn greeting_and_request_go_out_together() {
    let (ours, mut theirs) = duplex(1 << 10);
    let mut talk = Talk::new(ours, Duration::from_millis(50));
    let canary = canary(Vec::new());
    let (outcome, heard) = tokio::join!(through(&mut talk, None, Some(&canary)), async {
        let mut heard = [0; 64];
        let length = theirs.read(&mut heard).await.unwrap();
        heard[..length].to_vec()
    });
    assert_eq!(heard, [5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 80, 0, 80]);
    assert_eq!(outcome.unwrap_err().cause(), Cause::NoAnswer);
}

#[tokio::test]
async fn version_4_tells_its_replies_apart() {
    let socks = Socks4 {
        username: "monitor".to_owned(),
        connect: canary(Vec::new()),
    };
    for (says, cause) in [
        (&[0, 90, 0, 0, 0, 0, 0, 0][..], Cause::Passed),
        (&[4, 90, 0, 0, 0, 0, 0, 0], Cause::Passed),
        (&[0, 91, 0, 0, 0, 0, 0, 0], Cause::Rejected),
        (&[0, 92, 0, 0, 0, 0, 0, 0], Cause::AuthRefused),
        (&[0, 17, 0, 0, 0, 0, 0, 0], Cause::UnassignedReply),
        (b"HTTP/1.1 400", Cause::NotSocks),
        (&[0, 90], Cause::NotForwarding),
    ] {
        let (ours, mut theirs) = duplex(1 << 10);
        theirs.write_all(says).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut talk = Talk::new(ours, SOON);
        let cause_seen = match through4(&mut talk, &socks).await {
            Ok(_) => Cause::Passed,
            Err(outcome) => outcome.cause(),
        };
        assert_eq!(cause_seen, cause, "{says:02x?}");
    }
}

#[tokio::test]
async fn a_server_that_drips_is_left_at_the_deadline() {
    let (ours, mut theirs) = duplex(1 << 10);
    let node = tokio::spawn(async move {
        let reply = [&[5, 0, 5, 0, 0, 3, 255][..], &[b'x'; 300]].concat();
        for byte in reply {
            if theirs.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let start = Instant::now();
    let mut talk = Talk::new(ours, Duration::from_millis(200));
    let outcome = through(&mut talk, None, Some(&canary(Vec::new()))).await;
    assert_eq!(outcome.unwrap_err().cause(), Cause::NotForwarding);
    assert!(start.elapsed() < Duration::from_secs(2));
    node.abort();
}

proptest! {
    /// Only one beginning is a success; anything else is a failure with a story.
    #[test]
    fn any_bytes_of_a_server_give_an_outcome(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        beginning in prop_oneof![
            Just(vec![]), Just(vec![5]), Just(vec![5, 0]), Just(vec![5, 0, 5]), Just(vec![5, 0, 5, 0, 0]),
            Just(vec![5, 0, 5, 0, 0, 3]), Just(vec![5, 0, 5, 0, 0, 1]),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let says = [beginning, bytes].concat();
        let outcome = runtime.block_on(hears(&says, true, None, Vec::new()));
        let whole = match says.get(5).copied() {
            Some(1) => says.len() >= 12,
            Some(4) => says.len() >= 24,
            Some(3) => says.get(6).is_some_and(|length| says.len() >= 9 + usize::from(*length)),
            _ => false,
        };
        let good = says.starts_with(&[5, 0, 5, 0]) && whole;
        prop_assert_eq!(outcome.success(), Some(good), "{:02x?}: {}", says, outcome);
        prop_assert!(outcome.to_string().len() < 300);
    }

    #[test]
    fn any_bytes_of_a_server_give_an_outcome_in_version_4(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let socks = Socks4 { username: String::new(), connect: canary(Vec::new()) };
        let good = runtime.block_on(async {
            let (ours, mut theirs) = duplex(1 << 10);
            theirs.write_all(&bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            through4(&mut Talk::new(ours, SOON), &socks).await.is_ok()
        });
        prop_assert_eq!(good, bytes.len() >= 8 && [0, 4].contains(&bytes[0]) && bytes[1] == 90);
    }
}
