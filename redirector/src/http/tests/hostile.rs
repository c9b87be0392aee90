//! Huge, slow, malformed, foreign: each gets a clear refusal, and others are served all the while.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rand_bytes::Bytes;

use super::*;

/// A small generator, so that a failure can be repeated.
mod rand_bytes {
    /// xorshift64*.
    pub(super) struct Bytes(pub(super) u64);

    impl Iterator for Bytes {
        type Item = u8;

        fn next(&mut self) -> Option<u8> {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            Some(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0])
        }
    }
}

fn request(lines: &[&str]) -> Vec<u8> {
    let mut request = lines.join("\r\n");
    request.push_str("\r\n\r\n");
    request.into_bytes()
}

#[test]
fn huge_requests_are_refused() {
    let served = Served::start();
    let huge = "a".repeat(1 << 20);
    let header = format!("x: {huge}");
    let path = format!("GET /{huge} HTTP/1.1");
    let long_path = format!("GET /{} HTTP/1.1", "a".repeat(2000));
    let many: Vec<String> = (0..200).map(|number| format!("x{number}: y")).collect();
    let mut all = vec!["GET / HTTP/1.1", "host: localhost"];
    all.extend(many.iter().map(String::as_str));
    for (what, bytes, codes) in [
        (
            "header",
            request(&["GET / HTTP/1.1", "host: localhost", &header]),
            &[431][..],
        ),
        ("path", request(&[&path, "host: localhost"]), &[414, 431]),
        (
            "longer path than any",
            request(&[&long_path, "host: localhost", "connection: close"]),
            &[414],
        ),
        ("headers", request(&all), &[431]),
        (
            "announced body",
            request(&[
                "POST / HTTP/1.1",
                "host: localhost",
                "content-length: 99999999999",
                "connection: close",
            ]),
            &[413],
        ),
        (
            "endless body",
            request(&[
                "POST / HTTP/1.1",
                "host: localhost",
                "transfer-encoding: chunked",
                "connection: close",
            ]),
            &[413],
        ),
    ] {
        let answer = served.say(&bytes);
        assert!(codes.contains(&code(&answer)), "{what}: {answer}");
        served.require_alive();
    }
}

#[test]
fn malformed_requests_are_refused() {
    let served = Served::start();
    for (bytes, codes) in [
        (request(&["GARBAGE"]), &[400][..]),
        (request(&["GET / HTTP/9.9", "host: localhost"]), &[400, 505]),
        (
            request(&["GET / HTTP/1.1", "host: localhost", "no colon here"]),
            &[400],
        ),
        (request(&["GET / HTTP/1.1", "connection: close"]), &[400]),
        (
            request(&["GET / HTTP/1.1", "host: a", "host: b", "connection: close"]),
            &[400],
        ),
        (
            request(&["GET / HTTP/1.1", "host: localhost", "content-length: -1"]),
            &[400],
        ),
        (
            request(&[
                "GET / HTTP/1.1",
                "host: localhost",
                "content-length: 1",
                "content-length: 2",
            ]),
            &[400],
        ),
        (
            request(&["PATCH / HTTP/1.1", "host: localhost", "connection: close"]),
            &[405],
        ),
        (
            request(&[
                "POST /metrics HTTP/1.1",
                "host: localhost",
                "connection: close",
            ]),
            &[405],
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &[400],
        ),
    ] {
        let answer = served.say(&bytes);
        assert!(
            codes.contains(&code(&answer)),
            "{:?}: {answer}",
            String::from_utf8_lossy(&bytes)
        );
        served.require_alive();
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let served = Served::start();
    let mut random = Bytes(0x5eed);
    for round in 0..200_usize {
        let mut bytes: Vec<u8> = random.by_ref().take(1 + round * 7 % 600).collect();
        if round % 2 == 0 {
            bytes.splice(0..0, *b"GET / HTTP/1.1\r\n");
        }
        // What ends no head would be waited for.
        bytes.extend(*b"\r\n\r\n\r\n\r\n");
        let mut stream = served.connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = hear(&mut stream);
        if !answer.is_empty() {
            assert!(code(&answer) >= 400, "{bytes:?}: {answer}");
        }
    }
    served.require_alive();
}

#[test]
fn a_slow_client_is_not_waited_for_and_keeps_nobody_from_being_served() {
    let served = Served::start();
    let start = Instant::now();
    let mut slow = served.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: local").unwrap();
    let dripping = {
        let mut slow = slow.try_clone().unwrap();
        std::thread::spawn(move || {
            // A byte now and then must not buy more time.
            while slow.write_all(b"l").is_ok() && start.elapsed() < LONG {
                std::thread::sleep(Duration::from_millis(200));
            }
        })
    };
    for _ in 0..5 {
        let asked = Instant::now();
        served.require_alive();
        assert!(
            asked.elapsed() < Duration::from_secs(3),
            "{:?}",
            asked.elapsed()
        );
    }
    let answer = hear(&mut slow);
    let took = start.elapsed();
    drop(slow);
    dripping.join().unwrap();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(code(&answer), 408, "{answer:?}");
}

#[test]
fn more_connections_than_are_allowed_are_refused_until_others_go() {
    let served = Served::start();
    let held: Vec<_> = (0..64).map(|_| served.connect()).collect();
    let start = Instant::now();
    // The server may not have accepted all of them yet.
    while code(&served.get("/healthz")) != 503 {
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "nobody was refused"
        );
    }
    drop(held);
    while code(&served.get("/healthz")) != 200 {
        assert!(start.elapsed() < LONG, "the places were not given back");
    }
}

