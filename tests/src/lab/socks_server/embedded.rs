//! The crate fast-socks5 as a server: CONNECT without a login.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fast_socks5::Socks5Command;
use fast_socks5::server::{DnsResolveHelper as _, Socks5ServerProtocol, run_tcp_proxy};
use tokio::sync::oneshot;

use super::super::netns::Netns;
use super::super::plan::{Family, SOCKS_PORT};
use super::{Duty, append};

/// The server in its thread; both end when dropped.
#[derive(Debug)]
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    pub(super) fn start(netns: &Netns, duty: &Duty, log: &Path) -> Result<Self> {
        ensure!(
            !duty.login_required,
            "only Dante can require a login; install Debian's dante-server"
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let log = Arc::new(Mutex::new(append(log)?));
        let duty = duty.clone();
        let thread = netns.spawn("socks", move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("can't make a runtime for the embedded SOCKS server")?;
            runtime.block_on(async {
                let mut servers = tokio::task::JoinSet::new();
                for inside in duty.inside {
                    let mut outside = duty.outside.iter().copied();
                    let outside = outside
                        .find(|outside| Family::of(*outside) == Family::of(inside))
                        .with_context(|| format!("no outside address for {inside}"))?;
                    let listen = SocketAddr::new(inside, SOCKS_PORT);
                    servers.spawn(serve(listen, outside, Arc::clone(&log)));
                }
                tokio::select! {
                    // None of them ends but by an error.
                    Some(result) = servers.join_next() => result.context("the server panicked")?,
                    // The sender is only ever dropped.
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What it had to say is in the log.
            let _ = thread.join();
        }
    }
}

async fn serve(listen: SocketAddr, outside: IpAddr, log: Arc<Mutex<File>>) -> Result<()> {
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
