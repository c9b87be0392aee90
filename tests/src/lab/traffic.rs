//! What clients and the target do with each other.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::plan::{ECHO, Family, HTTP, TARGET};
use super::socks::{SocksClient, connect_from};
use super::{Lab, Session};

impl Lab {
    /// A client of the SOCKS server at `via`.
    pub fn socks(&self, client: impl Into<IpAddr>, via: impl Into<SocketAddr>) -> SocksClient<'_> {
        let client = client.into();
        SocksClient::new(self.host_of_client(client), client, via)
    }

    /// Connects the target to `to`, as a BIND waits for it.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn call_from_target(&self, to: SocketAddr) -> Result<TcpStream> {
        let target = Family::of(to.ip()).address(TARGET);
        self.target_host()
            .run(|| connect_from(target, to, Duration::from_secs(5)))?
            .with_context(|| format!("the target can't connect to {to}"))
    }

    /// Connects a client through the SOCKS server at `via` to the target's echoing server, all in the client's
    /// family. No step may take longer than `timeout`.
    ///
    /// # Errors
    /// When there is no connection, or it came from someone who is not a node.
    pub fn connect_within(
        &self,
        client: impl Into<IpAddr>,
        via: impl Into<SocketAddr>,
        timeout: Duration,
    ) -> Result<Session> {
        let client = client.into();
        let target = Family::of(client).endpoint(ECHO);
        let connection = self.socks(client, via).within(timeout).connect(target)?;
        Session::meet_target(connection.stream)
    }

    /// [`Lab::connect_within`] five seconds.
    ///
    /// # Errors
    /// Like it.
    pub fn connect(
        &self,
        client: impl Into<IpAddr>,
        via: impl Into<SocketAddr>,
    ) -> Result<Session> {
        self.connect_within(client, via, Duration::from_secs(5))
    }

    /// Fetches the target's page through the SOCKS server at `via` and returns its body.
    ///
    /// # Errors
    /// When there is no connection or the answer is not HTTP's 200.
    pub fn fetch(&self, client: impl Into<IpAddr>, via: impl Into<SocketAddr>) -> Result<String> {
        let client = client.into();
        let target = Family::of(client).endpoint(HTTP);
        let mut stream = self.socks(client, via).connect(target)?.stream;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("the page did not come")?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => {
                Ok(body.trim_end().to_owned())
            }
            _ => bail!("the target answered {answer:?}"),
        }
    }
}
