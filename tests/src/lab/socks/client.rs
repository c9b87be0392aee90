//! A client: it greets, logs in, and asks for a connection in one direction or the other.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use super::super::netns::Netns;
use super::wire::{self, Command, NO_LOGIN, PASSWORD, Reply, read_array};
use super::{SocksError, connect_from};

/// How a client cuts its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One message at a time, each when the answer to the last is there.
    InTurn,
    /// Everything in one write, before any answer.
    Pipelined,
    /// Like [`Delivery::InTurn`], but every byte in a segment of its own.
    ByteByByte,
}

impl Delivery {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::InTurn, Self::Pipelined, Self::ByteByByte];
}

/// Lets the kernel send one byte before it gets the next, also when its window is full.
const BETWEEN_BYTES: Duration = Duration::from_millis(1);
/// The user that a client of SOCKS4 names; nobody checks it.
const USER: &str = "somebody";

/// Who asks whom, and how. Every operation has its timeout, which the connections keep.
#[derive(Clone, Debug)]
pub struct SocksClient<'a> {
    host: &'a Netns,
    from: IpAddr,
    proxy: SocketAddr,
    login: Option<(String, String)>,
    delivery: Delivery,
    timeout: Duration,
}

/// A connection through the proxy.
#[derive(Debug)]
pub struct Connection {
    /// The client's end.
    pub stream: TcpStream,
    /// What the proxy answered.
    pub reply: Reply,
}

/// A proxy that waits for the target's connection.
#[derive(Debug)]
pub struct Binding {
    stream: TcpStream,
    /// The first reply: where the target is to connect to.
    pub reply: Reply,
}

impl<'a> SocksClient<'a> {
    /// A client with the address `from` of `host`, which sends no login and waits five seconds for an answer.
    pub fn new(host: &'a Netns, from: impl Into<IpAddr>, proxy: impl Into<SocketAddr>) -> Self {
        Self {
            host,
            from: from.into(),
            proxy: proxy.into(),
            login: None,
            delivery: Delivery::InTurn,
            timeout: Duration::from_secs(5),
        }
    }

    /// The same with a login, and with no other method to offer.
    #[must_use]
    pub fn login(mut self, name: &str, password: &str) -> Self {
        self.login = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// The same with bytes cut in another way.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The same with another patience.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// CONNECT of SOCKS5.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn connect(&self, target: impl Into<SocketAddr>) -> Result<Connection, SocksError> {
        let (stream, reply) = self.ask(Command::Connect, target.into())?;
        Ok(Connection { stream, reply })
    }

    /// CONNECT of SOCKS4. The protocol has nothing to pipeline and no password.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn connect4(&self, target: SocketAddrV4) -> Result<Connection, SocksError> {
        const GRANTED: u8 = 90;
        let mut stream = self.dial()?;
        self.send(&mut stream, &wire::request4(Command::Connect, target, USER))?;
        let reply = wire::read_reply4(&mut stream)?;
        match reply.code {
            GRANTED => Ok(Connection { stream, reply }),
            _ => Err(SocksError::Refused(reply)),
        }
    }

    /// BIND: the proxy is to wait for a connection from `peer`.
    ///
    /// # Errors
    /// When it does not.
    pub fn bind(&self, peer: impl Into<SocketAddr>) -> Result<Binding, SocksError> {
        let (stream, reply) = self.ask(Command::Bind, peer.into())?;
        Ok(Binding { stream, reply })
    }

    pub(super) fn host(&self) -> &'a Netns {
        self.host
    }

    pub(super) fn from(&self) -> IpAddr {
        self.from
    }

    pub(super) fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A whole handshake of SOCKS5, up to a reply that says yes.
    pub(super) fn ask(
        &self,
        command: Command,
        address: SocketAddr,
    ) -> Result<(TcpStream, Reply), SocksError> {
        let method = self.login.as_ref().map_or(NO_LOGIN, |_| PASSWORD);
        let greeting = wire::greeting(method);
        let login = self.login.as_ref();
        let login = login.map(|(name, password)| wire::login(name, password));
        let request = wire::request(command, address);
        let mut stream = self.dial()?;
        let pipelined = self.delivery == Delivery::Pipelined;
        if pipelined {
            let login = login.as_deref().unwrap_or_default();
            stream.write_all(&[&greeting, login, &request].concat())?;
        } else {
            self.send(&mut stream, &greeting)?;
        }
        let chosen = read_array(&mut stream)?;
        if chosen != [5, method] {
            return Err(SocksError::Method(chosen));
        }
        if let Some(login) = login {
            if !pipelined {
                self.send(&mut stream, &login)?;
            }
            let verdict = read_array(&mut stream)?;
            if verdict != [1, 0] {
                return Err(SocksError::Login(verdict));
            }
        }
        if !pipelined {
            self.send(&mut stream, &request)?;
        }
        let reply = wire::read_reply(&mut stream)?;
        match reply.code {
            0 => Ok((stream, reply)),
            _ => Err(SocksError::Refused(reply)),
        }
    }

    fn dial(&self) -> Result<TcpStream, SocksError> {
        self.host
            .run(|| connect_from(self.from, self.proxy, self.timeout))
            .map_err(SocksError::Host)?
            .map_err(|source| SocksError::Connect {
                from: self.from,
                proxy: self.proxy,
                source,
            })
    }

    /// The stream sends what it is given at once: it has `TCP_NODELAY`.
    fn send(&self, stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
        if self.delivery != Delivery::ByteByByte {
            return stream.write_all(message);
        }
        for byte in message {
            stream.write_all(&[*byte])?;
            std::thread::sleep(BETWEEN_BYTES);
        }
        Ok(())
    }
}

impl Binding {
    /// Waits for the second reply, which names who has connected.
    ///
    /// # Errors
    /// When nobody does.
    pub fn accept(mut self) -> Result<Connection, SocksError> {
        let reply = wire::read_reply(&mut self.stream)?;
        match reply.code {
            0 => Ok(Connection {
                stream: self.stream,
                reply,
            }),
            _ => Err(SocksError::Refused(reply)),
        }
    }
}
