//! Streams that are as fast as they get, and how fast that is.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::lab::{Netns, plan::on_link_client, socks::connect_from};

/// Streams at a time.
pub(super) const STREAMS: usize = 4;
/// Bytes that are written or read at once.
const PIECE: usize = 128 * 1024;
/// A stream that stands still for so long is broken.
const TIMEOUT: Duration = Duration::from_secs(5);
const UP: u8 = b'u';
const DOWN: u8 = b'd';

/// Where the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From clients to nodes.
    Up,
    /// From nodes to clients.
    Down,
}

/// What is at the node's end; it listens until it is dropped.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(host: &Netns, address: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let listener = host
            .run(|| TcpListener::bind((address, port)))?
            .with_context(|| format!("can't listen on {address}:{port} in {}", host.name()))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        // It ends with its client, or when that is silent.
                        std::thread::spawn(move || serve(stream));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// The first byte says who speaks. A client that has spoken is told how much has come.
fn serve(mut stream: TcpStream) {
    let mut piece = vec![0; PIECE];
    let ready = stream.set_nonblocking(false).is_ok()
        && stream.set_read_timeout(Some(TIMEOUT)).is_ok()
        && stream.set_write_timeout(Some(TIMEOUT)).is_ok();
    if !ready || stream.read_exact(&mut piece[..1]).is_err() {
        return;
    }
    if piece[0] == DOWN {
        while stream.write_all(&piece).is_ok() {}
        return;
    }
    let mut bytes: u64 = 0;
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        bytes += length as u64;
    }
    // The client notices where it is not told.
    let _ = stream.write_all(&bytes.to_be_bytes());
}

/// Gbit/s of all streams together.
pub(super) fn rate(
    host: &Netns,
    server: impl Fn(usize) -> SocketAddrV4 + Sync,
    direction: Direction,
    period: Duration,
) -> anyhow::Result<f64> {
    let server = &server;
    let rates: Vec<anyhow::Result<f64>> = std::thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|client| {
                scope.spawn(move || {
                    host.run(|| one(on_link_client(client), server(client), direction, period))?
                })
            })
            .collect();
        let joined = streams.into_iter().map(|stream| match stream.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    rates.into_iter().sum()
}

/// Gbit/s of one stream.
fn one(
    from: Ipv4Addr,
    to: SocketAddrV4,
    direction: Direction,
    period: Duration,
) -> anyhow::Result<f64> {
    let mut stream = connect_from(from, to, TIMEOUT).context("can't connect")?;
    let mut piece = vec![0; PIECE];
    let start = Instant::now();
    let mut bytes: u64 = 0;
    match direction {
        Direction::Up => {
            stream.write_all(&[UP])?;
            while start.elapsed() < period {
                stream.write_all(&piece).context("can't send")?;
                bytes += PIECE as u64;
            }
            stream.shutdown(Shutdown::Write)?;
            let mut told = [0; 8];
            stream
                .read_exact(&mut told)
                .context("the node does not tell what has come")?;
            let told = u64::from_be_bytes(told);
            ensure!(told == bytes, "{bytes} bytes were sent, {told} have come");
        }
        Direction::Down => {
            stream.write_all(&[DOWN])?;
            while start.elapsed() < period {
                match stream.read(&mut piece) {
                    Ok(0) => break,
                    Ok(length) => bytes += length as u64,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("can't receive"),
                }
            }
            ensure!(bytes > 0, "nothing has come");
        }
    }
    Ok(bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9)
}
