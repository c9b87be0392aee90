//! The SOCKS server of a node: Debian's Dante, or where that can't be had an embedded stand-in.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fast_socks5::Socks5Command;
use fast_socks5::server::{DnsResolveHelper as _, Socks5ServerProtocol, run_tcp_proxy};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::oneshot;

use super::netns::Netns;
use super::plan::SOCKS_PORT;

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

/// A running server; killed, without a word to its clients' peers beyond what the kernel says, when dropped.
#[derive(Debug)]
pub struct SocksServer {
    log: PathBuf,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Dante(Child),
    Embedded {
        stop: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<Result<()>>>,
    },
}

impl SocksServer {
    /// Starts it on `inside` in `netns`, speaking to targets from `outside`, and waits until it listens.
    /// Its log is appended to `log`; other files are made beside it.
    ///
    /// # Errors
    /// When it can't be started or does not listen within five seconds; the error holds its log.
    pub fn start(
        kind: &Kind,
        netns: &Netns,
        inside: Ipv4Addr,
        outside: Ipv4Addr,
        log: &Path,
    ) -> Result<Self> {
        let running = match kind {
            Kind::Dante(program) => {
                Running::Dante(start_dante(program, netns, inside, outside, log)?)
            }
            Kind::Embedded => start_embedded(netns, inside, outside, log)?,
        };
        let server = Self {
            log: log.to_owned(),
            running,
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !netns.run(|| listens(inside))? {
            if Instant::now() > deadline {
                bail!(
                    "no SOCKS server listens on {inside}:{SOCKS_PORT} after 5 s; its log: {}",
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
            Running::Embedded { stop, thread } => {
                drop(stop.take());
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}

/// Reads the kernel's table, since a connection to find out would leave its mark in the log.
fn listens(address: Ipv4Addr) -> bool {
    let local = format!(
        "{:08X}:{SOCKS_PORT:04X}",
        u32::from_le_bytes(address.octets())
    );
    fs::read_to_string("/proc/thread-self/net/tcp").is_ok_and(|table| {
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(local.as_str()) && words.nth(1) == Some("0A")
        })
    })
}

fn start_dante(
    program: &Path,
    netns: &Netns,
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    log: &Path,
) -> Result<Child> {
    let config = log.with_extension("conf");
    let text = format!(
        "logoutput: stderr\n\
         internal: {inside} port = {SOCKS_PORT}\n\
         external: {outside}\n\
         clientmethod: none\n\
         socksmethod: none\n\
         user.privileged: root\n\
         user.unprivileged: nobody\n\
         client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 log: error connect disconnect }}\n\
         socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0\n  \
           command: connect bind udpassociate bindreply udpreply\n  \
           udp.portrange: 40000-40099\n  \
           log: error connect disconnect }}\n"
    );
    fs::write(&config, text).with_context(|| format!("can't write {}", config.display()))?;
    netns
        .command(program)
        .arg("-f")
        .arg(&config)
        .arg("-p")
        .arg(log.with_extension("pid"))
        .stdin(Stdio::null())
        .stdout(append(log)?)
        .stderr(append(log)?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start {}", program.display()))
}

fn append(log: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("can't write {}", log.display()))
}

fn start_embedded(
    netns: &Netns,
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    log: &Path,
) -> Result<Running> {
    let (stop, stopped) = oneshot::channel::<()>();
    let log = Arc::new(Mutex::new(append(log)?));
    let thread = netns.spawn("socks", move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("can't make a runtime for the embedded SOCKS server")?;
        runtime.block_on(async {
            tokio::select! {
                result = serve(SocketAddrV4::new(inside, SOCKS_PORT), outside, log) => result,
                // The sender is only ever dropped.
                _ = stopped => Ok(()),
            }
        })
    })?;
    Ok(Running::Embedded {
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn serve(listen: SocketAddrV4, outside: Ipv4Addr, log: Arc<Mutex<File>>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}"))?;
    loop {
        let (stream, client) = listener.accept().await.context("can't accept")?;
        let note = move |log: &Mutex<File>, what: &str| {
            // The same shape as Dante's line: address, dot, port.
            let line = format!(
                "{what}: {}.{} {}.{} ({outside})\n",
                client.ip(),
                client.port(),
                listen.ip(),
                listen.port()
            );
            let _ = log
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(line.as_bytes());
        };
        note(&log, "connect");
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            if let Err(error) = proxy(stream).await {
                note(&log, &format!("error {error:#}"));
            }
        });
    }
}

async fn proxy(stream: tokio::net::TcpStream) -> Result<()> {
    let (protocol, command, target) = Socks5ServerProtocol::accept_no_auth(stream)
        .await?
        .read_command()
        .await?
        .resolve_dns()
        .await?;
    match command {
        Socks5Command::TCPConnect => {
            run_tcp_proxy(protocol, &target, Duration::from_secs(10), true).await?;
        }
        Socks5Command::TCPBind | Socks5Command::UDPAssociate => {
            protocol
                .reply_error(&fast_socks5::ReplyError::CommandNotSupported)
                .await?;
        }
    }
    Ok(())
}
