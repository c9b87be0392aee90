//! Clients that are told what happens.

use super::*;
use crate::control::events::QUEUE;

fn full(packets: u64) -> Happening {
    Happening::FlowTableFull { packets }
}

/// An agent, and what it tells by.
fn telling(path: &Path) -> (Server, Events) {
    let events = Events::default();
    let server = Server::start(path, None, mpsc::channel(1).0, events.clone()).unwrap();
    (server, events)
}

async fn follow(path: &Path, recent: usize) -> Follow {
    let path = path.to_owned();
    blocking(move || {
        Client::connect(&path)
            .unwrap()
            .follow(&Request::Monitor { recent })
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn every_watcher_hears_everything_in_order_after_as_much_as_he_wants_of_the_past() {
    let directory = Directory::new("watch");
    let path = directory.socket();
    let (server, events) = telling(&path);
    for packets in 0..5 {
        events.tell(full(packets));
    }
    let (mut one, mut two) = (follow(&path, 2).await, follow(&path, 0).await);
    // He has joined when he has heard something of the past; the other one is given the time.
    let told = blocking(move || {
        let first = one.next();
        (first, one)
    })
    .await;
    let (first, mut one) = told;
    assert!(matches!(first, Some(Ok(Response::Event { event })) if event.what == full(3)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    for packets in 5..8 {
        events.tell(full(packets));
    }
    server.shutdown().await;
    let heard = blocking(move || {
        let what = |response| {
            let Ok(Response::Event { event }) = response else {
                panic!("{response:?}");
            };
            event.what
        };
        let one: Vec<_> = one.by_ref().map(what).collect();
        let two: Vec<_> = two.by_ref().map(what).collect();
        (one, two)
    })
    .await;
    assert_eq!(heard.0, [4, 5, 6, 7].map(full));
    assert_eq!(heard.1, [5, 6, 7].map(full));
}

#[tokio::test]
async fn a_watcher_who_does_not_read_is_told_how_many_he_has_missed_and_holds_up_nobody() {
    const MANY: u64 = 200_000;
    let directory = Directory::new("behind");
    let path = directory.socket();
    let (server, events) = telling(&path);
    let mut watcher = follow(&path, 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for packets in 0..MANY {
        events.tell(full(packets));
        if packets.is_multiple_of(100) {
            tokio::task::yield_now().await;
        }
    }
    let reading = tokio::task::spawn_blocking(move || {
        let (mut heard, mut missed, mut next) = (0, 0, 0);
        while next < MANY {
            match watcher.next().expect("more").unwrap() {
                Response::Event { event } => {
                    assert_eq!(event.what, full(next), "none is skipped in silence");
                    heard += 1;
                    next += 1;
                }
                Response::Missed { events } => {
                    missed += events;
                    next += events;
                }
                Response::Pong { .. }
                | Response::Status(_)
                | Response::Subjects { .. }
                | Response::Explanation(_)
                | Response::Plan(_)
                | Response::Reloaded { .. }
                | Response::Audit(_)
                | Response::Sessions(_)
                | Response::Done { .. }
                | Response::Capturing { .. }
                | Response::Captured { .. }
                | Response::CaptureEnded { .. }
                | Response::Error { .. } => panic!("it tells what happens and nothing else"),
            }
        }
        (heard, missed)
    });
    let (heard, missed) = reading.await.unwrap();
    assert_eq!(heard + missed, MANY);
    assert!(missed > 0 && heard >= QUEUE as u64, "{heard} + {missed}");
    server.shutdown().await;
}

#[tokio::test]
async fn many_watchers_leave_room_for_those_who_ask() {
    let directory = Directory::new("crowd");
    let path = directory.socket();
    let events = Events::default();
    let server = agent_telling(&path, events.clone());
    let mut watchers = Vec::new();
    for _ in 0..16 {
        watchers.push(follow(&path, 0).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut refused = follow(&path, 0).await;
    let answer = blocking(move || refused.next()).await;
    assert!(
        matches!(&answer, Some(Ok(Response::Error { message })) if message.contains("16 others")),
        "{answer:?}"
    );
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    watchers.pop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut late = follow(&path, 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    events.tell(full(1));
    let answer = blocking(move || late.next()).await;
    assert!(
        matches!(&answer, Some(Ok(Response::Event { event })) if event.what == full(1)),
        "{answer:?}"
    );
    server.shutdown().await;
}
