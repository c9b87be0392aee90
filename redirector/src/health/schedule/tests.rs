use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn timing(interval: Duration) -> Timing {
    Timing {
        interval,
        timeout: Duration::from_millis(20),
        ..Timing::default()
    }
}

async fn node() -> (TcpListener, Target) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target {
        pool: "pool".to_owned(),
        node: format!("node{port}"),
        address: (Ipv4Addr::LOCALHOST, port).into(),
        checks: [Check::default()].into(),
        ttl: None,
    };
    (listener, target)
}

async fn next(observations: &mut mpsc::Receiver<Observation>) -> Observation {
    timeout(SOON, observations.recv())
        .await
        .expect("in time")
        .expect("a sender")
}

#[tokio::test]
async fn a_target_is_checked_at_once_and_then_again_and_again() {
    let (_listener, target) = node().await;
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    scheduler.set_targets([(target.clone(), timing(Duration::from_millis(30)))]);
    for _ in 0..3 {
        let seen = next(&mut observations).await;
        assert_eq!(
            (seen.target, seen.outcome),
            (target.clone(), Outcome::Connected)
        );
    }
}

#[tokio::test]
async fn a_target_that_stays_is_not_started_anew_and_one_that_is_gone_ends() {
    let (_one, first) = node().await;
    let (_two, second) = node().await;
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    let hour = timing(Duration::from_secs(3600));
    scheduler.set_targets([(first.clone(), hour), (second.clone(), hour)]);
    next(&mut observations).await;
    next(&mut observations).await;
    scheduler.set_targets([(first.clone(), hour)]);
    assert_eq!(scheduler.targets(), 1);
    let quiet = timeout(Duration::from_millis(150), observations.recv()).await;
    assert!(
        quiet.is_err(),
        "a start would have checked at once: {quiet:?}"
    );
    assert!(!scheduler.probe_now(&second));
    assert!(scheduler.probe_now(&first));
    assert_eq!(next(&mut observations).await.target, first);
}

#[tokio::test]
async fn a_shorter_interval_counts_from_the_last_check() {
    let (_listener, target) = node().await;
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    scheduler.set_targets([(target.clone(), timing(Duration::from_secs(3600)))]);
    next(&mut observations).await;
    scheduler.set_targets([(target.clone(), timing(Duration::from_millis(30)))]);
    next(&mut observations).await;
    next(&mut observations).await;
}

#[tokio::test]
async fn a_hasty_check_of_a_node_that_says_nothing_ends_early_and_the_next_one_does_not() {
    // A listener whose queue is full answers no SYN.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = timeout(
        Duration::from_millis(100),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        queued.push(stream);
        assert!(queued.len() < 64, "the queue never fills");
    }
    let target = Target {
        pool: "pool".to_owned(),
        node: "full".to_owned(),
        address,
        checks: [Check::default()].into(),
        ttl: None,
    };
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    let slow = Timing {
        interval: Duration::from_secs(3600),
        timeout: Duration::from_secs(2),
        ..Timing::default()
    };
    scheduler.set_targets([(target.clone(), slow)]);
    let first = next(&mut observations).await;
    assert_eq!(first.outcome, Outcome::TimedOut);
    assert!(first.took >= slow.timeout, "{:?}", first.took);
    assert!(scheduler.probe_in_haste(&target));
    let hasty = next(&mut observations).await;
    assert!(hasty.took < slow.timeout / 2, "{:?}", hasty.took);
    assert!(scheduler.probe_now(&target));
    assert!(next(&mut observations).await.took >= slow.timeout);
}

/// Seconds from each of the first checks of a node that is not there to the next one.
async fn gaps(timing: Timing, checks: usize) -> Vec<Duration> {
    let (listener, target) = node().await;
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    scheduler.set_targets([(target, timing)]);
    // The first result is believed at once, so it takes a good one before there is anything to doubt.
    let first = next(&mut observations).await;
    assert_eq!(first.outcome, Outcome::Connected);
    drop(listener);
    let mut before = first.at;
    let mut gaps = Vec::new();
    for _ in 0..checks {
        let seen = next(&mut observations).await;
        gaps.push(seen.at - before);
        before = seen.at;
    }
    gaps
}

#[tokio::test]
async fn a_node_in_doubt_is_checked_at_the_fast_interval_until_that_is_decided() {
    let timing = Timing {
        interval: Duration::from_millis(900),
        fast_interval: Some(Duration::from_millis(50)),
        fall: 3,
        ..timing(Duration::ZERO)
    };
    let gaps = gaps(timing, 4).await;
    let fast = |gap: &Duration| *gap < Duration::from_millis(450);
    // The first failure comes at its ordinary time, the third one decides.
    assert!(
        !fast(&gaps[0]) || gaps[0] >= Duration::from_millis(400),
        "{gaps:?}"
    );
    assert!(fast(&gaps[1]) && fast(&gaps[2]), "{gaps:?}");
    assert!(!fast(&gaps[3]), "{gaps:?}");
}

#[tokio::test]
async fn jitter_moves_each_check_by_a_part_of_the_interval() {
    let interval = Duration::from_millis(60);
    let (_listener, target) = node().await;
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    let jittery = Timing {
        jitter: 50,
        ..timing(interval)
    };
    scheduler.set_targets([(target, jittery)]);
    let mut before = next(&mut observations).await.at;
    let mut early = 0;
    for _ in 0..24 {
        let at = next(&mut observations).await.at;
        assert!(at - before >= interval.mul_f64(0.3), "{:?}", at - before);
        // Without jitter only the second check comes earlier than after an interval.
        early += usize::from(at - before < interval.mul_f64(0.98));
        before = at;
    }
    assert!(early >= 3, "{early}");
}

#[tokio::test]
async fn dropping_the_scheduler_ends_all_checks() {
    let (_listener, target) = node().await;
    let (sender, mut observations) = mpsc::channel(8);
    let mut scheduler = Scheduler::new(sender);
    scheduler.set_targets([(target, timing(Duration::from_millis(30)))]);
    next(&mut observations).await;
    drop(scheduler);
    while timeout(SOON, observations.recv())
        .await
        .expect("the channel closes")
        .is_some()
    {}
}

#[test]
fn neighbouring_targets_have_different_phases() {
    let mut phases: Vec<_> = (1..=16)
        .map(|host| {
            phase(&Target {
                pool: String::new(),
                node: String::new(),
                address: ([10, 0, 1, host], 1080).into(),
                checks: [Check::default()].into(),
                ttl: None,
            })
        })
        .collect();
    phases.sort_by(f64::total_cmp);
    assert!(phases.iter().all(|phase| (0.0..1.0).contains(phase)));
    assert!(
        phases.windows(2).all(|pair| pair[1] - pair[0] > 1e-3),
        "{phases:?}"
    );
}
