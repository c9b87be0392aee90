//! Asks a node for a page: its status code, and the digest of the page where that is asked.
//!
//! The request is HTTP/1.0, as relayd(8)'s: the end of the answer is the end of the connection, and no server may
//! answer in chunks. An answer is hashed as it comes and never kept.

use ring::digest::{self, Context};
use tokio::io::{AsyncRead, AsyncWrite};

use super::bytes::{after, first};
use super::outcome::shown;
use super::talk::{Break, Talk};
use super::{Cause, Outcome};
use crate::config::{Digest, Page};

/// Most bytes of an answer before its body, and most lines.
const MAX_HEAD: usize = 16 * 1024;
const MAX_LINES: usize = 64;
/// Most bytes of a body that is hashed.
const MAX_BODY: u64 = 1 << 20;

/// What an answer says before its body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    code: u16,
    /// Bytes of the body, where it is told.
    length: Option<u64>,
}

/// The check, on a connection; `host` is what the node is called unless the check says otherwise.
pub(super) async fn check<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    http: &Page,
    host: &str,
) -> Outcome {
    match ask(talk, http, host).await {
        Ok(code) => Outcome::passed(format!("http status {code}")),
        Err(outcome) => outcome,
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    http: &Page,
    host: &str,
) -> Result<u16, Outcome> {
    let request = format!(
        "{} {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: redirector\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        http.method.name(),
        http.path,
        http.host.as_deref().unwrap_or(host),
    );
    talk.send(request.as_bytes())
        .await
        .map_err(|end| ended(end, &[]))?;
    let mut bytes = Vec::new();
    let body = read_head(talk, &mut bytes).await?;
    let head = parse(first(&bytes, body))?;
    if !http.codes.iter().any(|codes| codes.contains(&head.code)) {
        let story = format!("http status {}", head.code);
        return Err(Outcome::told(Cause::HttpStatus, story));
    }
    if let Some(wanted) = &http.digest {
        let found = hash(talk, wanted, after(&bytes, body), head.length).await?;
        if found.as_ref() != wanted.bytes() {
            let digits: String = found.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            let story = format!("the page has the digest {digits}");
            return Err(Outcome::told(Cause::HttpDigest, story));
        }
    }
    Ok(head.code)
}

/// Reads until the head is whole, and maybe some of the body; gives where that begins.
async fn read_head<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    bytes: &mut Vec<u8>,
) -> Result<usize, Outcome> {
    const BEGINNING: &[u8] = b"HTTP/";
    let mut room = [0; 2048];
    loop {
        let read = talk
            .some(&mut room)
            .await
            .map_err(|end| ended(end, bytes))?;
        // The end of the head may lie across two reads.
        let from = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(first(&room, read));
        if first(bytes, BEGINNING.len()) != first(BEGINNING, bytes.len()) {
            return Err(no_http(bytes));
        }
        if let Some(end) = end_of_head(after(bytes, from)) {
            return Ok(from + end);
        }
        if bytes.len() > MAX_HEAD {
            return Err(no_http(bytes));
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let find = |end: &[u8]| {
        let mut windows = bytes.windows(end.len());
        windows
            .position(|window| window == end)
            .map(|at| at + end.len())
    };
    // Some servers leave out the carriage returns.
    match (find(b"\r\n\r\n"), find(b"\n\n")) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn parse(bytes: &[u8]) -> Result<Head, Outcome> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut response = httparse::Response::new(&mut lines);
    let parsed = response.parse(bytes);
    let (Ok(httparse::Status::Complete(_)), Some(code)) = (parsed, response.code) else {
        return Err(no_http(bytes));
    };
    let mut headers = response.headers.iter();
    let length = headers.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok());
    Ok(Head {
        code,
        length: length.and_then(|text| text.trim().parse().ok()),
    })
}

/// The digest of the body, of which `begun` has come already.
async fn hash<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    wanted: &Digest,
    begun: &[u8],
    length: Option<u64>,
) -> Result<digest::Digest, Outcome> {
    let algorithm = match wanted {
        Digest::Sha1(_) => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Digest::Sha256(_) => &digest::SHA256,
    };
    let mut context = Context::new(algorithm);
    let mut hashed = 0;
    let mut feed = |bytes: &[u8]| {
        // What a server says beyond the announced length is none of the page.
        let left = length.map_or(u64::MAX, |length| length - hashed);
        let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        context.update(first(bytes, taken));
        hashed += taken as u64;
        hashed
    };
    let mut so_far = feed(begun);
    let mut room = [0; 8192];
    while length.is_none_or(|length| so_far < length) {
        if so_far > MAX_BODY {
            let story = format!("the page has more than {MAX_BODY} bytes");
            return Err(Outcome::told(Cause::HttpDigest, story));
        }
        match talk.some(&mut room).await {
            Ok(read) => so_far = feed(first(&room, read)),
            Err(Break::Closed) if length.is_none() => break,
            Err(Break::Closed) => {
                let story = format!("the page ended after {so_far} bytes");
                return Err(Outcome::told(Cause::HttpDigest, story));
            }
            Err(end) => return Err(ended(end, b"HTTP/")),
        }
    }
    Ok(context.finish())
}

fn ended(end: Break, so_far: &[u8]) -> Outcome {
    match end {
        Break::TimedOut if so_far.is_empty() => {
            Outcome::told(Cause::NoAnswer, "connected, no http answer in time")
        }
        Break::TimedOut => Outcome::told(Cause::NoAnswer, "the http answer is not whole in time"),
        Break::Closed if so_far.is_empty() => {
            Outcome::told(Cause::Closed, "connected, closed without an http answer")
        }
        Break::Closed => no_http(so_far),
        Break::Failed(kind) => Outcome::Failed(kind),
    }
}

fn no_http(bytes: &[u8]) -> Outcome {
    Outcome::told(
        Cause::NotHttp,
        format!("not http: it answered {}", shown(bytes)),
    )
}

#[cfg(test)]
mod tests;
