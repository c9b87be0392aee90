//! UDP ASSOCIATE, in the two ways that clients are written.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use super::SocksError;
use super::client::SocksClient;
use super::wire::{self, Command, Reply};

/// What a client makes of BND.ADDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// It sends to BND.ADDR, as RFC 1928 says, and announces no address: it does not know it yet.
    ObeysReply,
    /// It sends to the proxy that it knows and takes only the port from the reply; it announces its own
    /// port and no address (`PySocks` and others).
    KeepsToProxy,
}

impl Habit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ObeysReply, Self::KeepsToProxy];
}

/// Datagrams through the proxy, as long as the control connection lives.
#[derive(Debug)]
pub struct Association {
    /// The control connection; when it goes, the association ends.
    pub control: TcpStream,
    /// What the proxy answered.
    pub reply: Reply,
    /// Where the client sends its datagrams.
    pub relay: SocketAddr,
    /// The client's end of the datagrams.
    pub socket: UdpSocket,
}

/// A datagram that has come to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, by its IP and UDP headers.
    pub sender: SocketAddr,
    /// Who sent it to the proxy, by its SOCKS header.
    pub origin: SocketAddr,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl SocksClient<'_> {
    /// UDP ASSOCIATE.
    ///
    /// # Errors
    /// When the proxy refuses.
    pub fn associate(&self, habit: Habit) -> Result<Association, SocksError> {
        let (from, timeout) = (self.from(), self.timeout());
        let socket = self
            .host()
            .run(|| UdpSocket::bind((from, 0)))
            .map_err(SocksError::Host)??;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        let nowhere = match from {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let port = match habit {
            Habit::ObeysReply => 0,
            Habit::KeepsToProxy => socket.local_addr()?.port(),
        };
        let (control, reply) = self.ask(Command::Associate, SocketAddr::new(nowhere, port))?;
        let relay = match habit {
            Habit::ObeysReply => reply.bound,
            Habit::KeepsToProxy => SocketAddr::new(self.proxy().ip(), reply.bound.port()),
        };
        Ok(Association {
            control,
            reply,
            relay,
            socket,
        })
    }
}

impl Association {
    /// Sends `payload` to `target` through the proxy.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, target: impl Into<SocketAddr>, payload: &[u8]) -> io::Result<()> {
        let datagram = wire::wrap(target.into(), payload);
        self.socket.send_to(&datagram, self.relay).map(drop)
    }

    /// Waits for a datagram, from whomever.
    ///
    /// # Errors
    /// When none comes in time, or it has no good SOCKS header.
    pub fn receive(&self) -> io::Result<Datagram> {
        let mut buffer = vec![0; 65_536];
        let (length, sender) = self.socket.recv_from(&mut buffer)?;
        let (origin, payload) = wire::unwrap(&buffer[..length])?;
        Ok(Datagram {
            sender,
            origin,
            payload: payload.to_vec(),
        })
    }

    /// [`Association::send`], then [`Association::receive`].
    ///
    /// # Errors
    /// Like them.
    pub fn exchange(&self, target: impl Into<SocketAddr>, payload: &[u8]) -> io::Result<Datagram> {
        self.send(target, payload)?;
        self.receive()
    }
}
