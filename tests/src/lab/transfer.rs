//! Long-lived transfers: numbered records to the target and back, checked at both ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::session::Session;

/// Bytes of a record: its number, eight bytes, repeated.
const RECORD: usize = 512;
/// Pause between records.
const PACE: Duration = Duration::from_millis(20);
/// A transfer that has been silent for so long is broken.
const SILENCE: Duration = Duration::from_secs(20);

/// Checks that bytes are the records 0, 1, 2, … without gap, repetition or change.
#[derive(Debug, Default)]
pub struct Checker {
    position: u64,
}

impl Checker {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The position in the stream of the first wrong byte.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), u64> {
        for byte in bytes {
            if *byte != expected(self.position) {
                return Err(self.position);
            }
            self.position += 1;
        }
        Ok(())
    }
}

fn expected(position: u64) -> u8 {
    let record = position / RECORD as u64;
    record.to_be_bytes()[usize::try_from(position % 8).unwrap_or(0)]
}

/// What became of a transfer.
#[derive(Clone, Debug)]
pub struct Report {
    /// The number of the node that serves it.
    pub node: usize,
    /// Bytes that came back in order.
    pub bytes: u64,
    /// The longest time without a byte from the target.
    pub max_gap: Duration,
    /// Why it ended, unless it was stopped.
    pub broken: Option<String>,
}

/// Wants none of these to have broken.
///
/// # Errors
///
/// One has: its report.
pub fn require_unbroken(transfers: &[Transfer]) -> Result<()> {
    for transfer in transfers {
        let report = transfer.report();
        ensure!(report.broken.is_none(), "a transfer broke: {report:?}");
    }
    Ok(())
}

/// A running transfer.
#[derive(Debug)]
pub struct Transfer {
    node: usize,
    stream: TcpStream,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Nothing more is sent, and the other side's end is awaited.
    closing: AtomicBool,
    bytes: AtomicU64,
    max_gap_us: AtomicU64,
    broken: Mutex<Option<String>>,
}

impl Shared {
    fn fail(&self, why: String) {
        if !self.stop.load(Ordering::Relaxed) {
            self.broken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(why);
        }
    }
}

impl Transfer {
    /// Starts to transfer over `session`, which must lead to the echoing server.
    ///
    /// # Errors
    /// When the connection can't be shared by two threads.
    pub fn start(session: Session) -> Result<Self> {
        let stream = session.stream;
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .context("can't set a timeout")?;
        let shared = Arc::new(Shared::default());
        let writer = {
            let (shared, stream) = (
                Arc::clone(&shared),
                stream.try_clone().context("can't share a connection")?,
            );
            std::thread::spawn(move || send(stream, &shared))
        };
        let reader = {
            let (shared, stream) = (
                Arc::clone(&shared),
                stream.try_clone().context("can't share a connection")?,
            );
            std::thread::spawn(move || receive(stream, &shared))
        };
        Ok(Self {
            node: session.node,
            stream,
            shared,
            threads: vec![writer, reader],
        })
    }

    /// The number of the node that serves it.
    pub fn node(&self) -> usize {
        self.node
    }

    /// What it has done so far.
    pub fn report(&self) -> Report {
        Report {
            node: self.node,
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            max_gap: Duration::from_micros(self.shared.max_gap_us.load(Ordering::Relaxed)),
            broken: self
                .shared
                .broken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Whether it has ended without being told to.
    pub fn is_broken(&self) -> bool {
        self.report().broken.is_some()
    }

    /// Forgets the longest gap, to measure that of what comes next.
    pub fn forget_gap(&self) {
        self.shared.max_gap_us.store(0, Ordering::Relaxed);
    }

    /// Ends it as a client does that has nothing more to say: everything that was sent comes back first.
    pub fn finish(mut self) -> Report {
        self.shared.closing.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it had to say is in the report.
            let _ = thread.join();
        }
        self.report()
    }

    /// Ends it.
    pub fn stop(self) -> Report {
        self.report()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // One that has broken is closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            // What it had to say is in the report.
            let _ = thread.join();
        }
    }
}

fn send(mut stream: TcpStream, shared: &Shared) {
    let mut number: u64 = 0;
    let mut record = [0; RECORD];
    while !shared.stop.load(Ordering::Relaxed) {
        for part in record.chunks_exact_mut(8) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        if let Err(error) = stream.write_all(&record) {
            shared.fail(format!("can't send record {number}: {error}"));
            return;
        }
        number += 1;
        if shared.closing.load(Ordering::Relaxed) {
            // One that has broken is closed already.
            let _ = stream.shutdown(Shutdown::Write);
            return;
        }
        std::thread::sleep(PACE);
    }
}

fn receive(mut stream: TcpStream, shared: &Shared) {
    let mut check = Checker::default();
    let mut buffer = [0; 16_384];
    let mut last = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let result = stream.read(&mut buffer);
        let gap = last.elapsed();
        shared.max_gap_us.fetch_max(
            u64::try_from(gap.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        match result {
            Ok(0) if shared.closing.load(Ordering::Relaxed) => return,
            Ok(0) => return shared.fail("the connection was closed".to_owned()),
            Ok(length) => {
                if let Err(position) = check.feed(&buffer[..length]) {
                    return shared.fail(format!("byte {position} came back wrong"));
                }
                shared.bytes.fetch_add(length as u64, Ordering::Relaxed);
                last = Instant::now();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if gap > SILENCE {
                    return shared.fail(format!("silent for {} s", SILENCE.as_secs()));
                }
            }
            Err(error) => return shared.fail(format!("can't receive: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        numbers
            .into_iter()
            .flat_map(|number| number.to_be_bytes().repeat(RECORD / 8))
            .collect()
    }

    #[test]
    fn records_in_order_are_accepted_however_they_are_cut() {
        let bytes = records(0..4);
        for cut in [1, 7, 8, 511, 512, 513] {
            let mut check = Checker::default();
            for part in bytes.chunks(cut) {
                assert_eq!(check.feed(part), Ok(()));
            }
        }
    }

    #[test]
    fn a_missing_a_repeated_and_a_changed_record_are_noticed() {
        assert!(Checker::default().feed(&records([0, 2])).is_err());
        assert!(Checker::default().feed(&records([0, 0])).is_err());
        let mut changed = records(0..2);
        changed[700] ^= 1;
        assert_eq!(Checker::default().feed(&changed), Err(700));
    }
}
