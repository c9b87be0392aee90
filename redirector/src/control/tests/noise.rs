//! Requests that are none.

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::*;

/// What a client may send by mistake or in malice: noise, and requests with something wrong in them.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = "(request|ping|status|operate|kind|names|subjects|monitor|recent|[a-z]{0,8})";
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        word.prop_map(|word| format!("\"{word}\"")),
        Just("[[[[{}]]]]".to_owned()),
        Just("1e999".to_owned()),
    ];
    let object = proptest::collection::vec((word, value), 0..6).prop_map(|fields| {
        let fields = fields
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"));
        format!("{{{}}}\n", fields.collect::<Vec<_>>().join(",")).into_bytes()
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..6000);
    let cut = (object.clone(), any::<prop::sample::Index>()).prop_map(|(text, at)| {
        let at = at.index(text.len());
        text[..at].to_vec()
    });
    prop_oneof![bytes, object, cut]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_is_answered_in_lines_or_not_at_all_and_the_agent_goes_on() {
    let directory = Directory::new("noise");
    let path = directory.socket();
    let server = agent(&path);
    let socket = path.clone();
    blocking(move || {
        let cases = Cases {
            cases: 300,
            failure_persistence: None,
            ..Cases::default()
        };
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_nonblocking(false).unwrap();
        let mut runner = TestRunner::new(cases);
        runner
            .run(&noise(), |bytes| {
                let mut client = UnixStream::connect(&socket).unwrap();
                client
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let _ = client.write_all(&bytes);
                let _ = client.shutdown(std::net::Shutdown::Write);
                let mut answer = Vec::new();
                // A server that closes before it has read everything resets the connection.
                let _ = client.read_to_end(&mut answer);
                prop_assert!(answer.is_empty() || answer.ends_with(b"\n"));
                prop_assert!(answer.len() < 1 << 20, "{} bytes", answer.len());
                for line in answer.split(|byte| *byte == b'\n') {
                    let known = line.is_empty() || serde_json::from_slice::<Response>(line).is_ok();
                    prop_assert!(known, "{}", String::from_utf8_lossy(line));
                }
                Ok(())
            })
            .unwrap();
        // One that was there all the while still gets its answer.
        stream.write_all(b"{\"request\":\"ping\"}\n").unwrap();
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            text.contains("pong") || text.contains("no request within"),
            "{text}"
        );
    })
    .await;
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    server.shutdown().await;
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_taken_and_one_that_stops_halfway_is_not_waited_for() {
    let directory = Directory::new("slow");
    let path = directory.socket();
    let server = agent(&path);
    let socket = path.clone();
    let (slow, halfway) = blocking(move || {
        let connect = || {
            let stream = UnixStream::connect(&socket).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            stream
        };
        let mut slow = connect();
        for byte in b"{\"request\":\"ping\"}\n" {
            slow.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut answer = [0; 256];
        let length = slow.read(&mut answer).unwrap();
        let slow = String::from_utf8_lossy(&answer[..length]).into_owned();
        let mut halfway = connect();
        halfway.write_all(b"{\"request\":").unwrap();
        let mut answer = String::new();
        halfway.read_to_string(&mut answer).unwrap();
        (slow, answer)
    })
    .await;
    assert!(slow.contains("pong"), "{slow}");
    assert!(halfway.contains("no request within"), "{halfway}");
    assert!(is_pong(&call(&path, Request::Ping).await.unwrap()));
    server.shutdown().await;
}
