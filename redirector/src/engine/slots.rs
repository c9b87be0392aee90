//! A redirect's slots over time: when they split and when they settle.

mod peer;
mod stamps;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use redirector_common::abi::{SLOTS, Slot, SlotTable};

pub use self::peer::{SlotsTaken, Standing};

use self::stamps::Stamps;
use super::flows::{Census, Timeouts};

/// The slot table of a redirect, and since when each slot is as it is.
#[derive(Clone)]
pub struct SlotBook {
    table: Box<SlotTable>,
    /// Of the slots that are split.
    stamps: Stamps,
    /// Whether every connection is recorded, so that no slot settles.
    tracks_all: bool,
}

/// What a change of the table amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// Slots whose new connections go elsewhere than before.
    pub moved: usize,
    /// Slots that have settled.
    pub settled: usize,
}

impl Swap {
    /// Whether the kernel's table must be replaced.
    pub const fn is_empty(self) -> bool {
        self.moved == 0 && self.settled == 0
    }
}

impl SlotBook {
    /// A table without any backend; the hash leaves out the `ignored` bits of clients' addresses.
    pub fn new(key: [u64; 2], ignored: [u64; 2]) -> Self {
        let mut table: Box<SlotTable> = bytemuck::zeroed_box();
        table.key = key;
        table.ignored = ignored;
        Self {
            table,
            stamps: Stamps::default(),
            tracks_all: false,
        }
    }

    /// A table found in the kernel, of an earlier agent. It knew since when its slots were split, we don't:
    /// they count from `epoch`, which errs on the safe side.
    pub fn adopt(table: Box<SlotTable>, epoch: u32) -> Self {
        let split = table.slots.iter().any(|slot| slot.is_split());
        let stamps = if split {
            Stamps::all_at(epoch)
        } else {
            Stamps::default()
        };
        Self {
            table,
            stamps,
            tracks_all: false,
        }
    }

    /// The table as it should be in the kernel.
    pub fn table(&self) -> &SlotTable {
        &self.table
    }

    /// The slot of a client.
    pub fn slot_of(&self, client: IpAddr) -> u16 {
        match client {
            IpAddr::V4(client) => self.table.slot_of(client.octets()),
            IpAddr::V6(client) => self.table.slot_of(client.octets()),
        }
    }

    /// Chooses backends of new connections by `mode` from now on, and says whether every connection is recorded. Those
    /// that began before are where their slots say, for as long as they live. Whether the mode is another than before.
    pub fn choose_by(
        &mut self,
        mode: u32,
        tracks_all: bool,
        timeouts: &Timeouts,
        epoch: u32,
    ) -> bool {
        let changed = self.table.mode != mode;
        if !changed && self.tracks_all == tracks_all {
            return false;
        }
        self.tracks_all = tracks_all;
        let mut moved = 0;
        for index in 0..SLOTS {
            let before = self.table.slots[index];
            let after = if tracks_all { before.tracked() } else { before };
            self.table.slots[index] = after;
            moved += usize::from(after != before);
            if after != before || changed && after.is_split() {
                self.stamps.changed(index, epoch, after != before);
            }
        }
        if changed {
            self.table.mode = mode;
            if self.table.slots.iter().any(|slot| slot.was != 0) {
                self.table.tcp_was_until = epoch.saturating_add(timeouts.unrecorded());
                self.table.udp_was_until = epoch.saturating_add(timeouts.udp);
            }
        }
        let moved = moved.max(usize::from(changed));
        self.recount(Swap { moved, settled: 0 });
        changed
    }

    /// Sends new connections to `winners`, one backend per slot. Datagrams of flows that are not recorded go where
    /// they went for another `udp` seconds: by then every live flow has been.
    pub fn retarget(&mut self, winners: &[u16], udp: u32, epoch: u32) -> Swap {
        let mut swap = Swap::default();
        for (index, winner) in winners.iter().enumerate() {
            let before = self.table.slots[index];
            let after = before.retarget(*winner);
            let after = if self.tracks_all {
                after.tracked()
            } else {
                after
            };
            if after == before {
                continue;
            }
            swap.moved += 1;
            if after.is_split() {
                self.stamps.changed(index, epoch, !before.is_split());
            }
            self.table.slots[index] = after;
        }
        let swap = self.recount(swap);
        if !swap.is_empty() && self.table.split_slots != 0 {
            self.table.udp_was_until = epoch.saturating_add(udp);
        }
        swap
    }

    /// Takes every backend out, for new connections and for old ones.
    pub fn clear(&mut self) -> Swap {
        let empty = Slot::default();
        let slots = self.table.slots.iter_mut().filter(|slot| **slot != empty);
        let moved = slots.map(|slot| *slot = empty).count();
        self.recount(Swap { moved, settled: 0 })
    }

