//! The server as its clients meet it, hostile ones included.

mod api;
mod hostile;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use redirector_common::abi::SlotTable;
use tokio::sync::mpsc;

use super::*;
use crate::config;
use crate::control::{Call, Operation, Request, Response};
use crate::metrics::Measured;
use crate::peer::Document;
use crate::show::tests::status;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// A state as an agent would tell it.
fn snapshot() -> Snapshot {
    let table: Box<SlotTable> = bytemuck::zeroed_box();
    Snapshot {
        at_ms: 1_012_000_250,
        status: status(),
        answers: [].into(),
        measured: Measured {
            is_applied: true,
            ..Measured::default()
        },
        slots: [(0, Arc::new(Slots::of(&table)))].into(),
    }
}

/// A server with somebody who answers in place of the agent.
struct Served {
    http: Http,
    _runtime: tokio::runtime::Runtime,
}

/// Tells what an agent would tell.
fn answer(ask: Ask, snapshot: Snapshot) {
    // The server may have gone.
    match ask {
        Ask::Snapshot(reply) => drop(reply.send(Arc::new(snapshot))),
        Ask::Peer(reply) => drop(reply.send(Document {
            generation: 7,
            ..Document::default()
        })),
    }
}

/// Knows one node.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the server asks for nothing else"
)]
fn operated(request: &Request) -> Response {
    match request {
        Request::Operate(Operation { names, .. }) if names == &["socksservers/p2"] => {
            Response::Subjects {
                subjects: Vec::new(),
            }
        }
        other => Response::Error {
            message: format!("what is this: {other:?}"),
        },
    }
}

fn serve(
    config: &config::Http,
    ask: mpsc::Sender<Ask>,
    calls: mpsc::Sender<Call>,
) -> Result<Http, HttpError> {
    Http::start(Prepared::new(config, None)?, ask, calls)
}

impl Served {
    fn start() -> Self {
        Self::with(None, answer)
    }

    fn with(
        token_file: Option<std::path::PathBuf>,
        answer: impl Fn(Ask, Snapshot) + Send + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (ask, mut asked) = mpsc::channel(8);
        let (calls, mut called) = mpsc::channel::<Call>(8);
        runtime.spawn(async move {
            while let Some(call) = called.recv().await {
                let _ = call.reply.send(operated(&call.request));
            }
        });
        runtime.spawn(async move {
            while let Some(ask) = asked.recv().await {
                answer(ask, snapshot());
            }
        });
        let config = config::Http {
            listen: "127.0.0.1:0".parse().unwrap(),
            hosts: vec!["relay.example.net".to_owned()],
            token_file,
        };
        Self {
            http: serve(&config, ask, calls).unwrap(),
            _runtime: runtime,
        }
    }

    fn address(&self) -> SocketAddr {
        self.http.address()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Sends bytes, and reads until the server closes the connection.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes);
        hear(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.say(
            format!(
                "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                self.address()
            )
            .as_bytes(),
        )
    }

    /// A well-behaved client is served.
    fn require_alive(&self) {
        let answer = self.get("/healthz");
        assert_eq!((code(&answer), body(&answer)), (200, "ok\n"));
    }
}

