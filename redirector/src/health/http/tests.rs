use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::config::Method;

fn http(digest: Option<Digest>) -> Page {
    Page {
        digest,
        ..Page::default()
    }
}

async fn against(http: &Page, says: &[u8]) -> Outcome {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(says).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut talk = Talk::new(ours, Duration::from_secs(5));
    check(&mut talk, http, "10.0.1.2").await
}

#[tokio::test]
async fn the_status_is_what_counts() {
    for (says, cause) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Cause::Passed),
        (b"HTTP/1.0 304 Not Modified\nA: b\n\n", Cause::Passed),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Cause::HttpStatus),
        (b"HTTP/1.1 503 x\r\n\r\n", Cause::HttpStatus),
        (b"HTTP/1.1 OK\r\n\r\n", Cause::NotHttp),
        (b"HTTP/1.1 200 OK\r\n", Cause::NotHttp),
        (b"220 mail\r\n", Cause::NotHttp),
        (b"", Cause::Closed),
    ] {
        let outcome = against(&http(None), says).await;
        let said = String::from_utf8_lossy(says);
        assert_eq!(outcome.cause(), cause, "{said}: {outcome}");
    }
    let only = Page {
        codes: vec![404..=404],
        ..Page::default()
    };
    assert_eq!(
        against(&only, b"HTTP/1.1 404 x\r\n\r\n").await.cause(),
        Cause::Passed
    );
    assert_eq!(
        against(&only, b"HTTP/1.1 200 x\r\n\r\n").await.cause(),
        Cause::HttpStatus
    );
}

/// "hello", by sha1sum(1) and sha256sum(1).
const SHA1: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn the_page_must_have_the_digest() {
    for digits in [SHA1, SHA256] {
        let wanted = http(Some(Digest::parse(digits).unwrap()));
        for (says, cause) in [
            (&b"HTTP/1.1 200 OK\r\n\r\nhello"[..], Cause::Passed),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world",
                Cause::Passed,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nhell", Cause::HttpDigest),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
                Cause::HttpDigest,
            ),
            (b"HTTP/1.1 500 x\r\n\r\nhello", Cause::HttpStatus),
        ] {
            let outcome = against(&wanted, says).await;
            assert_eq!(outcome.cause(), cause, "{outcome}");
        }
    }
}

#[tokio::test]
async fn the_request_says_what_is_asked() {
    let (ours, mut theirs) = duplex(1 << 16);
    let asked = Page {
        method: Method::Get,
        path: "/health?x=1".to_owned(),
        host: Some("www.example.net".to_owned()),
        ..Page::default()
    };
    let mut talk = Talk::new(ours, Duration::from_millis(50));
    let outcome = check(&mut talk, &asked, "10.0.1.2").await;
    assert_eq!(outcome.cause(), Cause::NoAnswer);
    drop(talk);
    let mut heard = String::new();
    theirs.read_to_string(&mut heard).await.unwrap();
    assert!(
        heard.starts_with("GET /health?x=1 HTTP/1.0\r\nHost: www.example.net\r\n"),
        "{heard}"
    );
    assert!(heard.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn endless_heads_and_endless_pages_are_cut_off() {
    let wanted = http(Some(Digest::parse(SHA1).unwrap()));
    for (beginning, cause) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], Cause::NotHttp),
        (b"HTTP/1.1 200 OK\r\n\r\n", Cause::HttpDigest),
    ] {
        let (ours, mut theirs) = duplex(1 << 12);
        let node = tokio::spawn(async move {
            let _ = theirs.write_all(beginning).await;
            while theirs.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        let mut talk = Talk::new(ours, Duration::from_secs(20));
        assert_eq!(check(&mut talk, &wanted, "h").await.cause(), cause);
        drop(talk);
        node.await.unwrap();
    }
}

proptest! {
    #[test]
    fn any_answer_gives_an_outcome(
        beginning in prop_oneof![
            Just(""), Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 200 OK\r\nContent-Length: "),
            Just("HTTP/1.0 200 x\n\n"),
        ],
        bytes in proptest::collection::vec(any::<u8>(), 0..300), hashed: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let wanted = http(hashed.then(|| Digest::parse(SHA1).unwrap()));
        let outcome = runtime.block_on(against(&wanted, &[beginning.as_bytes(), &bytes].concat()));
        prop_assert!(outcome.success().is_some());
        if hashed {
            prop_assert_eq!(outcome.success(), Some(false));
        }
    }
}