    /// The slots that can be settled, given the flows that are recorded.
    ///
    /// A slot whose new connections are back on the backend of its unrecorded ones needs to wait for
    /// recorded flows only: a node that was down for a moment leaves nothing behind.
    pub fn may_settle(&self, census: &Census, timeouts: &Timeouts, epoch: u32) -> Vec<u16> {
        let mut settling = Vec::new();
        for (slot, index) in self.table.slots.iter().zip(0..=u16::MAX) {
            if !slot.is_split() || slot.now == 0 || *slot == self.settled(*slot) {
                continue;
            }
            let place = usize::from(index);
            let since = self.stamps.of(place);
            let may_settle = (slot.now == slot.unrecorded()
                || epoch.saturating_sub(since.split) > timeouts.unrecorded())
                && epoch.saturating_sub(since.changed) > timeouts.handshake
                && !census.lives_elsewhere(place);
            if may_settle {
                settling.push(index);
            }
        }
        settling
    }

    /// Settles these.
    pub fn settle(&mut self, slots: &[u16]) -> Swap {
        for index in slots.iter().copied().map(usize::from) {
            self.table.slots[index] = self.settled(self.table.slots[index]);
        }
        self.recount(Swap {
            moved: 0,
            settled: slots.len(),
        })
    }

    /// What a slot is once it has settled.
    fn settled(&self, slot: Slot) -> Slot {
        if self.tracks_all {
            slot.settle().tracked()
        } else {
            slot.settle()
        }
    }

    /// Whether it chooses as [`Self::choose_by`] would have it.
    pub fn chooses_by(&self, mode: u32, tracks_all: bool) -> bool {
        self.table.mode == mode && self.tracks_all == tracks_all
    }

    /// Whether no slot has a backend, neither for new connections nor for old ones.
    pub fn is_clear(&self) -> bool {
        self.table.slots.iter().all(|slot| *slot == Slot::default())
    }

    /// The backends that slots name, for new connections or for old ones.
    pub fn named(&self) -> BTreeSet<u16> {
        let mut named = vec![false; 1 << 16];
        for slot in &self.table.slots {
            named[usize::from(slot.now)] = true;
            named[usize::from(slot.unrecorded())] = true;
        }
        let named = (0..=u16::MAX).zip(named).filter(|(_, named)| *named);
        named.map(|(backend, _)| backend).collect()
    }

    /// How many slots' new connections go to each backend.
    pub fn owned(&self) -> BTreeMap<u16, u32> {
        let mut owned = vec![0; 1 << 16];
        for slot in &self.table.slots {
            owned[usize::from(slot.now)] += 1;
        }
        let owned = (0..=u16::MAX).zip(owned).filter(|(_, slots)| *slots > 0);
        owned.collect()
    }

    fn recount(&mut self, swap: Swap) -> Swap {
        if !swap.is_empty() {
            let split = self
                .table
                .slots
                .iter()
                .filter(|slot| slot.is_split())
                .count();
            self.table.split_slots = u32::try_from(split).expect("at most 65,536 slots");
            if split == 0 {
                self.stamps = Stamps::default();
            }
            self.table.generation = self.table.generation.wrapping_add(1);
        }
        swap
    }
}

impl std::ops::Index<u16> for SlotBook {
    type Output = Slot;

    fn index(&self, slot: u16) -> &Slot {
        &self.table.slots[usize::from(slot)]
    }
}

#[cfg(test)]
mod tests {
    use redirector_common::abi::{Flow, MODE_RANDOM, MODE_SOURCE_HASH};

    use super::*;
    use crate::names::slot_of;

    const TIMEOUTS: Timeouts = Timeouts {
        session: 100,
        udp: 20,
        handshake: 10,
        closing: 5,
    };

    fn all(backend: u16) -> Vec<u16> {
        vec![backend; SLOTS]
    }

    fn settle(book: &mut SlotBook, census: &Census, epoch: u32) -> Swap {
        let settling = book.may_settle(census, &TIMEOUTS, epoch);
        book.settle(&settling)
    }

    fn empty(book: &SlotBook) -> Census {
        Census::take(book, [])
    }

