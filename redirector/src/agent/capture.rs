//! Packets for whoever captures them.
//!
//! **Architecture invariant:** a capture lives as long as the channel to its client: when that is closed, the data path stops at
//! once, and also when the capture has come to its end or the agent does.

use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::time::{ClockId, clock_gettime};
use redirector_common::{abi::CaptureRecord, verdict::Verdict};
use tokio::{
    sync::mpsc::error::TrySendError,
    time::{Instant as Moment, sleep_until},
};

use super::{Agent, attachment::Attachment};
use crate::{
    capture::{Captured, Interface, Side, Summary, Wanted, filter},
    control::{Outlet, Response},
    datapath::{self, Mode, exchange},
    engine::{Kind, find},
};

/// Records that are taken at once, so that nothing else has to wait for long.
const RECORDS: usize = 256;

/// How often the ring is looked at: it has room for what a busy CPU may write in several of these.
const LOOK: Duration = Duration::from_millis(20);

/// The ring, and the capture that runs.
pub(super) struct Capture {
    ring: datapath::Capture,
    running: Option<Running>,
}

struct Running {
    outlet: Outlet,
    wanted: Wanted,
    until: Option<Moment>,
    /// When the ring is looked at next.
    look_at: Moment,
    captured: u64,
    missed: u64,
}

/// What there is to do.
pub(super) enum Due {
    /// Give these to the client.
    Records(Vec<CaptureRecord>),
    /// The time is over, or the client is gone.
    End,
}

impl Capture {
    pub(super) fn new(ring: datapath::Capture) -> Self {
        Self {
            ring,
            running: None,
        }
    }

    /// Waits until there is something to do. What is taken is never lost: nothing is waited for after that.
    pub(super) async fn next(&mut self) -> Due {
        let Some(running) = &mut self.running else {
            return pending().await;
        };
        let over = async {
            match running.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = running.outlet.packets.closed() => Due::End,
            () = over => Due::End,
            () = sleep_until(running.look_at) => {
                let ring = &mut self.ring;
                let records: Vec<_> = std::iter::from_fn(|| ring.take()).take(RECORDS).collect();
                let full = records.len() == RECORDS;
                running.look_at = Moment::now() + if full { Duration::ZERO } else { LOOK };
                Due::Records(records)
            }
        }
    }
}

impl Agent {
    pub(super) fn begin_capture(&mut self, wanted: &Wanted, outlet: Option<Outlet>) -> Response {
        match self.try_begin_capture(wanted, outlet) {
            Ok(response) => response,
            Err(error) => Response::Error {
                message: format!("{error:#}"),
            },
        }
    }

    fn try_begin_capture(
        &mut self,
        wanted: &Wanted,
        outlet: Option<Outlet>,
    ) -> anyhow::Result<Response> {
        let outlet = outlet.context("captured packets would go nowhere")?;
        if let Some(running) = &self.capture.running {
            if !running.outlet.packets.is_closed() {
                bail!("somebody captures already; there is one capture at a time");
            }
            self.end_capture();
        }
        if let Some(one) = self.attachments.iter().find(|one| one.mode == Mode::Tc) {
            bail!(
                "{0} is attached by tc, where the kernel sees every packet and this captures none; look with \
                 `tcpdump -i {0}`",
                one.interface
            );
        }
        let filter = filter(wanted, self.captured_backends(wanted)?)?;
        let duration = wanted.duration_ms.map(Duration::from_millis);
        self.watch(true);
        if let Err(error) = self.capture.ring.begin(&filter) {
            self.watch(false);
            return Err(error.into());
        }
        self.capture.running = Some(Running {
            outlet,
            wanted: wanted.clone(),
            until: duration.and_then(|duration| Moment::now().checked_add(duration)),
            look_at: Moment::now() + LOOK,
            captured: 0,
            missed: 0,
        });
        log::info!("packets are captured from now on");
        let interfaces = self.attachments.iter().map(|attachment| Interface {
            index: attachment.ifindex,
            name: attachment.interface.clone(),
        });
        Ok(Response::Capturing {
            interfaces: interfaces.collect(),
            snaplen: filter.snap,
        })
    }

    /// Has the interfaces run the program that looks whether packets are captured, or the one that doesn't.
    fn watch(&mut self, watched: bool) {
        self.datapath.watch(watched);
        for Attachment {
            interface, mode, ..
        } in &self.attachments
        {
            let datapath = &mut self.datapath;
            if let Err(error) = exchange(datapath, interface, *mode, &self.options.pin_dir) {
                // Both programs decide alike, and an interface that is away gets the right one when it returns.
                log::warn!("{interface}: cannot exchange its program for a capture: {error:#}");
            }
        }
    }

