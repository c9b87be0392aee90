//! The SOCKS server of a node: Debian's Dante, or where that can't be had an embedded stand-in.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::netns::Netns;
use super::plan::SOCKS_PORT;

mod dante;
mod embedded;

pub use dante::{PASSWORD, USER};

/// Which SOCKS server the nodes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dante's daemon, with its path.
    Dante(PathBuf),
    /// The crate fast-socks5, in a thread.
    Embedded,
}

impl Kind {
    /// Dante if it is installed.
    pub fn find() -> Self {
        [
            "/usr/sbin/danted",
            "/usr/sbin/sockd",
            "/usr/local/sbin/sockd",
        ]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .map_or(Self::Embedded, Self::Dante)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dante(path) => write!(formatter, "Dante ({})", path.display()),
            Self::Embedded => {
                formatter.write_str("an embedded SOCKS5 server (Dante is not installed)")
            }
        }
    }
}

/// What a server is to do.
#[derive(Clone, Debug)]
pub struct Duty {
    /// The addresses that it listens on.
    pub inside: Vec<IpAddr>,
    /// The addresses that it speaks to targets from, one of each family.
    pub outside: Vec<IpAddr>,
    /// Whether clients must log in as [`USER`] with [`PASSWORD`]; they may in any case.
    pub login_required: bool,
}

/// A running server; killed, without a word to its clients' peers beyond what the kernel says, when dropped.
#[derive(Debug)]
pub struct SocksServer {
    log: PathBuf,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Dante(Child),
    Embedded(#[expect(dead_code, reason = "it ends when dropped")] embedded::Server),
}

impl SocksServer {
    /// Starts it in `netns` and waits until it listens. Its log is appended to `log`; other files are made beside
    /// it.
    ///
    /// # Errors
    /// When it can't be started or does not listen within five seconds; the error holds its log.
    pub fn start(kind: &Kind, netns: &Netns, duty: &Duty, log: &Path) -> Result<Self> {
        let running = match kind {
            Kind::Dante(program) => Running::Dante(dante::start(program, netns, duty, log)?),
            Kind::Embedded => Running::Embedded(embedded::Server::start(netns, duty, log)?),
        };
        let server = Self {
            log: log.to_owned(),
            running,
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !netns.run(|| duty.inside.iter().all(|address| listens(*address)))? {
            if Instant::now() > deadline {
                bail!(
                    "no SOCKS server listens on port {SOCKS_PORT} of {:?} after 5 s; its log: {}",
                    duty.inside,
                    server.log()?
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// What it has logged.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("can't read {}", self.log.display()))
    }
}

impl Drop for SocksServer {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Dante(child) => {
                // Dante has several processes; they share the group that it was started in.
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                let _ = child.wait();
            }
            Running::Embedded(_) => {}
        }
    }
}

/// Reads the kernel's table, since a connection to find out would leave its mark in the log.
fn listens(address: IpAddr) -> bool {
    let (table, bytes) = match address {
        IpAddr::V4(address) => ("tcp", address.octets().to_vec()),
        IpAddr::V6(address) => ("tcp6", address.octets().to_vec()),
    };
    // Every four bytes are a number in the machine's order.
    let words = bytes.chunks_exact(4).map(|word| {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        format!("{word:08X}")
    });
    let local = format!("{}:{SOCKS_PORT:04X}", words.collect::<String>());
    fs::read_to_string(format!("/proc/thread-self/net/{table}")).is_ok_and(|table| {
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(local.as_str()) && words.nth(1) == Some("0A")
        })
    })
}

fn append(log: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("can't write {}", log.display()))
}