    #[test]
    fn a_settled_table_needs_no_flows() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        assert_eq!(book.retarget(&all(1), TIMEOUTS.udp, 0).moved, SLOTS);
        assert_eq!(book.table().split_slots, 0);
    }

    #[test]
    fn nothing_changes_when_the_winners_are_the_same() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        let generation = book.table().generation;
        assert!(book.retarget(&all(1), TIMEOUTS.udp, 1).is_empty());
        assert_eq!(book.table().generation, generation);
    }

    #[test]
    fn a_slot_settles_when_no_handshake_begun_before_it_was_split_can_have_left_a_session_and_no_sooner()
     {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        book.retarget(&all(2), TIMEOUTS.udp, 50);
        let census = empty(&book);
        assert!(settle(&mut book, &census, 160).is_empty());
        assert_eq!(settle(&mut book, &census, 161).settled, SLOTS);
        assert_eq!(book.table().split_slots, 0);
        assert_eq!(book[0], Slot::settled_on(2));
    }

    #[test]
    fn datagrams_stay_for_their_timeout_after_the_last_change_and_only_where_something_splits() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 40);
        assert_eq!(book.table().udp_was_until, 0);
        book.retarget(&all(2), TIMEOUTS.udp, 50);
        assert_eq!(book.table().udp_was_until, 70);
        book.retarget(&all(2), TIMEOUTS.udp, 60);
        assert_eq!(book.table().udp_was_until, 70);
        book.retarget(&all(3), TIMEOUTS.udp, 60);
        assert_eq!(book.table().udp_was_until, 80);
    }

    #[test]
    fn a_slot_does_not_settle_while_a_handshake_may_be_under_way() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        book.retarget(&all(2), TIMEOUTS.udp, 50);
        book.retarget(&all(3), TIMEOUTS.udp, 155);
        let census = empty(&book);
        assert!(settle(&mut book, &census, 165).is_empty());
        assert_eq!(settle(&mut book, &census, 166).settled, SLOTS);
    }

    #[test]
    fn a_slot_that_is_back_where_it_was_waits_for_handshakes_only() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        book.retarget(&all(2), TIMEOUTS.udp, 50);
        book.retarget(&all(1), TIMEOUTS.udp, 55);
        let census = empty(&book);
        assert!(settle(&mut book, &census, 65).is_empty());
        assert_eq!(settle(&mut book, &census, 66).settled, SLOTS);
    }

    #[test]
    fn a_flow_recorded_elsewhere_keeps_its_slot_split_and_no_other() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        book.retarget(&all(2), TIMEOUTS.udp, 50);
        let client = IpAddr::from([10, 0, 0, 9]);
        let flow = Flow {
            backend: 1,
            flags: 0,
            seen: 150,
        };
        let census = Census::take(&book, [(client, &flow)]);
        assert_eq!(settle(&mut book, &census, 161).settled, SLOTS - 1);
        assert!(book[slot_of([1, 2], client)].is_split());
    }

    #[test]
    fn a_slot_without_a_backend_does_not_forget_where_its_connections_are() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        book.retarget(&all(0), TIMEOUTS.udp, 1);
        let census = empty(&book);
        assert!(settle(&mut book, &census, 10_000).is_empty());
        assert!(book.named().contains(&1));
    }

    #[test]
    fn an_adopted_split_slot_waits_a_whole_timeout_again() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        book.retarget(&all(2), TIMEOUTS.udp, 1);
        let mut table: Box<SlotTable> = bytemuck::zeroed_box();
        *table = *book.table();
        let mut adopted = SlotBook::adopt(table, 90);
        let census = empty(&adopted);
        assert!(settle(&mut adopted, &census, 200).is_empty());
        assert_eq!(settle(&mut adopted, &census, 201).settled, SLOTS);
    }

    #[test]
    fn where_all_is_recorded_no_slot_settles_and_old_backends_are_given_up_all_the_same() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        assert!(!book.choose_by(MODE_SOURCE_HASH, true, &TIMEOUTS, 0));
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        assert_eq!(book.table().split_slots, 1 << 16);
        book.retarget(&all(2), TIMEOUTS.udp, 50);
        assert!(book.named().contains(&1));
        let census = empty(&book);
        assert_eq!(settle(&mut book, &census, 161).settled, SLOTS);
        assert_eq!(book.table().split_slots, 1 << 16);
        assert!(!book.named().contains(&1));
        assert!(settle(&mut book, &census, 1000).is_empty());
    }

    #[test]
    fn another_mode_leaves_connections_where_their_slots_say_until_all_are_recorded_or_over() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.retarget(&all(1), TIMEOUTS.udp, 0);
        let generation = book.table().generation;
        assert!(book.choose_by(MODE_RANDOM, true, &TIMEOUTS, 50));
        assert_ne!(book.table().generation, generation);
        assert_eq!(
            (book.table().tcp_was_until, book.table().udp_was_until),
            (160, 70)
        );
        assert!(book[0].is_split() && book[0].unrecorded() == 1);
        assert!(!book.choose_by(MODE_RANDOM, true, &TIMEOUTS, 60));
        // Back again: handshakes of the other mode must have had their time.
        assert!(book.choose_by(MODE_SOURCE_HASH, false, &TIMEOUTS, 200));
        let census = empty(&book);
        assert!(settle(&mut book, &census, 210).is_empty());
        assert_eq!(settle(&mut book, &census, 211).settled, SLOTS);
        assert_eq!(book.table().split_slots, 0);
    }

    #[test]
    fn a_new_table_of_another_mode_has_no_older_connections() {
        let mut book = SlotBook::new([1, 2], [0; 2]);
        book.choose_by(MODE_RANDOM, true, &TIMEOUTS, 50);
        book.retarget(&all(1), TIMEOUTS.udp, 50);
        assert_eq!(book.table().tcp_was_until, 0);
        assert_eq!(book.table().split_slots, 1 << 16);
    }
}