    /// The backends of the nodes that are asked for.
    fn captured_backends(&self, wanted: &Wanted) -> anyhow::Result<BTreeSet<u16>> {
        let mut backends = BTreeSet::new();
        for name in &wanted.nodes {
            let subject = find(self.relay.config(), Kind::Node, name)?;
            let ways = self.relay.ways_of(&subject);
            backends.extend(ways.into_iter().map(|(_, backend)| backend));
        }
        Ok(backends)
    }

    /// Does what is due.
    pub(super) fn capture(&mut self, due: Due) {
        match due {
            Due::Records(records) => self.give(&records),
            Due::End => self.end_capture(),
        }
    }

    /// Keeps up with nodes that have other entries now.
    pub(super) fn follow_captured_nodes(&mut self) {
        let Some(running) = &self.capture.running else {
            return;
        };
        let wanted = running.wanted.clone();
        if wanted.nodes.is_empty() {
            return;
        }
        // A node that is gone has no packets.
        let backends = self.captured_backends(&wanted).unwrap_or_default();
        let written = filter(&wanted, backends).map(|filter| self.capture.ring.look_for(&filter));
        if let Ok(Err(error)) = written {
            log::error!("{error}");
        }
    }

    /// Gives records to the client, as long as it wants any and can take them.
    fn give(&mut self, records: &[CaptureRecord]) {
        let mut names = HashMap::new();
        let offset = clock_offset();
        for record in records {
            let node = names
                .entry(record.backend)
                .or_insert_with(|| self.name_of(record.backend));
            let captured = captured(record, node.clone(), offset);
            let Some(running) = &mut self.capture.running else {
                return;
            };
            match running.outlet.packets.try_send(captured) {
                Ok(()) => running.captured += 1,
                Err(TrySendError::Full(_)) => running.missed += 1,
                Err(TrySendError::Closed(_)) => return self.end_capture(),
            }
            if running.wanted.count == Some(running.captured) {
                return self.end_capture();
            }
        }
    }

    /// Ends it: the data path first, then what it has left for the client.
    pub(super) fn end_capture(&mut self) {
        if self.capture.running.is_none() {
            return;
        }
        if let Err(error) = self.capture.ring.end() {
            log::error!("{error}");
        }
        self.watch(false);
        let ended = |running: &Running| {
            running.outlet.packets.is_closed() || running.wanted.count == Some(running.captured)
        };
        if !self.capture.running.as_ref().is_some_and(ended) {
            // The data path adds nothing more.
            let rest = std::iter::from_fn(|| self.capture.ring.take()).collect::<Vec<_>>();
            self.give(&rest);
        }
        let Some(Running {
            outlet,
            captured,
            missed,
            ..
        }) = self.capture.running.take()
        else {
            return;
        };
        let counts = self.capture.ring.counts().unwrap_or_else(|error| {
            log::error!("{error}");
            datapath::Counts::default()
        });
        let summary = Summary {
            matched: counts.matched,
            captured,
            lost: counts.lost,
            missed,
        };
        log::info!("packets are not captured any more: {summary}");
        // The client may be gone.
        let _ = outlet.summary.send(summary);
    }
}

/// Nanoseconds from the kernel's monotonic clock to the wall clock.
fn clock_offset() -> u64 {
    let read = |clock| {
        let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    };
    read(ClockId::CLOCK_REALTIME).wrapping_sub(read(ClockId::CLOCK_MONOTONIC))
}

fn captured(record: &CaptureRecord, node: Option<String>, offset: u64) -> Captured {
    let front = |words: &[[u8; 8]], caught: u16| {
        let bytes = words.as_flattened();
        bytes.get(..usize::from(caught)).unwrap_or(bytes).to_vec()
    };
    let verdict = Verdict::ALL.get(usize::from(record.verdict));
    Captured {
        at: record.time.wrapping_add(offset),
        verdict: verdict
            .map_or("unknown", |verdict| verdict.name())
            .to_owned(),
        node,
        before: Side {
            interface: record.ingress,
            length: record.before_length,
            front: front(&record.before, record.before_caught),
        },
        after: (record.after_length != 0).then(|| Side {
            interface: record.egress,
            length: record.after_length,
            front: front(&record.after, record.after_caught),
        }),
    }
}
