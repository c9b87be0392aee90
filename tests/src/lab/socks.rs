//! SOCKS from the client's end, written from the RFCs: it shares no code with the redirector's checks, and unlike
//! a library's it lets a test choose how the bytes are cut and shows what the proxy answered.
//!
//! | module | for |
//! |---|---|
//! | [`wire`] | the bytes |
//! | [`client`] | CONNECT, also of SOCKS4, and BIND |
//! | [`udp`] | UDP ASSOCIATE and its datagrams |

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

pub mod client;
pub mod udp;
pub mod wire;

pub use client::{Binding, Connection, Delivery, SocksClient};
pub use udp::{Association, Datagram, Habit};
pub use wire::Reply;

/// Why the proxy does not do what the client wants.
#[derive(Debug, Error)]
pub enum SocksError {
    /// The client's namespace can't be entered.
    #[error("no client: {0:#}")]
    Host(anyhow::Error),
    /// No TCP connection to the proxy.
    #[error("can't connect from {from} to the proxy {proxy}: {source}")]
    Connect {
        /// The client.
        from: IpAddr,
        /// The proxy, as the client knows it.
        proxy: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The conversation with the proxy ended.
    #[error("the proxy went silent or away: {0}")]
    Talk(#[from] io::Error),
    /// The proxy wants another way to log in than the client has.
    #[error("the proxy answered the greeting with {0:02x?}")]
    Method([u8; 2]),
    /// The proxy does not know the name, or the password is another.
    #[error("the proxy answered the login with {0:02x?}")]
    Login([u8; 2]),
    /// The proxy says no.
    #[error("the proxy refused: reply code {}", .0.code)]
    Refused(Reply),
}

/// Connects from the address `from` of the caller's namespace to `to`.
///
/// # Errors
/// What the kernel says.
pub fn connect_from(
    from: impl Into<IpAddr>,
    to: impl Into<SocketAddr>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let (from, to) = (from.into(), to.into());
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), timeout)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one line, up to 64 KiB, without its end.
///
/// # Errors
/// When the connection ends before the line does.
pub fn read_line(stream: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 65_536 {
        stream.read_exact(&mut byte).context("no line came")?;
        if byte == *b"\n" {
            break;
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
