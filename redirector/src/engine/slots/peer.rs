//! What a peer knows of a table's older connections, and what of it is taken over.
//!
//! Where *new* connections go each relay works out by itself. Where those live that are recorded nowhere can only be known to
//! the relay that has carried them: another one takes it from there.

use std::collections::HashMap;

use redirector_common::abi::{MODE_SOURCE_HASH, SLOT_SPLIT, Slot};

use super::{SlotBook, Swap, stamps::Since};
use crate::{
    engine::flows::Timeouts,
    peer::{SPLIT, SlotsRecord},
};

/// How a relay stands to a peer, by which of the two has carried clients' packets last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The peer has: what it knows of older connections counts.
    Behind,
    /// Both do, or neither ever has: what one knows is added to what the other knows.
    Level,
    /// This relay has: what it knows counts.
    Ahead,
}

impl Standing {
    /// By the milliseconds since each has carried a packet, if it ever has; that close together they do so at the same
    /// time.
    pub fn of(own: Option<u64>, peer: Option<u64>, close: u64) -> Self {
        match (own, peer) {
            (None, None) => Self::Level,
            (None, Some(_)) => Self::Behind,
            (Some(own), Some(peer)) if own.abs_diff(peer) <= close => Self::Level,
            (Some(own), Some(peer)) if own > peer => Self::Behind,
            (Some(_), Some(_) | None) => Self::Ahead,
        }
    }
}

/// What is to be taken over of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotsTaken {
    slots: Vec<(u16, Slot, Since)>,
    /// Slots whose older connections live on a node that is not known here.
    pub unknown: usize,
    /// Slots of which both relays know another thing.
    pub conflicts: usize,
}

impl SlotsTaken {
    /// Whether there is nothing to be taken.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Times of two relays that differ by no more than this are the same, seconds: they are told as ages.
const ROUNDING: u32 = 2;

impl SlotBook {
    /// Whether peers can tell of its slots: where every connection is recorded, slots say nothing.
    pub fn goes_by_slots(&self) -> bool {
        self.table.mode == MODE_SOURCE_HASH && !self.tracks_all
    }

    /// The slots as a peer is told of them; `place` gives the places of backends, from 1 on.
    pub fn told(&self, place: impl Fn(u16) -> u16, epoch: u32) -> SlotsRecord {
        let mut told = SlotsRecord::default();
        let mut known = HashMap::new();
        let mut last: Option<(Since, u16)> = None;
        for (index, slot) in self.table.slots.iter().enumerate() {
            let home = place(slot.unrecorded());
            if !slot.is_split() {
                told.slots.push(home);
                continue;
            }
            told.slots.push(home | SPLIT);
            let since = self.stamps.of(index);
            // Slots change in bulk, so neighbours mostly have the same times.
            let place = match last {
                Some((of, place)) if of == since => place,
                Some(_) | None => {
                    let next = u16::try_from(told.times.len()).unwrap_or(u16::MAX);
                    let place = *known.entry(since).or_insert(next);
                    if place == next {
                        let age = |at: u32| epoch.saturating_sub(at);
                        told.times.push([age(since.split), age(since.changed)]);
                    }
                    place
                }
            };
            last = Some((since, place));
            told.since.push(place);
        }
        told
    }

