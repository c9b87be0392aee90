//! Clients that capture packets.

use super::*;
use crate::{
    capture::{Captured, Side, Summary, Wanted},
    control::Outlet,
};

fn packet(at: u64) -> Captured {
    Captured {
        at,
        verdict: "reply".to_owned(),
        node: None,
        before: Side {
            interface: 2,
            length: 3,
            front: vec![1, 2, 3],
        },
        after: None,
    }
}

/// An agent that lets whoever asks capture, and the other ends of what it gives them.
fn capturing(path: &Path) -> (Server, mpsc::Receiver<Outlet>) {
    let (sender, mut calls) = mpsc::channel(1);
    let (given, outlets) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let Call { reply, outlet, .. } = call;
            let interfaces = Vec::new();
            let _ = reply.send(Response::Capturing {
                interfaces,
                snaplen: 256,
            });
            given.send(outlet.unwrap()).await.unwrap();
        }
    });
    let server = Server::start(path, None, sender, Events::default()).unwrap();
    (server, outlets)
}

async fn begin(path: &Path) -> Follow {
    let path = path.to_owned();
    blocking(move || {
        let request = Request::Capture(Wanted::default());
        let mut follow = Client::connect(&path).unwrap().follow(&request).unwrap();
        let first = follow.next();
        assert!(
            matches!(first, Some(Ok(Response::Capturing { .. }))),
            "{first:?}"
        );
        follow
    })
    .await
}

#[tokio::test]
async fn a_client_that_has_had_enough_gets_what_was_captured_and_how_it_went() {
    let directory = Directory::new("enough");
    let path = directory.socket();
    let (server, mut outlets) = capturing(&path);
    let follow = begin(&path).await;
    let outlet = outlets.recv().await.unwrap();
    follow.enough().unwrap()();
    // The agent hears of it, and what is on its way still goes.
    outlet.packets.closed().await;
    drop(outlet.packets);
    let summary = Summary {
        matched: 7,
        ..Summary::default()
    };
    outlet.summary.send(summary.clone()).unwrap();
    let heard: Vec<_> = blocking(move || follow.map(Result::unwrap).collect()).await;
    assert_eq!(heard, [Response::CaptureEnded { summary }]);
    server.shutdown().await;
}

#[tokio::test]
async fn packets_come_in_order_and_end_with_the_capture() {
    let directory = Directory::new("packets");
    let path = directory.socket();
    let (server, mut outlets) = capturing(&path);
    let follow = begin(&path).await;
    let outlet = outlets.recv().await.unwrap();
    for at in 0..3 {
        outlet.packets.send(packet(at)).await.unwrap();
    }
    outlet.summary.send(Summary::default()).unwrap();
    drop(outlet.packets);
    let heard: Vec<_> = blocking(move || follow.map(Result::unwrap).collect()).await;
    let mut expected: Vec<_> = (0..3)
        .map(|at| Response::Captured {
            packet: Box::new(packet(at)),
        })
        .collect();
    expected.push(Response::CaptureEnded {
        summary: Summary::default(),
    });
    assert_eq!(heard, expected);
    server.shutdown().await;
}

#[tokio::test]
async fn the_agent_hears_of_a_client_that_is_gone() {
    let directory = Directory::new("gone");
    let path = directory.socket();
    let (server, mut outlets) = capturing(&path);
    let follow = begin(&path).await;
    let outlet = outlets.recv().await.unwrap();
    assert!(!outlet.packets.is_closed());
    drop(follow);
    outlet.packets.closed().await;
    server.shutdown().await;
}
