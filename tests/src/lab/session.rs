//! A client's connection through SOCKS to the target's echoing server.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// The connection, past the SOCKS handshake and past the target's line that tells who serves it.
#[derive(Debug)]
pub struct Session {
    /// The client's end.
    pub stream: TcpStream,
    /// The client's own address and port.
    pub client: SocketAddr,
    /// The address that the target sees: IP-DANTEEXT of the node.
    pub node_seen_by_target: Ipv4Addr,
    /// The number of that node.
    pub node: usize,
}
