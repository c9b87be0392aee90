//! A SYN flood from invented sources, with correct checksums and a bound.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use etherparse::PacketBuilder;
use rand::Rng as _;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::netns::Netns;

/// A running flood; it ends by itself after `count` packets, or when dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Flood {
    /// Starts to send `count` SYNs, `rate` in a second, from `netns` to `to`. Their sources are random
    /// addresses of 198.18.0.0/15 with random ports.
    ///
    /// # Errors
    /// When raw sockets are not allowed.
    pub fn start(netns: &Netns, to: SocketAddrV4, count: u64, rate: u32) -> Result<Self> {
        let socket = netns
            .run(|| {
                let socket = Socket::new(
                    Domain::IPV4,
                    Type::RAW,
                    Some(Protocol::from(nix::libc::IPPROTO_RAW)),
                )?;
                socket.set_header_included_v4(true)?;
                std::io::Result::Ok(socket)
            })?
            .context("can't make a raw socket; the flood needs root (CAP_NET_RAW)")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || send(&socket, to, count, rate, &stopped))
            .context("can't start a thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it at once and returns how many SYNs were sent.
    ///
    /// # Errors
    /// When sending failed.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for the end and returns how many SYNs were sent.
    ///
    /// # Errors
    /// When sending failed.
    pub fn finish(mut self) -> Result<u64> {
        let thread = self.thread.take().context("the flood has ended")?;
        thread
            .join()
            .map_err(|_| anyhow!("the flooding thread panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its result interests nobody any more.
            let _ = thread.join();
        }
    }
}

fn send(
    socket: &Socket,
    to: SocketAddrV4,
    count: u64,
    rate: u32,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut random = rand::rng();
    let start = Instant::now();
    let mut packet = Vec::new();
    for sent in 0..count {
        if stop.load(Ordering::Relaxed) {
            return Ok(sent);
        }
        // Sleeps are coarse; a few packets at a time keep the rate true.
        if sent % 16 == 0 {
            let due = start + Duration::from_micros(sent * 1_000_000 / u64::from(rate.max(1)));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let source = Ipv4Addr::from_bits(
            Ipv4Addr::new(198, 18, 0, 0).to_bits() | random.random_range(0..1 << 17),
        );
        packet.clear();
        PacketBuilder::ipv4(source.octets(), to.ip().octets(), 64)
            .tcp(
                random.random_range(1024..=u16::MAX),
                to.port(),
                random.random(),
                64_240,
            )
            .syn()
            .write(&mut packet, &[])
            .context("can't build a SYN")?;
        match socket.send_to(&packet, &SockAddr::from(to)) {
            Err(error) if error.raw_os_error() != Some(nix::libc::ENOBUFS) => {
                return Err(error).with_context(|| format!("can't send a SYN to {to}"));
            }
            _ => {}
        }
    }
    Ok(count)
}
