//! Connections and their limits.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener as BlockingListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::thread::CapabilitySet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::routes::{Shared, routes};
use super::source::{Ask, Source};
use crate::config;
use crate::control::Call;
use crate::privileges;
use crate::secret::{self, Secret, SecretFileError};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of a request, or stay idle between two.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may leave what it was sent unread, in milliseconds (tcp(7), `TCP_USER_TIMEOUT`).
const READ_WITHIN_MS: u32 = 10_000;
/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Longest token file, in bytes.
const MAX_TOKEN: u64 = 4096;
/// Shortest token, in bytes: what can be guessed is none.
const MIN_TOKEN: usize = 16;

/// Why there is no HTTP server.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It cannot listen.
    #[error(
        "cannot listen for HTTP on {listen}: {cause}; is it an address of this host that nobody else uses?"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The token's file cannot be used for a secret.
    #[error("token file: {0}")]
    File(#[from] SecretFileError),
    /// The token cannot be read.
    #[error("cannot read the token file {}: {cause}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The token is none.
    #[error("the token file {} {problem}", path.display())]
    BadToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
    /// There is no thread for it.
    #[error("cannot start the HTTP server: {0}")]
    Thread(io::Error),
}

/// What a server needs: all that can be wrong with it is found out before the one before it ends.
#[derive(Debug)]
pub struct Prepared {
    config: config::Http,
    token: Option<Secret>,
    listener: BlockingListener,
    address: SocketAddr,
}

impl Prepared {
    /// Listens, and reads the token. A server that listens there already shares its socket: nobody else can take the address in
    /// between, and an agent that has given up its privileges keeps a port that it could not have again.
    ///
    /// # Errors
    /// [`HttpError`]
    pub fn new(config: &config::Http, before: Option<&Http>) -> Result<Self, HttpError> {
        let token = token_of(config)?;
        let failed = |cause| HttpError::Listen {
            listen: config.listen,
            cause,
        };
        let listener = match before.filter(|before| before.listens_at(config.listen)) {
            Some(before) => before.listener.try_clone(),
            None => BlockingListener::bind(config.listen),
        };
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            config: config.clone(),
            token,
            listener,
        })
    }
}

/// The server; dropping it ends it and every connection.
#[derive(Debug)]
pub struct Http {
    config: config::Http,
    /// For a server that listens there after it.
    listener: BlockingListener,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Http {
    fn listens_at(&self, listen: SocketAddr) -> bool {
        // One that was asked for any port has another by now.
        [self.config.listen, self.address].contains(&listen)
    }

    /// Serves from a thread of its own. Snapshots are asked for by `ask`, actions by `calls`.
    ///
    /// # Errors
    /// [`HttpError::Thread`]
    pub fn start(
        prepared: Prepared,
        ask: mpsc::Sender<Ask>,
        calls: mpsc::Sender<Call>,
    ) -> Result<Self, HttpError> {
        let Prepared {
            config,
            token,
            listener,
            address,
        } = prepared;
        let kept = listener.try_clone().map_err(HttpError::Thread)?;
        let shared = Shared::new(Source::new(ask), calls, config.hosts.clone(), token);
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HttpError::Thread)?;
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let bare = privileges::keep(CapabilitySet::empty());
                let is_bare = bare.is_ok();
                // Whoever waits for it is in the same function.
                let _ = tell.send(bare);
                if !is_bare {
                    return;
                }
                runtime.block_on(async {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => accept(listener, routes(shared), stopped).await,
                        Err(error) => log::error!("{}", failed_later(address, error)),
                    }
                });
                // Connections that still wait for something must not keep the thread.
                runtime.shutdown_background();
            })
            .map_err(HttpError::Thread)?;
        let bare = told.recv().map_err(io::Error::other);
        bare.and_then(|bare| bare).map_err(HttpError::Thread)?;
        if !address.ip().is_loopback() {
            log::warn!(
                "HTTP on {address}: whoever can reach it may read metrics and status; let it listen on \
                 127.0.0.1 or keep others away by a firewall"
            );
        }
        log::info!("metrics and status page on http://{address}/");
        Ok(Self {
            config,
            listener: kept,
            address,
            stop,
        })
    }

    /// What it was started with.
    pub fn config(&self) -> &config::Http {
        &self.config
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn failed_later(listen: SocketAddr, cause: io::Error) -> HttpError {
    HttpError::Listen { listen, cause }
}

/// The token that allows actions, if there is one.
///
/// # Errors
/// It can't be read, or is no good.
pub(crate) fn token_of(config: &config::Http) -> Result<Option<Secret>, HttpError> {
    config.token_file.as_deref().map(token_in).transpose()
}

/// Reads the token: one line that only its owner and group can read.
pub(crate) fn token_in(path: &Path) -> Result<Secret, HttpError> {
    let failed = |cause| HttpError::Token {
        path: path.to_owned(),
        cause,
    };
    let bad = |problem| HttpError::BadToken {
        path: path.to_owned(),
        problem,
    };
    let mut text = String::new();
    secret::open(path)?
        .take(MAX_TOKEN)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let token = text.trim();
    if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(
            "must hold one word of at least 16 visible ASCII characters; make one with: openssl rand -hex 32",
        ));
    }
    Ok(Secret::new(token))
}

async fn accept(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = tokio::select! {
            // Whoever comes after that is the next server's.
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let router = router.clone();
                    tokio::spawn(async move {
                        serve(stream, router).await;
                        drop(place);
                    });
                }
                Err(_) => refuse(&stream),
            },
            Err(error) => {
                log::warn!("the HTTP server cannot accept a client: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Tells a client that there are too many, without waiting for it.
fn refuse(stream: &TcpStream) {
    // Whether it hears that is its own affair.
    let _ = stream.try_write(
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 21\r\n\
          retry-after: 5\r\n\r\ntoo many connections\n",
    );
}

async fn serve(mut stream: TcpStream, router: Router) {
    if let Err(error) = setsockopt(&stream, sockopt::TcpUserTimeout, &READ_WITHIN_MS) {
        log::debug!("a client of the HTTP server may read slowly: {error}");
    }
    let heard = Arc::new(AtomicBool::new(false));
    let noting = {
        let heard = Arc::clone(&heard);
        router.layer(axum::middleware::map_request(
            move |request: axum::extract::Request| {
                heard.store(true, Ordering::Relaxed);
                std::future::ready(request)
            },
        ))
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(&mut stream), TowerToHyperService::new(noting))
        .await;
    if let Err(error) = connection {
        log::debug!("a client of the HTTP server went wrong: {error}");
        // One that has been answered and is just idle needs no more words.
        if error.is_timeout() && !heard.load(Ordering::Relaxed) {
            let late =
                b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _ = timeout(HEAD_WITHIN, stream.write_all(late)).await;
        }
    }
}