#[test]
fn more_listeners_than_are_allowed_are_refused() {
    let served = Served::start();
    let listen = || {
        let mut stream = served.connect();
        write!(
            stream,
            "GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let held: Vec<_> = (0..16).map(|_| listen()).collect();
    assert!(held.iter().all(|(_, head)| code(head) == 200));
    assert_eq!(code(&listen().1), 503);
    served.require_alive();
}

#[test]
fn a_client_that_does_not_read_is_left() {
    let served = Served::start();
    let mut stream = served.connect();
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let request = request(&["GET /api/v1/redirects/0/slots HTTP/1.1", "host: localhost"]);
    let start = Instant::now();
    // At first nobody takes what is sent, then the connection breaks.
    let broken = loop {
        match stream.write_all(&request) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => break error,
        }
        assert!(start.elapsed() < LONG, "the server keeps the connection");
    };
    assert!(
        matches!(
            broken.kind(),
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
        ),
        "{broken}"
    );
    served.require_alive();
}

#[test]
fn foreign_names_and_pages_are_refused() {
    let served = Served::start();
    let evil = served.say(&request(&[
        "GET /api/v1/status HTTP/1.1",
        "host: evil.example",
        "connection: close",
    ]));
    assert_eq!(code(&evil), 421);
    assert!(evil.contains("list the name as `hosts`"), "{evil}");
    let foreign = served.say(&request(&[
        "GET /api/v1/status HTTP/1.1",
        "host: localhost",
        "origin: http://evil.example",
        "connection: close",
    ]));
    assert_eq!(code(&foreign), 403);
    assert!(!foreign.contains("socksbalance"), "{foreign}");
    assert!(
        !foreign.to_lowercase().contains("access-control"),
        "{foreign}"
    );
}

#[test]
fn a_token_file_that_others_can_read_or_that_holds_no_token_is_refused() {
    let path = std::env::temp_dir().join(format!("redirector-token-{}", std::process::id()));
    let start = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let config = config::Http {
            listen: "127.0.0.1:0".parse().unwrap(),
            hosts: Vec::new(),
            token_file: Some(path.clone()),
        };
        let started = serve(&config, mpsc::channel(1).0, mpsc::channel(1).0);
        started.map(drop).map_err(|error| error.to_string())
    };
    let good = "0123456789abcdef\n";
    assert_eq!(start(good, 0o600), Ok(()));
    assert!(start(good, 0o644).unwrap_err().contains("chmod o="));
    assert!(start("short\n", 0o600).unwrap_err().contains("at least 16"));
    assert!(
        start("two words that are long\n", 0o600)
            .unwrap_err()
            .contains("one word")
    );
    fs::remove_file(&path).unwrap();
    let gone = serve(
        &config::Http {
            listen: "127.0.0.1:0".parse().unwrap(),
            hosts: Vec::new(),
            token_file: Some(path),
        },
        mpsc::channel(1).0,
        mpsc::channel(1).0,
    );
    assert!(
        gone.unwrap_err()
            .to_string()
            .contains("token file: cannot read")
    );
}

