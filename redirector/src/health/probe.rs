//! One check of one node's port.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// What a check saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The node accepted the connection.
    Connected,
    /// The node refused the connection: it is there, its Dante is not.
    Refused,
    /// Nothing answered in time.
    TimedOut,
    /// There is no way to the node.
    Unreachable,
    /// The connection failed in another way.
    Failed(io::ErrorKind),
    /// The relay itself lacked something that a check needs, such as file descriptors or local ports.
    /// This says nothing about the node.
    NotProbed(io::ErrorKind),
}

impl Outcome {
    /// Whether the node passed; `None` when nothing was learned about it.
    pub fn success(self) -> Option<bool> {
        match self {
            Self::Connected => Some(true),
            Self::Refused | Self::TimedOut | Self::Unreachable | Self::Failed(_) => Some(false),
            Self::NotProbed(_) => None,
        }
    }

    fn of_connect(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "ErrorKind is not exhaustive"
        )]
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::TimedOut => Self::TimedOut,
            Kind::HostUnreachable | Kind::NetworkUnreachable => Self::Unreachable,
            kind @ (Kind::AddrNotAvailable
            | Kind::AddrInUse
            | Kind::OutOfMemory
            | Kind::PermissionDenied) => Self::NotProbed(kind),
            kind => Self::Failed(kind),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("tcp connect ok"),
            Self::Refused => f.write_str("tcp connect refused"),
            Self::TimedOut => f.write_str("tcp connect timed out"),
            Self::Unreachable => f.write_str("no route to the node"),
            Self::Failed(kind) => write!(f, "tcp connect failed: {kind}"),
            Self::NotProbed(kind) => write!(f, "not checked, the relay itself failed: {kind}"),
        }
    }
}

/// Connects to a node's port and closes the connection again; says what came of it and how long it
/// took.
pub async fn tcp(address: SocketAddr, limit: Duration) -> (Outcome, Duration) {
    let start = Instant::now();
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let outcome = match socket {
        Err(error) => Outcome::NotProbed(error.kind()),
        Ok(socket) => match timeout(limit, socket.connect(address)).await {
            Err(_) => Outcome::TimedOut,
            Ok(Err(error)) => Outcome::of_connect(&error),
            Ok(Ok(mut stream)) => {
                let took = start.elapsed();
                // A FIN, never a reset: the node's log shall show an ordinary end. It may have gone
                // first, which changes nothing about the connection having been accepted.
                let _ = stream.shutdown().await;
                return (Outcome::Connected, took);
            }
        },
    };
    (outcome, start.elapsed())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listening_port_is_connected_and_the_connection_ends_in_order() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read(&mut [0; 8]).await
        });
        let (outcome, took) = tcp(address, Duration::from_secs(5)).await;
        assert_eq!(outcome, Outcome::Connected);
        assert!(took < Duration::from_secs(5));
        assert_eq!(
            node.await.unwrap().unwrap(),
            0,
            "an orderly end, not a reset"
        );
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(
            tcp(address, Duration::from_secs(5)).await.0,
            Outcome::Refused
        );
    }

    #[tokio::test]
    async fn a_silent_port_times_out_in_time() {
        // A backlog that is full drops SYNs: one connection is queued, the others get no answer.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        for _ in 0..8 {
            let connect = tokio::net::TcpStream::connect(address);
            let Ok(stream) = timeout(Duration::from_millis(100), connect).await else {
                break;
            };
            queued.push(stream);
        }
        let (outcome, took) = tcp(address, Duration::from_millis(50)).await;
        assert_eq!(outcome, Outcome::TimedOut);
        assert!((50..1000).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test]
    async fn an_agent_that_was_busy_for_longer_than_the_limit_does_not_fail_the_node() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let limit = Duration::from_millis(50);
        let probe = tokio::spawn(tcp(address, limit));
        tokio::task::yield_now().await;
        std::thread::sleep(2 * limit);
        assert_eq!(probe.await.unwrap().0, Outcome::Connected);
    }

    #[test]
    fn a_fault_of_the_relay_says_nothing_about_the_node() {
        let outcome = Outcome::of_connect(&io::ErrorKind::AddrNotAvailable.into());
        assert_eq!(outcome.success(), None);
        let outcome = Outcome::of_connect(&io::ErrorKind::HostUnreachable.into());
        assert_eq!(outcome.success(), Some(false));
    }
}