    /// What is to be taken over of what a peer has told; `backends` has the backend of each of its nodes, 0 where there is
    /// none here.
    pub fn to_take(
        &self,
        told: &SlotsRecord,
        backends: &[u16],
        standing: Standing,
        timeouts: &Timeouts,
        epoch: u32,
    ) -> SlotsTaken {
        let mut taken = SlotsTaken::default();
        let mut times = told.since.iter().map(|place| {
            let [split, changed] = told.times[usize::from(*place)];
            Since {
                split: epoch.saturating_sub(split),
                changed: epoch.saturating_sub(changed),
            }
        });
        for ((index, mine), theirs) in (0..=u16::MAX).zip(&self.table.slots).zip(&told.slots) {
            let since = (theirs & SPLIT != 0).then(|| times.next()).flatten();
            let place = usize::from(theirs & !SPLIT);
            if place == 0 {
                continue;
            }
            let home = backends.get(place - 1).copied().unwrap_or(0);
            if home == 0 {
                taken.unknown += 1;
                continue;
            }
            let own = mine.is_split().then(|| self.stamps.of(usize::from(index)));
            let counts = match standing {
                Standing::Ahead => false,
                Standing::Behind => true,
                Standing::Level => mine.was == 0,
            };
            let after = if counts {
                Some(succeed(*mine, home, since, own, timeouts, epoch))
            } else if standing == Standing::Level {
                if mine.unrecorded() != home {
                    taken.conflicts += 1;
                }
                add(*mine, home, since, own, timeouts, epoch)
            } else {
                None
            };
            let Some((slot, since)) = after else {
                continue;
            };
            let far = |one: u32, other: u32| one.abs_diff(other) > ROUNDING;
            let differs =
                |own: Since| far(own.split, since.split) || far(own.changed, since.changed);
            if slot != *mine || slot.is_split() && own.is_none_or(differs) {
                taken.slots.push((index, slot, since));
            }
        }
        taken
    }

    /// Takes it over. Datagrams go where they went for another `udp` seconds, as after every change.
    pub fn take(&mut self, taken: &SlotsTaken, udp: u32, epoch: u32) -> Swap {
        let mut swap = Swap::default();
        for (index, slot, since) in &taken.slots {
            let place = usize::from(*index);
            if slot.is_split() {
                self.stamps.set(place, *since, epoch);
            }
            if self.table.slots[place] != *slot {
                self.table.slots[place] = *slot;
                swap.moved += 1;
            }
        }
        let swap = self.recount(swap);
        if !swap.is_empty() && self.table.split_slots != 0 {
            self.table.udp_was_until = epoch.saturating_add(udp);
        }
        swap
    }
}

/// The slot of a relay that goes on from a peer: older connections live on `home`.
fn succeed(
    mine: Slot,
    home: u16,
    since: Option<Since>,
    own: Option<Since>,
    timeouts: &Timeouts,
    epoch: u32,
) -> (Slot, Since) {
    let anew = Since {
        split: epoch,
        changed: epoch,
    };
    if since.is_none() && mine.now == home {
        return (Slot::settled_on(home), anew);
    }
    let since = match (since, own) {
        (Some(theirs), Some(own)) => Since {
            split: theirs.split,
            changed: theirs.changed.max(own.changed),
        },
        (Some(theirs), None) => theirs,
        // New connections go elsewhere here than at the peer, where they go on to come to `home`: it must not settle.
        (None, Some(own))
            if mine.unrecorded() == home
                && epoch.saturating_sub(own.split) <= timeouts.unrecorded() / 2 =>
        {
            own
        }
        (None, _) => anew,
    };
    let slot = Slot {
        now: mine.now,
        was: home | SLOT_SPLIT,
    };
    (slot, since)
}

/// The slot of a relay that carries clients beside a peer: split where either has split it, for as long as the one that
/// split it last would have it.
fn add(
    mine: Slot,
    home: u16,
    since: Option<Since>,
    own: Option<Since>,
    timeouts: &Timeouts,
    epoch: u32,
) -> Option<(Slot, Since)> {
    let theirs = since.filter(|_| mine.unrecorded() == home)?;
    match own {
        Some(own) => {
            let since = Since {
                split: own.split.max(theirs.split),
                changed: own.changed.max(theirs.changed),
            };
            Some((mine, since))
        }
        // One that could settle there has been settled here: nothing is left that is not recorded.
        None if epoch.saturating_sub(theirs.split) > timeouts.unrecorded() => None,
        None => {
            let slot = Slot {
                now: mine.now,
                was: home | SLOT_SPLIT,
            };
            Some((slot, theirs))
        }
    }
}

#[cfg(test)]
mod tests;