fn hear(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset comes when the server closes with bytes unread; what came before it counts.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn code(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status in {answer:?}"))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn what_is_served_is_where_it_is_said_to_be() {
    let served = Served::start();
    for (path, media_type, holds) in [
        ("/", "text/html", "<title>"),
        ("/page.css", "text/css", ""),
        ("/page.js", "text/javascript", ""),
        ("/icon.svg", "image/svg+xml", ""),
        ("/metrics", "text/plain", "redirector_build_info"),
        ("/healthz", "text/plain", "ok"),
        ("/readyz", "text/plain", "ready"),
        ("/api/v1/status", "application/json", "socksbalance"),
        ("/api/v1/openapi.json", "application/json", "/api/v1/status"),
        (
            "/api/v1/redirects/0/slots",
            "application/octet-stream",
            "\0",
        ),
    ] {
        let answer = served.get(path);
        assert_eq!(code(&answer), 200, "{path}: {answer}");
        let head = answer.split("\r\n\r\n").next().unwrap();
        assert!(
            head.contains(&format!("content-type: {media_type}")),
            "{path}: {head}"
        );
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{path}: {head}"
        );
        assert!(
            head.contains("x-content-type-options: nosniff"),
            "{path}: {head}"
        );
        assert!(body(&answer).contains(holds), "{path}: {answer}");
    }
    assert_eq!(
        body(&served.get("/api/v1/redirects/0/slots")).len(),
        2 * 65_536
    );
    for path in [
        "/nothing",
        "/api/v1/redirects/7/slots",
        "/api/v1/redirects/x/slots",
        "/../etc/passwd",
    ] {
        assert_eq!(code(&served.get(path)), 404, "{path}");
    }
}

#[test]
fn openmetrics_is_for_those_who_accept_it() {
    let served = Served::start();
    let answer = served.say(
        b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
          accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n",
    );
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    // In parts, the last of which is empty.
    assert!(
        answer.contains("transfer-encoding: chunked\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn a_relay_that_cannot_serve_is_not_ready_and_says_why() {
    let unready = |change: fn(&mut Snapshot)| {
        let mut snapshot = snapshot();
        change(&mut snapshot);
        snapshot.not_ready()
    };
    assert_eq!(unready(|_| {}), [""; 0]);
    assert_eq!(
        unready(|s| s.status.interfaces.clear()),
        ["not attached to any interface"]
    );
    assert_eq!(unready(|s| s.measured.is_applied = false).len(), 1);
    let down = unready(|s| {
        for node in &mut s.status.redirects[0].pool.nodes {
            node.health = crate::health::Health::Down;
        }
    });
    assert_eq!(
        down,
        ["redirect socksbalance (IPv4) has no node that is up"]
    );
    let served = Served::with(None, |ask, mut snapshot| {
        snapshot.status.interfaces.clear();
        answer(ask, snapshot);
    });
    let answer = served.get("/readyz");
    assert_eq!(code(&answer), 503);
    assert_eq!(body(&answer), "not attached to any interface\n");
}

#[test]
fn a_loop_that_does_not_answer_is_told_to_be_stuck_and_not_waited_for() {
    let served = Served::with(None, |ask, _| std::mem::forget(ask));
    for path in ["/healthz", "/metrics", "/api/v1/status"] {
        let answer = served.get(path);
        assert_eq!(code(&answer), 503, "{path}");
        assert!(answer.contains("does not answer"), "{path}: {answer}");
    }
}

#[test]
fn many_clients_at_once_cost_the_agent_no_more_than_four_snapshots_a_second() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let served = Served::with(None, move |ask, snapshot| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(ask, snapshot);
    });
    let start = std::time::Instant::now();
    for _ in 0..100 {
        served.require_alive();
    }
    let most = start.elapsed().as_millis() / 250 + 1;
    let asked = asked.load(Ordering::Relaxed) as u128;
    assert!(
        (1..=most).contains(&asked),
        "{asked} in {:?}",
        start.elapsed()
    );
}

#[test]
fn the_stream_goes_on_telling() {
    let served = Served::start();
    let mut stream = served.connect();
    write!(
        stream,
        "GET /api/v1/stream HTTP/1.1\r\nhost: {}\r\n\r\n",
        served.address()
    )
    .unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while text
        .matches("event: snapshot\ndata: {\"at_ms\":1012000250")
        .count()
        < 2
    {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the stream has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
}

#[test]
fn a_dropped_server_gives_its_address_back() {
    let served = Served::start();
    served.require_alive();
    let address = served.address();
    drop(served);
    let start = std::time::Instant::now();
    while std::net::TcpListener::bind(address).is_err() {
        assert!(start.elapsed() < LONG, "{address} is still in use");
        std::thread::sleep(Duration::from_millis(10));
    }
}
