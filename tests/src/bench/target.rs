//! A target that accepts connections and ends them at once, as fast as the kernel can.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;

use crate::lab::Netns;

/// The first of its ports.
const FIRST_PORT: u16 = 4000;

/// It listens until it is dropped.
pub(crate) struct Discarding {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Discarding {
    /// Listens on `ports` ports from [`Discarding::port`] on.
    pub(crate) fn start(host: &Netns, address: Ipv4Addr, ports: usize) -> anyhow::Result<Self> {
        let mut all = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for number in 0..ports {
            all.listen(host, address, Self::port(number))?;
        }
        Ok(all)
    }

    /// Listens on this port only.
    pub(crate) fn on(host: &Netns, address: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let mut one = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        one.listen(host, address, port)?;
        Ok(one)
    }

    /// The port with this number. With several of them a node does not run out of its own.
    pub(crate) fn port(number: usize) -> u16 {
        FIRST_PORT + u16::try_from(number).unwrap_or(0)
    }

    fn listen(&mut self, host: &Netns, address: Ipv4Addr, port: u16) -> anyhow::Result<()> {
        let listener = host
            .run(|| TcpListener::bind((address, port)))?
            .with_context(|| format!("can't listen on {address}:{port} in {}", host.name()))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // The kernel completes handshakes meanwhile.
                if listener.accept().is_err() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }));
        Ok(())
    }
}

impl Drop for Discarding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
