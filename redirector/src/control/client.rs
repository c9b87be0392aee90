//! The command line's side of the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::protocol::{Request, Response};

/// Longest answer, in bytes: room for the largest relay there can be.
const MAX_RESPONSE: u64 = 64 << 20;
/// Longer than the server gives the agent, so that the server's own message arrives.
const TIMEOUT: Duration = Duration::from_secs(70);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no agent is listening on {}; start one with redirector run, or name its socket with --socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The caller may not connect.
    #[error("{} may not be used by this user; become root or a member of its group", .0.display())]
    Denied(PathBuf),
    /// The conversation broke off.
    #[error("the agent on {} did not answer: {cause}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The answer is none that this version knows.
    #[error(
        "the answer of the agent on {} was not understood ({cause}); are agent and command of one \
         version?", path.display()
    )]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

/// A connection to an agent.
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the agent that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError`] when there is none, or the caller may not speak with it.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|cause| {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "ErrorKind is not exhaustive"
            )]
            match cause.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning(path.to_owned())
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied(path.to_owned()),
                _ => ClientError::Io {
                    path: path.to_owned(),
                    cause,
                },
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            stream: BufReader::new(stream),
        })
    }

    /// Asks and waits for the answer, for little more than a minute at most.
    ///
    /// # Errors
    /// [`ClientError`] when no answer comes. An agent that answers with
    /// [`Response::Error`] has answered.
    pub fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        let line = self.exchange(request).map_err(|cause| self.broken(cause))?;
        self.understand(&line)
    }

    /// Asks for something that has many answers, and gives them as they come, however long that takes.
    ///
    /// # Errors
    /// [`ClientError`] when the agent cannot be asked.
    pub fn follow(mut self, request: &Request) -> Result<Follow, ClientError> {
        let asked = self
            .ask(request)
            .and_then(|()| self.stream.get_mut().set_read_timeout(None));
        match asked {
            Ok(()) => Ok(Follow(self)),
            Err(cause) => Err(self.broken(cause)),
        }
    }

    fn broken(&self, cause: io::Error) -> ClientError {
        ClientError::Io {
            path: self.path.clone(),
            cause,
        }
    }

    fn ask(&mut self, request: &Request) -> io::Result<()> {
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(&text)
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        self.ask(request)?;
        let line = self.line()?;
        if line.is_empty() {
            return Err(cut());
        }
        Ok(line)
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream
            .by_ref()
            .take(MAX_RESPONSE)
            .read_until(b'\n', &mut line)?;
        match line.last() {
            Some(b'\n') | None => Ok(line),
            Some(_) => Err(cut()),
        }
    }

    fn understand(&self, line: &[u8]) -> Result<Response, ClientError> {
        serde_json::from_slice(line).map_err(|cause| ClientError::NotUnderstood {
            path: self.path.clone(),
            cause,
        })
    }

    /// Waits until nobody listens at `path` any more; false when somebody still does after `limit`.
    pub fn wait_until_gone(path: &Path, limit: Duration) -> bool {
        let start = Instant::now();
        while UnixStream::connect(path).is_ok() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// The answers to a request that has many; ends when the agent does.
pub struct Follow(Client);

impl Iterator for Follow {
    type Item = Result<Response, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.line() {
            Ok(line) if line.is_empty() => None,
            Ok(line) => Some(self.0.understand(&line)),
            Err(cause) => Some(Err(self.0.broken(cause))),
        }
    }
}

impl Follow {
    /// Says that there have been enough answers, from another thread: what is on its way still comes.
    ///
    /// # Errors
    /// The connection can't be shared.
    pub fn enough(&self) -> io::Result<impl Fn() + Send + 'static> {
        let stream = self.0.stream.get_ref().try_clone()?;
        Ok(move || {
            // The agent may have ended it.
            let _ = stream.shutdown(Shutdown::Write);
        })
    }
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the connection ended before the answer did",
    )
}
