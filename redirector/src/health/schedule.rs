//! Runs the checks of all targets, each at its own pace.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::beat::on_beat;
use super::probe::{self, Verdict};
use super::{Hands, Material, Outcome, Tracker};
use crate::config::{Check, Timing};
use crate::privileges::Threads;

/// The first checks of all targets are spread over so long at most: a start should not wait.
const FIRST_WITHIN: Duration = Duration::from_millis(50);

/// A hasty check waits so long, or four times as long as the node took for its last good one, but never longer than the
/// configured timeout.
const HASTE: Duration = Duration::from_millis(250);

/// What is checked: a node of a pool, on the port that clients are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The pool's name.
    pub pool: String,
    /// The node's name.
    pub node: String,
    /// The node's address, and the port of checks that have none of their own.
    pub address: SocketAddr,
    /// How it is checked; at least one, all of which must succeed.
    pub checks: Arc<[Check]>,
    /// How many hops the packets of its checks live; as many as usual where there is no number.
    pub ttl: Option<u8>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was checked.
    pub target: Target,
    /// The one of its checks that decided, such as the first that failed.
    pub which: usize,
    /// What that check saw.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: Instant,
}

impl Observation {
    /// The check that decided.
    pub fn check(&self) -> Option<&Check> {
        self.target.checks.get(self.which)
    }

    /// Kind of the check that decided.
    pub fn check_name(&self) -> &'static str {
        self.check().map_or("no check", Check::name)
    }

    /// Where it was made.
    pub fn address(&self) -> SocketAddr {
        let default = self.target.address;
        self.check().map_or(default, |check| check.address(default))
    }
}

/// A running check; ends with its owner.
struct Running {
    timing: watch::Sender<Timing>,
    now: Arc<Notify>,
    hasty: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs one task per target and sends what they see. Dropping it ends all checks.
pub struct Scheduler {
    running: HashMap<Target, Running>,
    material: watch::Sender<Arc<Material>>,
    observations: mpsc::Sender<Observation>,
    /// Where checks run.
    runtime: Handle,
    hands: Hands,
    /// From when beats count.
    origin: tokio::time::Instant,
}

impl Scheduler {
    /// A scheduler without targets, whose checks run where it is made, with the privileges that there are. When the
    /// receiver falls behind, checks wait for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(observations: mpsc::Sender<Observation>) -> Self {
        Self {
            running: HashMap::new(),
            material: watch::Sender::default(),
            observations,
            runtime: Handle::current(),
            hands: Hands::default(),
            origin: tokio::time::Instant::now(),
        }
    }

    /// One whose checks run in the agent's thread that has no privileges.
    pub fn in_threads(threads: &Threads, observations: mpsc::Sender<Observation>) -> Self {
        Self {
            running: HashMap::new(),
            material: watch::Sender::default(),
            observations,
            runtime: threads.outside.handle().clone(),
            hands: Hands::of(threads),
            origin: tokio::time::Instant::now(),
        }
    }

    /// When something else that is done every `period` has to begin to come together with checks.
    pub fn next_beat(&self, period: Duration) -> tokio::time::Instant {
        let mut next = self.origin;
        let now = tokio::time::Instant::now();
        while next < now {
            next += period;
        }
        next
    }

    /// Makes these the targets: new ones are checked at once, those that stay go on undisturbed, with
    /// their new timing, and those that are gone are checked no more. An observation of one of
    /// those may still be on its way.
    pub fn set_targets(&mut self, targets: impl IntoIterator<Item = (Target, Timing)>) {
        let mut before = std::mem::take(&mut self.running);
        for (target, timing) in targets {
            let running = before
                .remove(&target)
                .unwrap_or_else(|| self.start(target.clone(), timing));
            running
                .timing
                .send_if_modified(|current| std::mem::replace(current, timing) != timing);
            self.running.insert(target, running);
        }
    }

    /// Checks a target now instead of at its next turn; after a check that is under way, once more.
    /// Returns whether there is such a target.
    pub fn probe_now(&self, target: &Target) -> bool {
        let running = self.running.get(target);
        if let Some(running) = running {
            running.now.notify_one();
        }
        running.is_some()
    }

