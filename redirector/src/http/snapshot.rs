//! The state of the agent at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use redirector_common::abi::{AnswerTimes, SlotTable};

use crate::control::Status;
use crate::metrics::Measured;

/// Set in [`Slots::owners`] where a slot is split.
const SPLIT: u16 = 1 << 15;

/// Who owns the slots of a redirect.
#[derive(Debug, PartialEq, Eq)]
pub struct Slots {
    /// The table that this is.
    pub generation: u32,
    /// Backends that new connections go to, 0 for none, by slot; the highest bit is set where the slot is split.
    pub owners: Box<[u16]>,
    /// How many slots each backend owns.
    pub owned: BTreeMap<u16, u32>,
}

impl Slots {
    /// Those of a table.
    pub fn of(table: &SlotTable) -> Self {
        let mut counts = vec![0_u32; usize::from(SPLIT)];
        let owner = |slot: &redirector_common::abi::Slot| {
            let now = slot.now & !SPLIT;
            if let Some(count) = counts.get_mut(usize::from(now)) {
                *count += 1;
            }
            if slot.is_split() { now | SPLIT } else { now }
        };
        let owners = table.slots.iter().map(owner).collect();
        let owned = (0..).zip(counts).filter(|(_, count)| *count > 0);
        Self {
            generation: table.generation,
            owners,
            owned: owned.collect(),
        }
    }
}

/// Everything that is told by HTTP.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken, milliseconds since 1970.
    pub at_ms: u64,
    /// What `show` is told as well. Recorded flows and associations are counted as of the last round.
    pub status: Status,
    /// What the agent measured.
    pub measured: Measured,
    /// How long nodes took to answer, by the numbers of their backends; of those that have answered.
    pub answers: BTreeMap<u32, AnswerTimes>,
    /// Who owns the slots, by redirect.
    pub slots: BTreeMap<u32, Arc<Slots>>,
}

impl Snapshot {
    /// Milliseconds since 1970.
    pub fn now() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// What keeps the relay from being ready; nothing when it is.
    ///
    /// Ready means: attached to an interface, the maps hold what they should, and every redirect has a node that
    /// takes new connections.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.status.not_serving();
        if !self.measured.is_applied {
            reasons.push("the tables could not be written; see the agent's log".to_owned());
        }
        reasons
    }
}
