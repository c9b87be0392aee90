//! Passive health: the looks at the data path's counters.
//!
//! Nodes' counters move with the packets that go to nodes and come from them, and with no others, so they are read only
//! when such packets have been counted. Packets that pass, as the checks' own answers do, are not among them.

use std::{collections::BTreeMap, time::Instant};

use redirector_common::{
    abi::{BackendStats, Counters},
    verdict::{Action, Verdict},
};

use super::Agent;
use crate::datapath::MapsError;

/// What was seen at the last look.
#[derive(Default)]
pub(super) struct Watch {
    /// All packets that were sent on, and the revision of the relay that tells which nodes there are.
    seen: Option<(u64, u64)>,
    /// Whether that has changed since the last look.
    fresh: bool,
    /// Looks since then.
    quiet: u32,
    /// The counters of each node.
    stats: BTreeMap<u16, BackendStats>,
}

impl Watch {
    /// Begins a look; whether there may be anything to be seen.
    fn is_due(&mut self) -> bool {
        self.quiet = if std::mem::take(&mut self.fresh) {
            0
        } else {
            self.quiet.saturating_add(1)
        };
        self.quiet <= ENOUGH
    }

    /// The counters of a node as of the last look.
    pub(super) fn of(&self, id: u16) -> BackendStats {
        self.stats.get(&id).copied().unwrap_or_default()
    }
}

/// The packets that the data path has sent on: what goes to a node or comes from one is among them.
fn sent_on(counters: &Counters) -> u64 {
    let sent = |verdict: &&Verdict| verdict.action() == Action::Transmit;
    let sent = Verdict::ALL.iter().filter(sent);
    sent.map(|verdict| counters.packets[verdict.index()]).sum()
}

/// What was asked at one look must have been answered at the next: after that many there is nothing more to find out.
const ENOUGH: u32 = 2;

impl Agent {
    /// Looks which nodes do not answer, and has these checked at once.
    pub(super) fn look(&mut self) {
        if let Err(error) = self.read_counters() {
            return log::error!("{error}");
        }
        if !self.watch.is_due() {
            return;
        }
        let watch = &self.watch;
        for (address, doubt, targets) in self.relay.doubt(|id| watch.of(id), Instant::now()) {
            log::info!("node {address} {}: checking it now", doubt.reason());
            for target in targets {
                self.scheduler.probe_in_haste(&target);
            }
        }
    }

    /// Brings what is known of nodes' counters up to date. Whoever draws conclusions from how long a node has been silent
    /// must do so first: where the loop was held up, what it knew is older than that.
    pub(super) fn read_counters(&mut self) -> Result<(), MapsError> {
        let maps = &self.applied.maps;
        let counters = maps.counters()?;
        self.peers.note(&counters, Instant::now());
        let now = Some((sent_on(&counters), self.relay.revision()));
        if now == self.watch.seen {
            return Ok(());
        }
        let mut read = BTreeMap::new();
        for (id, _) in self.relay.backends().iter() {
            read.insert(id, maps.backend_stats(id)?);
        }
        self.watch.seen = now;
        self.watch.stats = read;
        self.watch.fresh = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redirector_common::abi::COUNTER_SLOTS;

    use super::*;

    #[test]
    fn what_somebody_else_has_read_is_looked_at_and_what_is_quiet_is_not_for_long() {
        let mut watch = Watch {
            fresh: true,
            ..Watch::default()
        };
        let looks = [(); 5].map(|()| watch.is_due());
        assert_eq!(looks, [true, true, true, false, false]);
        watch.fresh = true;
        assert!(watch.is_due());
    }

    #[test]
    fn packets_to_and_from_nodes_are_noticed_and_those_that_pass_are_not() {
        let sent = |verdict: Verdict| {
            let mut packets = [0; COUNTER_SLOTS];
            packets[verdict.index()] = 3;
            sent_on(&Counters { packets })
        };
        for verdict in [
            Verdict::ForwardSettled,
            Verdict::ForwardNew,
            Verdict::ForwardFlow,
            Verdict::ForwardWas,
            Verdict::ForwardAssociated,
            Verdict::Reply,
            Verdict::ReplyFragment,
        ] {
            assert_eq!(sent(verdict), 3, "{verdict:?}");
        }
        for verdict in [
            Verdict::PassToRelay,
            Verdict::PassNotOurs,
            Verdict::PassNotIp,
        ] {
            assert_eq!(sent(verdict), 0, "{verdict:?}");
        }
    }
}