    /// Like [`Scheduler::probe_now`], for a target that is in doubt already: the check does not wait for an answer as long
    /// as others do.
    pub fn probe_in_haste(&self, target: &Target) -> bool {
        if let Some(running) = self.running.get(target) {
            running.hasty.store(true, Ordering::Relaxed);
        }
        self.probe_now(target)
    }

    /// Gives the checks what they need of this host, from the next one on.
    pub fn set_material(&self, material: Material) {
        self.material.send_replace(Arc::new(material));
    }

    /// Number of targets.
    pub fn targets(&self) -> usize {
        self.running.len()
    }

    fn start(&self, target: Target, timing: Timing) -> Running {
        let (sender, timing) = watch::channel(timing);
        let now = Arc::new(Notify::new());
        let observations = self.observations.clone();
        let hasty = Arc::new(AtomicBool::new(false));
        let signals = (Arc::clone(&now), Arc::clone(&hasty));
        let material = self.material.subscribe();
        let hands = self.hands.clone();
        let origin = self.origin;
        let task = run(
            target,
            timing,
            (material, hands),
            signals,
            observations,
            origin,
        );
        let task = self.runtime.spawn(task);
        Running {
            timing: sender,
            now,
            hasty,
            task,
        }
    }
}

async fn run(
    target: Target,
    mut timing: watch::Receiver<Timing>,
    (material, hands): (watch::Receiver<Arc<Material>>, Hands),
    (now, hasty): (Arc<Notify>, Arc<AtomicBool>),
    observations: mpsc::Sender<Observation>,
    origin: tokio::time::Instant,
) {
    let phase = phase(&target);
    let mut last = None;
    let mut usual = Duration::ZERO;
    // Only to know when a node is about to be believed something else: then it is looked at more often.
    let mut tracker = Tracker::new((*timing.borrow()).into(), Instant::now());
    let mut next = tokio::time::Instant::now() + FIRST_WITHIN.mul_f64(phase);
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = now.notified() => {}
            changed = timing.changed() => {
                if changed.is_err() {
                    return;
                }
                let interval = timing.borrow_and_update().pace(tracker.is_undecided());
                next = last.map_or(next, |last: tokio::time::Instant| last + interval);
                continue;
            }
        }
        let current = *timing.borrow();
        let haste = hasty
            .swap(false, Ordering::Relaxed)
            .then(|| HASTE.max(4 * usual));
        let start = tokio::time::Instant::now();
        let known = Arc::clone(&material.borrow());
        let Verdict {
            which,
            outcome,
            took,
        } = probe::turn(&target, current.timeout, haste, (&known, &hands)).await;
        if outcome.success() == Some(true) {
            usual = took;
        }
        let at = Instant::now();
        tracker.set_thresholds(current.into());
        if let Some(success) = outcome.success() {
            tracker.observe(success, at);
        }
        let interval = current.pace(tracker.is_undecided());
        let observation = Observation {
            target: target.clone(),
            which,
            outcome,
            took,
            at,
        };
        if observations.send(observation).await.is_err() {
            return;
        }
        // The second check comes earlier by a target's own share of half an interval, so that from
        // then on the targets take turns.
        let early = if last.is_none() { phase / 2.0 } else { 0.0 };
        let jitter = f64::from(current.jitter) / 100.0 * (fastrand::f64() - 0.5);
        next = start + interval.mul_f64((1.0 - early) * (1.0 + jitter));
        if current.jitter == 0 {
            next = on_beat(next, origin, interval);
        }
        last = Some(start);
    }
}

/// A target's own place within an interval, from 0 to below 1: the same in every run.
fn phase(target: &Target) -> f64 {
    let port = target.address.port().to_be_bytes();
    let address = match target.address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    // FNV-1a, then the golden ratio to spread neighbouring addresses.
    let hash = address
        .iter()
        .chain(&port)
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    f64::from(hash.wrapping_mul(0x9e37_79b9)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests;
