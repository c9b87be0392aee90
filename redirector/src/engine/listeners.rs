//! Which listener has which number.
//!
//! A number is part of the keys of recorded flows. It is given to another listener only after a round has seen
//! that no flow names it, and late enough for handshakes that were under way.

use std::collections::BTreeMap;

use redirector_common::abi::MAX_LISTENERS;

use crate::names::Place;

/// A listener of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// VIP, port and protocol.
    pub place: Place,
    /// Index of the redirect's slot table.
    pub redirect: u16,
    /// Its number.
    pub id: u16,
}

/// Numbers that are no listener's any more, with the epoch of when they were given up.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired(BTreeMap<u16, u32>);

impl Retired {
    /// Gives up numbers.
    pub(super) fn extend(&mut self, ids: impl IntoIterator<Item = u16>, epoch: u32) {
        for id in ids {
            self.0.insert(id, epoch);
        }
    }

    /// Lets numbers be used again that have been given up for longer than `handshake` seconds and that nothing
    /// names.
    pub(super) fn release(&mut self, named: impl Fn(u16) -> bool, handshake: u32, epoch: u32) {
        self.0
            .retain(|id, since| named(*id) || epoch.saturating_sub(*since) <= handshake);
    }

    /// The smallest number that is neither `taken` nor waits here.
    pub(super) fn next(&self, taken: impl Fn(u16) -> bool) -> Option<u16> {
        let limit = u16::try_from(MAX_LISTENERS).unwrap_or(u16::MAX);
        (1..limit).find(|id| !taken(*id) && !self.0.contains_key(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_waits_for_handshakes_and_for_whatever_names_it() {
        let mut retired = Retired::default();
        retired.extend([1, 2], 100);
        let next = |retired: &Retired| retired.next(|id| id == 3);
        assert_eq!(next(&retired), Some(4));
        retired.release(|_| false, 60, 160);
        assert_eq!(next(&retired), Some(4));
        retired.release(|id| id == 1, 60, 161);
        assert_eq!(next(&retired), Some(2));
        retired.release(|_| false, 60, 161);
        assert_eq!(next(&retired), Some(1));
    }
}
