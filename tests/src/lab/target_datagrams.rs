//! The target's servers over UDP: one echoes, one tells who asks.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::netns::Netns;

/// What a server answers to a datagram.
pub(super) type Answer = fn(SocketAddr, &[u8]) -> Vec<u8>;

/// The same again.
pub(super) fn echo(_: SocketAddr, datagram: &[u8]) -> Vec<u8> {
    datagram.to_vec()
}

/// The sender's address and port.
pub(super) fn who(sender: SocketAddr, _: &[u8]) -> Vec<u8> {
    sender.to_string().into_bytes()
}

/// Binds a server's socket in `netns`; [`serve`] wants it.
///
/// # Errors
/// When the address can't be bound.
pub(super) fn bind(netns: &Netns, address: SocketAddr) -> Result<UdpSocket> {
    let socket = netns
        .run(|| UdpSocket::bind(address))?
        .with_context(|| format!("can't listen on {address} in {}", netns.name()))?;
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .context("can't set a timeout")?;
    Ok(socket)
}

/// Answers until `stopped` says so.
///
/// # Errors
/// When the socket can't be read.
pub(super) fn serve(socket: &UdpSocket, answer: Answer, stopped: impl Fn() -> bool) -> Result<()> {
    let mut buffer = vec![0; 65_536];
    while !stopped() {
        match socket.recv_from(&mut buffer) {
            Ok((length, sender)) => {
                // One who has gone in the meantime needs no answer.
                let _ = socket.send_to(&answer(sender, &buffer[..length]), sender);
            }
            // An ICMP error about an answer is reported at the next read; it is nobody's fault here.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => return Err(error).context("can't receive datagrams"),
        }
    }
    Ok(())
}
