//! One question to a peer, and its answer.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::document::Document;
use crate::control::status::PeerCause;
use crate::secret::Secret;

/// Where the document is.
const PATH: &str = "/api/v1/peer";

/// How long a question may take, connection and answer included.
pub(super) const WITHIN: Duration = Duration::from_secs(2);

/// Largest answer, bytes: 64 tables that differ and as many connections as are recorded by default have room.
const MOST: u64 = 64 << 20;

/// Most headers of an answer.
const HEADERS: usize = 64;

/// What a peer has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What.
    pub document: Document,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Why nothing was heard of a peer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is nobody, or he does not speak.
    #[error("cannot ask http://{address}{PATH}: {cause}")]
    Away {
        /// Where.
        address: SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
    /// It is not answered in time.
    #[error("http://{0}{PATH} does not answer within {WITHIN:?}")]
    Late(SocketAddr),
    /// It says no.
    #[error("http://{address}{PATH} answers {code}: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Status code of HTTP.
        code: u16,
        /// What it says.
        reason: String,
    },
    /// What it tells can't be used.
    #[error("http://{address}{PATH}: {reason}")]
    Unusable {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
}

impl FetchError {
    /// What has to be mended.
    pub const fn cause(&self) -> PeerCause {
        match self {
            Self::Away { .. } => PeerCause::Away,
            Self::Late(_) => PeerCause::Late,
            Self::Refused {
                code: 401 | 403, ..
            } => PeerCause::Token,
            Self::Refused { .. } | Self::Unusable { .. } => PeerCause::Unusable,
        }
    }
}

/// Asks once.
///
/// # Errors
/// When it tells nothing that can be used.
pub async fn fetch(address: SocketAddr, token: &Secret) -> Result<Fetched, FetchError> {
    let asked = timeout(WITHIN, ask(address, token)).await;
    let answer = asked
        .map_err(|_| FetchError::Late(address))?
        .map_err(|cause| FetchError::Away { address, cause })?;
    read(address, &answer)
}

/// HTTP/1.0: the end of the answer is the end of the connection.
async fn ask(address: SocketAddr, token: &Secret) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "GET {PATH} HTTP/1.0\r\nhost: {address}\r\nuser-agent: redirector/{}\r\nauthorization: Bearer ",
        env!("CARGO_PKG_VERSION")
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(token.bytes());
    request.extend_from_slice(b"\r\n\r\n");
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    stream.take(MOST + 1).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(address: SocketAddr, answer: &[u8]) -> Result<Fetched, FetchError> {
    let unusable = |reason: &str| FetchError::Unusable {
        address,
        reason: reason.to_owned(),
    };
    if answer.len() as u64 > MOST {
        return Err(unusable("what it tells is too large"));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(answer);
    let (Ok(httparse::Status::Complete(length)), Some(code)) = (parsed, head.code) else {
        return Err(unusable("what answers is no HTTP server"));
    };
    let told = head.headers.iter().find_map(|header| {
        let is_length = header.name.eq_ignore_ascii_case("content-length");
        is_length.then(|| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
    });
    let body = answer.get(length..).unwrap_or_default();
    if told.flatten().is_some_and(|told: usize| told != body.len()) {
        return Err(unusable("its answer ends early"));
    }
    if code != 200 {
        let said = body.iter().take(300).map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => ' ',
        });
        return Err(FetchError::Refused {
            address,
            code,
            reason: said.collect::<String>().trim().to_owned(),
        });
    }
    let document = Document::read(body).map_err(|reason| unusable(&reason))?;
    Ok(Fetched {
        document,
        bytes: body.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &[u8]) -> String {
        let address = "10.9.0.2:9180".parse().unwrap();
        read(address, answer).unwrap_err().to_string()
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_named_with_its_reason() {
        for (answer, reason) in [
            (b"SSH-2.0-OpenSSH\r\n".as_slice(), "no HTTP server"),
            (b"", "no HTTP server"),
            (
                b"HTTP/1.0 401 Unauthorized\r\n\r\n{\"error\":\"the token is wrong\"}",
                "answers 401: {\"error\":\"the token is wrong\"}",
            ),
            (
                b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n{}",
                "ends early",
            ),
            (b"HTTP/1.0 200 OK\r\n\r\n{}", "no state of a relay"),
            (b"HTTP/1.0 404 Not Found\r\n\r\n\x1b[2J", "answers 404:"),
        ] {
            let said = said(answer);
            assert!(said.contains(reason) && !said.contains('\x1b'), "{said}");
        }
    }
}
