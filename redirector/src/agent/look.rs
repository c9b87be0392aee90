//! Passive health: the looks at the data path's counters.

use std::{collections::BTreeMap, time::Instant};

use redirector_common::abi::BackendStats;

use super::Agent;
use crate::datapath::MapsError;

/// What was seen at the last look.
#[derive(Default)]
pub(super) struct Watch {
    /// All packets that were counted.
    packets: u64,
    /// Looks since that number last changed.
    quiet: u32,
    /// The counters of each node.
    stats: BTreeMap<u16, BackendStats>,
}

/// What was asked at one look must have been answered at the next: after that many there is nothing more to find out.
const ENOUGH: u32 = 2;

impl Agent {
    /// Looks which nodes do not answer, and has these checked at once.
    pub(super) fn look(&mut self) {
        match self.watch() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return log::error!("{error}"),
        }
        let stats = &self.watch.stats;
        let stats = |id| stats.get(&id).copied().unwrap_or_default();
        for (address, doubt, targets) in self.relay.doubt(stats, Instant::now()) {
            log::info!("node {address} {}: checking it now", doubt.reason());
            for target in targets {
                self.scheduler.probe_in_haste(&target);
            }
        }
    }

    /// Reads the counters; whether there may be anything to be seen in them.
    fn watch(&mut self) -> Result<bool, MapsError> {
        let maps = &self.applied.maps;
        let packets = maps.counters()?.packets.iter().sum();
        if packets == self.watch.packets {
            self.watch.quiet = self.watch.quiet.saturating_add(1);
            return Ok(self.watch.quiet <= ENOUGH);
        }
        self.watch.packets = packets;
        self.watch.quiet = 0;
        self.watch.stats.clear();
        for (id, _) in self.relay.backends().iter() {
            self.watch.stats.insert(id, maps.backend_stats(id)?);
        }
        Ok(true)
    }
}
