//! What a relay's agent tells Prometheus, read by a reader of its own.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Netns;

/// Where the agents of the lab have their HTTP server, in the relay.
pub const HTTP: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9180);

/// Longer than the agent's HTTP server goes by what it knows.
const FRESH: Duration = Duration::from_millis(300);

/// The part of a configuration that makes one.
pub fn http_section() -> String {
    format!("\n[http]\nlisten = \"{}:{}\"\n", HTTP.0, HTTP.1)
}

/// Opens a connection from the caller's namespace, the relay's, and asks for `path`.
///
/// # Errors
/// When nobody listens.
pub fn ask(path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(SocketAddr::from(HTTP))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// What is scraped from the caller's namespace, the relay's, with the head of the answer and the lengths of its parts, which
/// are lines of their own.
///
/// # Errors
/// When there is no answer, or none that says that all is well.
pub fn scrape() -> Result<String> {
    let mut text = String::new();
    ask("/metrics")?.read_to_string(&mut text)?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "{text:.200}");
    ensure!(text.ends_with("\r\n0\r\n\r\n"), "the answer has no end");
    Ok(text)
}

/// Samples by their series.
#[derive(Clone, Debug)]
pub struct Samples(BTreeMap<String, String>);

impl Samples {
    /// Scrapes what is so from now on: who asks sooner may be told what somebody else was.
    ///
    /// # Errors
    /// Like [`scrape`].
    pub fn read(relay: &Netns) -> Result<Self> {
        std::thread::sleep(FRESH);
        let text = relay.run(scrape)??;
        let lines = text.lines().filter(|line| line.starts_with("redirector_"));
        let pairs = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').context("a sample without a value")?;
            Ok((series.to_owned(), value.to_owned()))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// The value of a series, a whole number.
    ///
    /// # Errors
    /// When there is no such series.
    pub fn whole(&self, series: &str) -> Result<u64> {
        let value = self.0.get(series);
        let value = value.with_context(|| format!("there is no {series}"))?;
        value.parse().with_context(|| format!("{series} {value}"))
    }

    /// The same; 0 where there is no such series.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number(&self, series: &str) -> Result<f64> {
        let value = self.0.get(series).map_or("0", String::as_str);
        value.parse().with_context(|| format!("{series} {value}"))
    }
}
