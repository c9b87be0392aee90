//! A conversation with a node: by a deadline, and with a bound on every read.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::Outcome;

/// How long the end of a conversation is waited for, after the check has its result.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a conversation ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// The deadline has passed.
    TimedOut,
    /// The other end closed or reset the connection.
    Closed,
    /// It failed in another way.
    Failed(io::ErrorKind),
}

impl From<io::Error> for Break {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "ErrorKind is not exhaustive"
        )]
        match error.kind() {
            Kind::UnexpectedEof
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected => Self::Closed,
            kind => Self::Failed(kind),
        }
    }
}

/// A stream with a deadline.
#[derive(Debug)]
pub(super) struct Talk<S> {
    stream: S,
    deadline: Instant,
}

/// Connects to a node by the deadline.
pub(super) async fn connect(
    address: SocketAddr,
    ttl: Option<u8>,
    deadline: Instant,
) -> Result<Talk<TcpStream>, Outcome> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|error| Outcome::of_relay(&error))?;
    limit_hops(&SockRef::from(&socket), address, ttl).map_err(|e| Outcome::of_relay(&e))?;
    match timeout_at(deadline, socket.connect(address)).await {
        Err(_) => Err(Outcome::TimedOut),
        Ok(Err(error)) => Err(Outcome::of_connect(&error)),
        Ok(Ok(stream)) => {
            // Without it a turn of a conversation may wait for an acknowledgement. Nothing else depends on it.
            let _ = stream.set_nodelay(true);
            Ok(Talk { stream, deadline })
        }
    }
}

/// Lets packets of a socket live for `ttl` hops.
pub(super) fn limit_hops(
    socket: &SockRef<'_>,
    address: SocketAddr,
    ttl: Option<u8>,
) -> io::Result<()> {
    match (ttl, address) {
        (None, _) => Ok(()),
        (Some(ttl), SocketAddr::V4(_)) => socket.set_ttl_v4(ttl.into()),
        (Some(ttl), SocketAddr::V6(_)) => socket.set_unicast_hops_v6(ttl.into()),
    }
}

impl Talk<TcpStream> {
    /// The relay's own end.
    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Talk<S> {
    /// Ends the connection in order, without keeping anybody waiting: a FIN, then what still comes is read, so
    /// that no reset stands in the node's log.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn part(self) {
        let mut stream = self.stream;
        tokio::spawn(timeout(FAREWELL, async move {
            // The node may have gone first, which changes nothing about what was seen.
            if stream.shutdown().await.is_err() {
                return;
            }
            let mut rest = [0; 4096];
            // A bound in bytes too: nobody is listened to for a second at full speed.
            for _ in 0..64 {
                if matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {
                    break;
                }
            }
        }));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    #[cfg(test)]
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            deadline: Instant::now() + limit,
        }
    }

    /// Goes on over another stream, made of this one by the deadline; else what kept it from that.
    pub(super) async fn become_other<T, F>(
        self,
        make: impl FnOnce(S) -> F,
    ) -> Result<Talk<T>, Result<io::Error, Break>>
    where
        F: Future<Output = io::Result<T>>,
    {
        let Self { stream, deadline } = self;
        match timeout_at(deadline, make(stream)).await {
            Ok(Ok(stream)) => Ok(Talk { stream, deadline }),
            Ok(Err(error)) if error.get_ref().is_some() => Err(Ok(error)),
            Ok(Err(error)) => Err(Err(error.into())),
            Err(_) => Err(Err(Break::TimedOut)),
        }
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Break> {
        timeout_at(self.deadline, self.stream.write_all(bytes))
            .await
            .map_err(|_| Break::TimedOut)??;
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) async fn take<const N: usize>(&mut self) -> Result<[u8; N], Break> {
        let mut bytes = [0; N];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    /// As many bytes as there is room for.
    pub(super) async fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Break> {
        timeout_at(self.deadline, self.stream.read_exact(bytes))
            .await
            .map_err(|_| Break::TimedOut)??;
        Ok(())
    }

    /// What comes next, at least one byte.
    pub(super) async fn some(&mut self, room: &mut [u8]) -> Result<usize, Break> {
        let read = timeout_at(self.deadline, self.stream.read(room))
            .await
            .map_err(|_| Break::TimedOut)??;
        if read == 0 {
            return Err(Break::Closed);
        }
        Ok(read)
    }
}
