//! A SOCKS5 client (RFC 1928) that shares no code with the redirector's checks.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use super::netns::Netns;

/// Why there is no connection to the target.
#[derive(Debug, Error)]
pub enum SocksError {
    /// No TCP connection to the proxy.
    #[error("can't connect from {from} to the proxy {proxy}: {source}")]
    Connect {
        /// The client.
        from: Ipv4Addr,
        /// The proxy, as the client knows it.
        proxy: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// The conversation with the proxy ended.
    #[error("the proxy went silent or away: {0}")]
    Talk(#[from] io::Error),
    /// The proxy wants something else than no authentication.
    #[error("the proxy answered the greeting with {0:02x?}")]
    Method([u8; 2]),
    /// The proxy can't reach the target.
    #[error("the proxy refused to connect: reply code {0}")]
    Refused(u8),
}

/// Connects from the address `from` of `netns` to `target` through `proxy`. Every step, and later every
/// read and write, may take as long as `timeout`.
///
/// # Errors
/// The outer error when the namespace can't be entered, the inner one when there is no connection.
pub fn connect(
    netns: &Netns,
    from: Ipv4Addr,
    proxy: SocketAddrV4,
    target: SocketAddrV4,
    timeout: Duration,
) -> Result<Result<TcpStream, SocksError>> {
    netns.run(|| {
        let stream = connect_from(from, proxy, timeout).map_err(|source| SocksError::Connect {
            from,
            proxy,
            source,
        })?;
        greet(stream, target)
    })
}

/// Connects from the address `from` of the caller's namespace to `to`.
///
/// # Errors
/// What the kernel says.
pub fn connect_from(from: Ipv4Addr, to: SocketAddrV4, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&SocketAddr::V4(to).into(), timeout)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn greet(mut stream: TcpStream, target: SocketAddrV4) -> Result<TcpStream, SocksError> {
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    if method != [5, 0] {
        return Err(SocksError::Method(method));
    }
    let mut request = vec![5, 1, 0, 1];
    request.extend(target.ip().octets());
    request.extend(target.port().to_be_bytes());
    stream.write_all(&request)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    match reply[1] {
        0 => Ok(stream),
        code => Err(SocksError::Refused(code)),
    }
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
