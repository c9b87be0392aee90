use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::*;
use crate::health::Cause;

async fn check(address: SocketAddr, limit: Duration) -> (Outcome, Duration) {
    let check = Check::default();
    let target = Target {
        pool: "pool".to_owned(),
        node: "node".to_owned(),
        address,
        checks: [check.clone()].into(),
        ttl: None,
    };
    one(
        &check,
        &target,
        limit,
        (&Material::default(), &Hands::default()),
    )
    .await
}

#[tokio::test]
async fn a_listening_port_is_connected_and_the_connection_ends_in_order() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let node = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read(&mut [0; 8]).await
    });
    let (outcome, took) = check(address, Duration::from_secs(5)).await;
    assert_eq!(outcome, Outcome::Connected);
    assert!(took < Duration::from_secs(5));
    assert_eq!(
        node.await.unwrap().unwrap(),
        0,
        "an orderly end, not a reset"
    );
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (outcome, _) = check(address, Duration::from_secs(5)).await;
    assert_eq!(outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_silent_port_times_out_in_time() {
    // A backlog that is full drops SYNs: one connection is queued, the others get no answer.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    for _ in 0..8 {
        let connect = TcpStream::connect(address);
        let Ok(stream) = timeout(Duration::from_millis(100), connect).await else {
            break;
        };
        queued.push(stream);
    }
    let limit = Duration::from_millis(500);
    let (outcome, took) = check(address, limit).await;
    assert_eq!(outcome, Outcome::TimedOut);
    assert!((limit..2 * limit).contains(&took), "{took:?}");
}

#[tokio::test]
async fn an_agent_that_was_busy_for_longer_than_the_limit_does_not_fail_the_node() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_millis(50);
    let probe = tokio::spawn(check(address, limit));
    tokio::task::yield_now().await;
    std::thread::sleep(2 * limit);
    assert_eq!(probe.await.unwrap().0, Outcome::Connected);
}

#[test]
fn a_failure_that_took_twice_its_time_is_the_agents_own() {
    let limit = Duration::from_secs(1);
    let check = Check::default();
    let judge = |took| judged(&check, Outcome::TimedOut, took, limit).success();
    assert_eq!(judge(Duration::from_millis(1100)), Some(false));
    assert_eq!(judge(Duration::from_millis(2100)), None);
}

#[test]
fn a_success_that_comes_late_is_a_failure_where_there_is_a_limit() {
    let check = Check {
        slow: Some(Duration::from_millis(300)),
        ..Check::default()
    };
    let judge = |took| {
        judged(
            &check,
            Outcome::Connected,
            Duration::from_millis(took),
            Duration::from_secs(1),
        )
    };
    assert_eq!(judge(300), Outcome::Connected);
    assert_eq!(judge(301).cause(), Cause::Slow);
    assert_eq!(judge(301).success(), Some(false));
    assert_eq!(
        judge(412).to_string(),
        "slow: tcp connect ok after 412ms, more than 300ms"
    );
}

#[test]
fn of_several_checks_the_first_that_failed_decides_or_else_the_slowest() {
    let pass = || (Outcome::Connected, Duration::ZERO);
    let fail = || (Outcome::Refused, Duration::ZERO);
    let unknown = || {
        (
            Outcome::NotProbed(std::io::ErrorKind::OutOfMemory),
            Duration::ZERO,
        )
    };
    for (results, which, success) in [
        (
            vec![
                pass(),
                (Outcome::Connected, Duration::from_millis(1)),
                pass(),
            ],
            1,
            Some(true),
        ),
        (vec![pass(), fail(), fail()], 1, Some(false)),
        (vec![unknown(), fail()], 1, Some(false)),
        (vec![pass(), unknown()], 1, None),
    ] {
        let verdict = decide(results);
        assert_eq!((verdict.which, verdict.outcome.success()), (which, success));
    }
}