#[test]
fn an_address_that_is_taken_is_named() {
    let served = Served::start();
    let config = config::Http {
        listen: served.address(),
        hosts: Vec::new(),
        token_file: None,
    };
    let error = serve(&config, mpsc::channel(1).0, mpsc::channel(1).0).unwrap_err();
    assert!(
        error.to_string().contains(&served.address().to_string()),
        "{error}"
    );
}

#[test]
fn another_server_takes_the_address_over_and_one_that_cannot_be_leaves_it() {
    let mut served = Served::start();
    let at = served.address();
    let mut config = config::Http {
        listen: at,
        ..served.http.config().clone()
    };
    config.token_file = Some("/nonexistent/token".into());
    let refused = Prepared::new(&config, Some(&served.http)).unwrap_err();
    assert!(
        refused.to_string().contains("/nonexistent/token"),
        "{refused}"
    );
    served.require_alive();

    config.token_file = None;
    config.hosts = vec!["other.example.net".to_owned()];
    let prepared = Prepared::new(&config, Some(&served.http)).unwrap();
    // Whoever comes while one ends and the other begins waits in the socket of both.
    let early = TcpStream::connect(at).unwrap();
    let (ask, _asked) = mpsc::channel(1);
    served.http = Http::start(prepared, ask, mpsc::channel(1).0).unwrap();
    assert_eq!(served.address(), at);
    drop(early);
    let answer =
        served.say(b"GET / HTTP/1.1\r\nhost: other.example.net\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn only_the_token_of_the_file_has_peers_told_of_connections() {
    let path = std::env::temp_dir().join(format!("redirector-peer-token-{}", std::process::id()));
    fs::write(&path, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let with_token = Served::with(Some(path.clone()), answer);
    fs::remove_file(&path).unwrap();
    let without = Served::start();
    let get = |served: &Served, more: &str| {
        let head = "GET /api/v1/peer HTTP/1.0\r\nhost: localhost\r\n";
        served.say(format!("{head}{more}\r\n").as_bytes())
    };
    let told = get(&with_token, "authorization: Bearer 0123456789abcdef\r\n");
    assert!(
        told.contains(" 200 ") && told.contains("\"generation\":7"),
        "{told}"
    );
    for (served, more, code) in [
        (&with_token, "", "401"),
        (
            &with_token,
            "authorization: Bearer 0123456789abcdee\r\n",
            "401",
        ),
        (
            &without,
            "authorization: Bearer 0123456789abcdef\r\n",
            "403",
        ),
    ] {
        let told = get(served, more);
        assert!(
            told.contains(code) && !told.contains("generation"),
            "{told}"
        );
    }
}

#[test]
fn only_the_token_of_the_file_lets_somebody_drain_a_node() {
    let path = std::env::temp_dir().join(format!("redirector-good-token-{}", std::process::id()));
    fs::write(&path, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let with_token = Served::with(Some(path.clone()), answer);
    fs::remove_file(&path).unwrap();
    let without = Served::start();
    let post = |served: &Served, path: &str, more: &[&str]| {
        let first = format!("POST /api/v1/pools/{path} HTTP/1.1");
        let mut lines = vec![first.as_str(), "host: localhost", "connection: close"];
        lines.extend(more);
        code(&served.say(&request(&lines)))
    };
    let good = "authorization: Bearer 0123456789abcdef";
    let drain = "socksservers/nodes/p2/drain";
    assert_eq!(post(&with_token, drain, &[good]), 204);
    assert_eq!(post(&with_token, drain, &[]), 401);
    assert_eq!(
        post(
            &with_token,
            drain,
            &["authorization: Bearer 0123456789abcdeF"]
        ),
        401
    );
    assert_eq!(
        post(&with_token, drain, &[good, "origin: http://evil.example"]),
        403
    );
    assert_eq!(
        post(&with_token, "socksservers/nodes/p9/drain", &[good]),
        404
    );
    assert_eq!(
        post(&with_token, "socksservers/nodes/p2/explode", &[good]),
        404
    );
    assert_eq!(post(&without, drain, &[good]), 403);
    with_token.require_alive();
}
