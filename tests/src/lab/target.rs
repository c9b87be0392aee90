//! The host that the clients want to reach: it tells who is connected, echoes, and serves one page, over IPv4
//! and IPv6.
//!
//! It sees the nodes' outside addresses (IP-DANTEEXT), which tells which node serves a client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::netns::Netns;
use super::plan::{ECHO, Family, HTTP, WHO};
use super::target_datagrams::{self, Answer};
use super::transfer;

/// The target's servers; they end when dropped.
#[derive(Debug)]
pub struct Target {
    state: Arc<State>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Target {
    /// Starts the servers in `netns`.
    ///
    /// # Errors
    /// When an address can't be bound.
    pub fn start(netns: &Netns) -> Result<Self> {
        let mut target = Self {
            state: Arc::default(),
            threads: Vec::new(),
        };
        for (what, address, serve) in [
            ("echo", ECHO, echo as fn(TcpStream) -> Result<()>),
            ("http", HTTP, http as fn(TcpStream) -> Result<()>),
        ]
        .into_iter()
        .flat_map(|(what, address, serve)| {
            Family::ALL.map(|family| (what, family.endpoint(address), serve))
        }) {
            let listener = netns
                .run(|| TcpListener::bind(address))?
                .with_context(|| format!("can't listen on {address} in {}", netns.name()))?;
            listener
                .set_nonblocking(true)
                .context("can't make a listener non-blocking")?;
            let state = Arc::clone(&target.state);
            target.threads.push(
                std::thread::Builder::new()
                    .name(what.to_owned())
                    .spawn(move || accept(&listener, &state, serve))
                    .context("can't start a thread")?,
            );
        }
        for (what, address, answer) in [
            ("udp-echo", ECHO, target_datagrams::echo as Answer),
            ("udp-who", WHO, target_datagrams::who as Answer),
        ]
        .into_iter()
        .flat_map(|(what, address, answer)| {
            Family::ALL.map(|family| (what, family.endpoint(address), answer))
        }) {
            let socket = target_datagrams::bind(netns, address)?;
            let state = Arc::clone(&target.state);
            target.threads.push(
                std::thread::Builder::new()
                    .name(what.to_owned())
                    .spawn(move || {
                        target_datagrams::serve(&socket, answer, || {
                            state.stop.load(Ordering::Relaxed)
                        })
                    })
                    .context("can't start a thread")?,
            );
        }
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        for connection in self
            .state
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            // One that has ended already is fine.
            let _ = connection.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            // A server that failed has failed its clients too, and they have said so.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, state: &State, serve: fn(TcpStream) -> Result<()>) -> Result<()> {
    let mut threads: Vec<JoinHandle<Result<()>>> = Vec::new();
    while !state.stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream
            .set_nonblocking(false)
            .context("can't make a connection blocking")?;
        let copy = stream.try_clone().context("can't keep a connection")?;
        state
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(copy);
        threads.retain(|thread| !thread.is_finished());
        threads.push(std::thread::spawn(move || serve(stream)));
    }
    Ok(())
}

/// The peer's address and port in a line, then everything back, as long as records come in order.
fn echo(mut stream: TcpStream) -> Result<()> {
    let peer = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{peer}\n").as_bytes())?;
    let mut check = transfer::Checker::default();
    let mut buffer = [0; 16_384];
    loop {
        let length = stream.read(&mut buffer)?;
        // Dropping the stream tells the client that its bytes arrived wrong.
        if length == 0 || check.feed(&buffer[..length]).is_err() {
            break;
        }
        stream.write_all(&buffer[..length])?;
    }
    // The other handle, kept to end the connection with the lab, would hold it open.
    stream
        .shutdown(Shutdown::Both)
        .context("can't end a connection")
}

fn http(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let peer = stream.peer_addr()?;
    let mut request: Vec<u8> = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 16_384 {
        match stream.read(&mut buffer)? {
            0 => break,
            length => request.extend(&buffer[..length]),
        }
    }
    let body = format!("hello from the target; you are {peer}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes())?;
    stream
        .shutdown(Shutdown::Both)
        .context("can't end a connection")
}
