//! What the packets of a relay lose to those who look at it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use redirector_common::bench::Stream;

use super::forwarding::{
    MANY, Variant,
    rig::{self, Rig, configuration},
    traffic::{Expected, Traffic},
};
use super::rounds::Spread;
use crate::lab::Netns;
use crate::lab::metrics::{ask, http_section, scrape};
use crate::lab::terminal::{Size, Terminal};

/// How long packets are sent in each half of a round: somebody who looks every second does so twice.
const HALF: Duration = Duration::from_secs(2);
/// How long it takes whoever looks to begin.
const BEGINS: Duration = Duration::from_millis(300);
/// Packets of one run.
const PACKETS: u32 = 1 << 16;

/// Who is at the relay in half of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `/metrics` is scraped every second, and the page and `redirector top` are open.
    Watches,
    /// Two threads for every processor take what they can get: what must be seen.
    HoldsUp,
}

/// They, until they are dropped.
struct Watchers {
    _top: Option<Terminal>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Watchers {
    fn all(rig: &Rig) -> Result<Self> {
        let agent = rig.agent.as_ref().context("the relay has no agent")?;
        let mut top = rig.relay.command(agent.program());
        top.arg("top").arg("--socket").arg(agent.socket());
        let mut watchers = Self {
            _top: Some(Terminal::start(top, Size::new(120, 36))?),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        // What the page listens to.
        let mut page = rig.relay.run(|| ask("/api/v1/stream"))??;
        page.set_read_timeout(Some(Duration::from_millis(200)))?;
        watchers.watch(&rig.relay, move || {
            // Whatever comes, and nothing for a while.
            let _ = page.read(&mut [0; 16_384]);
            Ok(())
        })?;
        let mut next = Instant::now();
        watchers.watch(&rig.relay, move || {
            if Instant::now() < next {
                std::thread::sleep(Duration::from_millis(20));
                return Ok(());
            }
            next += Duration::from_secs(1);
            scrape().map(drop)
        })?;
        Ok(watchers)
    }

    fn busy(rig: &Rig) -> Result<Self> {
        let mut watchers = Self {
            _top: None,
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, usize::from) {
            watchers.watch(&rig.relay, || {
                let until = Instant::now() + Duration::from_millis(20);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                Ok(())
            })?;
        }
        Ok(watchers)
    }

    /// Does it again and again.
    fn watch(
        &mut self,
        relay: &Netns,
        mut look: impl FnMut() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let stop = Arc::clone(&self.stop);
        self.threads.push(relay.spawn("watcher", move || {
            while !stop.load(Ordering::Relaxed) {
                look()?;
            }
            Ok(())
        })?);
        Ok(())
    }

    /// Ends them, and says whether they could look.
    fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread
                .join()
                .map_err(|_| anyhow!("somebody who looks panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How many packets go by with these there while one goes by with nobody; the two take turns in each round.
///
/// # Errors
/// Packets are lost, or somebody can't look.
pub fn measure(object: &Path, rounds: usize, who: Who) -> Result<Spread> {
    let mut traffic = Traffic::load(object)?;
    let rig = Rig::new(Variant::Native, &mut traffic)?;
    let agent = rig.agent.as_ref().context("the relay has no agent")?;
    agent.reload(&(configuration(&["clients", "nodes"], "native", 3, 1) + &http_section()))?;
    let (frame, mut stream) = MANY.packets(rig::VIP);
    stream.device = rig.devices[0];
    let expected = MANY.expected(rig::VIP, true);
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    // The first round warms caches and is thrown away.
    for round in 0..=rounds {
        let watchers = match who {
            Who::Watches => Watchers::all(&rig)?,
            Who::HoldsUp => Watchers::busy(&rig)?,
        };
        // To begin to look is no part of looking.
        std::thread::sleep(BEGINS);
        let while_watched = speed(&mut traffic, &mut stream, &frame, expected)?;
        watchers.end()?;
        let while_alone = speed(&mut traffic, &mut stream, &frame, expected)?;
        if round > 0 {
            watched.push(while_watched);
            alone.push(while_alone);
        }
    }
    Ok(Spread::of_ratios(&watched, &alone))
}

/// Packets per second that come out of the relay.
fn speed(
    traffic: &mut Traffic,
    stream: &mut Stream,
    frame: &[u8],
    expected: Expected,
) -> Result<f64> {
    let start = Instant::now();
    let mut packets = 0;
    while start.elapsed() < HALF {
        packets += traffic.send(stream, frame, PACKETS, expected)?.right;
    }
    Ok(packets as f64 / start.elapsed().as_secs_f64())
}
