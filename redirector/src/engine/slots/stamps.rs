//! Since when split slots are as they are.
//!
//! Slots change in bulk, so many share the same times: each slot keeps the number of a pair of times. A book without
//! a split slot keeps nothing.

use std::collections::HashMap;

use redirector_common::abi::SLOTS;

/// Since when a split slot is as it is, in seconds of the data path's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Since {
    /// When it was split after having been settled.
    pub(super) split: u32,
    /// When its `now` last changed.
    pub(super) changed: u32,
}

/// Pairs of times that are kept before those that no slot has are given up.
const PAIRS: usize = 1 << 15;

/// The times of all slots; those of settled ones are meaningless.
#[derive(Clone, Default)]
pub(super) struct Stamps {
    /// For each slot the place of its times in `pairs`; empty when no slot has any.
    numbers: Vec<u16>,
    pairs: Vec<Since>,
    places: HashMap<Since, u16>,
}

impl Stamps {
    /// All slots as of `epoch`.
    pub(super) fn all_at(epoch: u32) -> Self {
        let mut stamps = Self::default();
        stamps.place(Since {
            split: epoch,
            changed: epoch,
        });
        stamps.numbers = vec![0; SLOTS];
        stamps
    }

    /// The times of a split slot.
    pub(super) fn of(&self, slot: usize) -> Since {
        self.pairs[usize::from(self.numbers[slot])]
    }

    /// Notes that a slot's `now` changed at `epoch`, and whether that split it.
    pub(super) fn changed(&mut self, slot: usize, epoch: u32, split: bool) {
        if self.numbers.is_empty() {
            *self = Self::all_at(epoch);
        }
        if self.pairs.len() >= PAIRS {
            self.make_room(epoch);
        }
        let split = if split { epoch } else { self.of(slot).split };
        let changed = epoch;
        self.numbers[slot] = self.place(Since { split, changed });
    }

    /// Notes since when a split slot is as it is, as another relay has told at `epoch`.
    pub(super) fn set(&mut self, slot: usize, since: Since, epoch: u32) {
        if self.numbers.is_empty() {
            *self = Self::all_at(epoch);
        }
        if self.pairs.len() >= PAIRS {
            self.make_room(epoch);
        }
        self.numbers[slot] = self.place(since);
    }

    fn place(&mut self, since: Since) -> u16 {
        if let Some(place) = self.places.get(&since) {
            return *place;
        }
        let place = u16::try_from(self.pairs.len()).expect("at most PAIRS");
        self.pairs.push(since);
        self.places.insert(since, place);
        place
    }

    /// Gives up the pairs that no slot has. Where that makes no room, all slots count from `epoch` on: one that waits
    /// too long is safe.
    fn make_room(&mut self, epoch: u32) {
        self.forget_unused();
        if self.pairs.len() > PAIRS / 2 {
            *self = Self::all_at(epoch);
        }
    }

    fn forget_unused(&mut self) {
        let pairs = std::mem::take(&mut self.pairs);
        self.places.clear();
        let mut numbers = std::mem::take(&mut self.numbers);
        for number in &mut numbers {
            let since = pairs[usize::from(*number)];
            *number = self.place(since);
        }
        self.numbers = numbers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(split: u32, changed: u32) -> Since {
        Since { split, changed }
    }

    #[test]
    fn a_slot_keeps_when_it_was_split_and_when_it_last_changed() {
        let mut stamps = Stamps::default();
        stamps.changed(7, 10, true);
        stamps.changed(8, 10, true);
        stamps.changed(7, 20, false);
        assert_eq!([stamps.of(7), stamps.of(8)], [since(10, 20), since(10, 10)]);
        stamps.changed(7, 30, true);
        assert_eq!(stamps.of(7), since(30, 30));
    }

    #[test]
    fn times_that_no_slot_has_any_more_make_room() {
        let mut stamps = Stamps::default();
        stamps.changed(1, 1, true);
        for epoch in 0..200_000 {
            stamps.changed(0, epoch, true);
        }
        assert_eq!(
            [stamps.of(0), stamps.of(1)],
            [since(199_999, 199_999), since(1, 1)]
        );
        assert!(stamps.pairs.len() <= PAIRS);
    }

    #[test]
    fn where_there_is_no_room_slots_wait_longer_and_never_less() {
        let mut stamps = Stamps::default();
        for (epoch, slot) in (0..).zip(0..SLOTS) {
            stamps.changed(slot, epoch, true);
        }
        for (epoch, slot) in (0..).zip(0..SLOTS) {
            let since = stamps.of(slot);
            assert!(since.split >= epoch && since.changed >= epoch, "{slot}");
        }
    }
}
