//! The agent's side of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, chown};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch as flag};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::events::Events;
use super::place::{directory_of, is_listened_on};
use super::protocol::{Request, Response};
use super::tap::{Outlet, pour, tap};
use super::watch::{Watchers, watch};

/// Longest request, in bytes, the line's end included.
const MAX_REQUEST: usize = 256 << 10;
/// Most connections at a time; the next ones wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send a request or to read an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the agent may take to answer.
const AGENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients that the kernel lets wait.
const BACKLOG: i32 = 1024;
/// How long another agent may take to put its socket in place.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Only the agent's user may speak with it, and root.
const MODE: u32 = 0o600;
/// So may a group.
const MODE_WITH_GROUP: u32 = 0o660;

/// A request on its way to the agent's loop.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Takes the answer. Dropping it answers that the agent is stopping.
    pub reply: oneshot::Sender<Response>,
    /// With [`Request::Capture`]: where the packets go.
    pub outlet: Option<Outlet>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another agent answers there.
    #[error(
        "another agent is listening on {}; stop it with `redirector stop`, or choose another \
         socket with --socket", .0.display()
    )]
    Taken(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{} exists and is no socket; remove it or choose another one with --socket", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refuses.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
}

/// Listens on the control socket; dropping it removes the socket.
pub struct Server {
    path: PathBuf,
    inode: (u64, u64),
    stop: flag::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path`, for the agent's user and for `group`, sends every request to `calls`, and lets clients watch
    /// `events`. A socket that a killed agent left there is replaced; the directory is made if it is missing.
    ///
    /// # Errors
    /// [`ServerError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        path: &Path,
        group: Option<Gid>,
        calls: mpsc::Sender<Call>,
        events: Events,
    ) -> Result<Self, ServerError> {
        let (listener, inode) = bind(path, group)?;
        let (stop, stopped) = flag::channel(false);
        let accepting = Some(tokio::spawn(accept(
            listener,
            calls,
            Watchers::new(events),
            stopped,
        )));
        Ok(Self {
            path: path.to_owned(),
            inode,
            stop,
            accepting,
        })
    }

    /// Takes no more requests, waits a moment for answers that are on their way, and removes the
    /// socket. To be called after the last [`Call`] was answered and before the process ends.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(accepting) = self.accepting.take() {
            // A client that does not read its answer must not keep the agent from ending.
            let abort = accepting.abort_handle();
            if timeout(Duration::from_secs(1), accepting).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        // Another agent may have taken the path over.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn bind(path: &Path, group: Option<Gid>) -> Result<(UnixListener, (u64, u64)), ServerError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| ServerError::Io {
            action,
            path,
            cause,
        }
    };
    let directory = directory_of(path);
    fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    // Two agents that start at once must not both take the socket for stale.
    let handle = fs::File::open(directory).map_err(failed("open the directory", directory))?;
    let _lock = lock(handle).map_err(failed("lock the directory", directory))?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket(path.to_owned()));
        }
        Ok(_) => {
            if is_listened_on(path).map_err(failed("find out who listens on", path))? {
                return Err(ServerError::Taken(path.to_owned()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(failed("look at", path)(cause)),
    }
    // Made under another name, and heard only when all is set, so that it never can be reached with other rights than
    // these.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = directory.join(name);
    let _ = fs::remove_file(&draft);
    let mode = group.map_or(MODE, |_| MODE_WITH_GROUP);
    let placed = (|| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(&draft)?)?;
        chown(&draft, None, group)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(mode))?;
        let inode = inode(&draft)?;
        socket.listen(BACKLOG)?;
        fs::rename(&draft, path)?;
        Ok((UnixListener::from_std(socket.into())?, inode))
    })();
    placed.map_err(|cause| {
        let _ = fs::remove_file(&draft);
        failed("listen on", path)(cause)
    })
}

/// Locks the directory of the socket. Everybody who can read it can lock it too, and must not keep the agent from starting
/// by that: no agent takes longer than [`LOCK_TIMEOUT`].
fn lock(mut directory: fs::File) -> io::Result<Option<Flock<fs::File>>> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() > until => {
                log::warn!("somebody has locked the directory of the control socket for long");
                return Ok(None);
            }
            Err((unlocked, Errno::EWOULDBLOCK)) => directory = unlocked,
            Err((_, errno)) => return Err(errno.into()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn accept(
    listener: UnixListener,
    calls: mpsc::Sender<Call>,
    watchers: Watchers,
    mut stop: flag::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match stream {
            Ok((stream, _)) => {
                let (calls, watchers, stop) = (calls.clone(), watchers.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = serve(stream, &calls, &watchers, stop).await {
                        log::debug!("a client of the control socket went away: {error}");
                    }
                });
            }
            Err(error) => {
                log::warn!("the control socket cannot accept a client: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    mut stream: UnixStream,
    calls: &mpsc::Sender<Call>,
    watchers: &Watchers,
    mut stop: flag::Receiver<bool>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = tokio::select! {
            line = timeout(CLIENT_TIMEOUT, read_line(&mut reader)) => line,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let (response, last) = match line {
            Ok(line) => match line? {
                Line::End => return Ok(()),
                Line::TooLong => (
                    error(format!("the request is longer than {MAX_REQUEST} bytes")),
                    true,
                ),
                Line::Text(text) => match serde_json::from_slice(&text) {
                    Ok(Request::Monitor { recent }) => match watchers.join(recent) {
                        Ok(watcher) => return watch(watcher, reader, writer, stop).await,
                        Err(refusal) => (error(refusal), false),
                    },
                    Ok(request @ Request::Capture(_)) => {
                        let (outlet, tap) = tap();
                        let response = answer(request, Some(outlet), calls).await;
                        if matches!(response, Response::Capturing { .. }) {
                            write(&mut writer, &response).await?;
                            return pour(tap, reader, writer, stop).await;
                        }
                        (response, false)
                    }
                    Ok(request) => (answer(request, None, calls).await, false),
                    Err(problem) => (
                        error(format!(
                            "the request was not understood ({problem}); are agent and command of one \
                             version?"
                        )),
                        false,
                    ),
                },
            },
            Err(_) => (error(format!("no request within {CLIENT_TIMEOUT:?}")), true),
        };
        write(&mut writer, &response).await?;
        if last {
            return Ok(());
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), response: &Response) -> io::Result<()> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    timeout(CLIENT_TIMEOUT, writer.write_all(&text)).await?
}

enum Line {
    Text(Vec<u8>),
    TooLong,
    End,
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Line> {
    let mut line = Vec::new();
    reader
        .take(MAX_REQUEST as u64)
        .read_until(b'\n', &mut line)
        .await?;
    Ok(match line.last() {
        Some(b'\n') => Line::Text(line),
        Some(_) if line.len() >= MAX_REQUEST => Line::TooLong,
        // A client that ended within a line may have meant something else.
        None | Some(_) => Line::End,
    })
}

async fn answer(request: Request, outlet: Option<Outlet>, calls: &mpsc::Sender<Call>) -> Response {
    let (reply, response) = oneshot::channel();
    let call = Call {
        request,
        reply,
        outlet,
    };
    if calls.send(call).await.is_err() {
        return error("the agent is stopping");
    }
    match timeout(AGENT_TIMEOUT, response).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => error("the agent is stopping"),
        Err(_) => error(format!(
            "the agent did not answer within {AGENT_TIMEOUT:?}; see its log"
        )),
    }
}

fn error(message: impl Into<String>) -> Response {
    Response::Error {
        message: message.into(),
    }
}
