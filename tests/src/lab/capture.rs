//! Captures the frames of one interface.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::frames;
use super::netns::Netns;

/// More than any test sends: a capture that grows without bound would take the machine down.
const MOST_FRAMES: usize = 200_000;
const BUFFER: usize = 32 << 20;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Vec<u8>>>>>,
}

impl Capture {
    /// Starts to capture what `interface` of `netns` sends and receives, from the Ethernet header on.
    ///
    /// # Errors
    /// When the interface is missing or raw sockets are not allowed.
    pub fn start(netns: &Netns, interface: &str) -> Result<Self> {
        let (descriptor, ifindex) = netns.run(|| open(interface))??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("capture {interface}"))
            .spawn(move || receive(&descriptor, ifindex, &stopped))
            .context("can't start a thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the capture and returns the frames.
    ///
    /// # Errors
    /// When receiving failed, or there were too many frames.
    pub fn stop(mut self) -> Result<Vec<Vec<u8>>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the capture has ended")?;
        thread
            .join()
            .map_err(|_| anyhow!("the capturing thread panicked"))?
    }

    /// Ends the capture, checks every frame and returns how many held TCP.
    ///
    /// # Errors
    /// When receiving failed or a frame has a fault; the error holds the frame.
    pub fn stop_and_check(self) -> Result<usize> {
        let mut tcp = 0;
        for frame in self.stop()? {
            match frames::check(&frame) {
                Ok(is_tcp) => tcp += usize::from(is_tcp),
                Err(fault) => return Err(anyhow!("{fault:?} in the frame {frame:02x?}")),
            }
        }
        Ok(tcp)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn open(interface: &str) -> Result<(OwnedFd, usize)> {
    let ifindex = if_nametoindex(interface)
        .with_context(|| format!("no interface {interface} to capture from"))?;
    let descriptor = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("can't make a packet socket; capturing needs root (CAP_NET_RAW)")?;
    setsockopt(&descriptor, sockopt::RcvBufForce, &BUFFER)
        .context("can't set the capture's buffer")?;
    setsockopt(
        &descriptor,
        sockopt::ReceiveTimeout,
        &TimeVal::new(0, 50_000),
    )
    .context("can't set a timeout")?;
    Ok((descriptor, ifindex as usize))
}

fn receive(descriptor: &OwnedFd, ifindex: usize, stop: &AtomicBool) -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match recvfrom::<LinkAddr>(descriptor.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                if from.is_some_and(|from| from.ifindex() == ifindex) {
                    ensure!(
                        frames.len() < MOST_FRAMES,
                        "more than {MOST_FRAMES} frames to capture"
                    );
                    frames.push(buffer[..length].to_vec());
                }
            }
            // Only an empty queue ends it, so all that came before the stop is there.
            Err(Errno::EAGAIN | Errno::EINTR) if stop.load(Ordering::Relaxed) => return Ok(frames),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("can't capture"),
        }
    }
}
