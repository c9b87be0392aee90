//! A client's connection through SOCKS to the target's echoing server.

use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context as _, Result};

use super::plan;
use super::socks;

/// The connection, past the SOCKS handshake and past the target's line that tells who serves it.
#[derive(Debug)]
pub struct Session {
    /// The client's end.
    pub stream: TcpStream,
    /// The client's own address and port.
    pub client: SocketAddr,
    /// The address that the target sees: IP-DANTEEXT of the node.
    pub node_seen_by_target: IpAddr,
    /// The number of that node.
    pub node: usize,
}

impl Session {
    /// Makes one of a connection that has just reached the target's echoing server.
    ///
    /// # Errors
    /// When the target's line does not come, or it sees someone who is not a node.
    pub fn meet_target(mut stream: TcpStream) -> Result<Self> {
        let line = socks::read_line(&mut stream)?;
        let seen: SocketAddr = line
            .parse()
            .with_context(|| format!("not an address: {line}"))?;
        let node =
            plan::node_of_outside(seen.ip()).with_context(|| format!("{seen} is no node"))?;
        let client = stream.local_addr().context("no local address")?;
        Ok(Self {
            stream,
            client,
            node_seen_by_target: seen.ip(),
            node,
        })
    }
}
