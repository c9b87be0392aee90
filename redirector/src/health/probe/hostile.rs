//! Nodes that mean harm: whatever they send, and however slowly, a check ends in time and is not content.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::*;
use crate::config::Config;

/// What the beginning of a good answer looks like in each protocol, and bytes that begin none.
const BEGINNINGS: [u8; 6] = [5, 0, b'H', 0x16, 0xff, b'\n'];
const LIMIT: Duration = Duration::from_millis(300);
/// For a machine that does other things too.
const SLACK: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Nothing is ever said.
    Silent,
    /// A byte now and then, without an end.
    Trickling,
    /// As much as the connection takes, without an end.
    Flooding,
}

/// A node that accepts connections and behaves like this until they end.
fn node(manner: Manner, byte: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let (bytes, pause) = match manner {
                    Manner::Silent => (Vec::new(), 50),
                    Manner::Trickling => (vec![byte], 20),
                    Manner::Flooding => (vec![byte; 65_536], 0),
                };
                let end = Instant::now() + 2 * SLACK;
                while Instant::now() < end && stream.write_all(&bytes).is_ok() {
                    std::thread::sleep(Duration::from_millis(pause));
                }
            });
        }
    });
    address
}

fn checks() -> Arc<[Check]> {
    let text = r#"
interfaces = ["eth0"]
[pool.p]
nodes = ["10.0.1.2"]
checks = [
  { type = "socks5", connect = "192.0.2.80:80", udp-associate = true },
  { type = "socks5", connect = "192.0.2.80:80", send = "GET / HTTP/1.0\r\n\r\n", expect = "HTTP/1.? 200*" },
  { type = "socks4", connect = "192.0.2.80:80" },
  { type = "tls", verify = false },
  { type = "http", path = "/", digest = "0000000000000000000000000000000000000000000000000000000000000000" },
  { type = "https", path = "/", verify = false },
  { type = "send", send = "?", expect = "*never in the world*" },
  { type = "send", send-hex = "05 01 00", expect-hex = "05 01 02 03 04 05" },
]
[redirect.r]
listen = ["10.0.0.1:1080"]
forward-to = { pool = "p", port = 1080 }
"#;
    let config = Config::parse("t", text).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::clone(&config.pools[0].checks)
}

#[tokio::test]
async fn nodes_that_are_silent_or_trickle_or_flood_hold_no_check_beyond_its_limit_and_satisfy_none()
{
    let checks = checks();
    let manners = [Manner::Silent, Manner::Trickling, Manner::Flooding];
    for manner in manners {
        for byte in BEGINNINGS {
            let target = Target {
                pool: "p".to_owned(),
                node: "hostile".to_owned(),
                address: node(manner, byte),
                checks: Arc::clone(&checks),
                ttl: None,
            };
            let (material, hands) = (Material::default(), Hands::default());
            let all = checks
                .iter()
                .map(|check| one(check, &target, LIMIT, (&material, &hands)));
            for (check, (outcome, took)) in checks.iter().zip(join_all(all).await) {
                let story = format!(
                    "{} of a node {manner:?} with {byte:#x}: {outcome}",
                    check.name()
                );
                assert_ne!(outcome.success(), Some(true), "{story}");
                assert!(took < LIMIT + SLACK, "{story} after {took:?}");
                assert!(outcome.to_string().len() < 300, "{story}");
            }
        }
    }
}
