//! The rules of a slot: how it remembers where live connections are, without a table of them.
//!
//! A slot is **settled** when every live connection of its clients is on one backend, and **split** from
//! the moment its backend changes until all that lived before has ended. A split slot has two backends:
//!
//! * `now`: where a SYN goes;
//! * `was`: where the connections live that are recorded nowhere.
//!
//! While a slot is split each new connection is recorded when its handshake completes, wherever it is,
//! and each old one when its node speaks. So however often `now` changes after that, `was` stays right:
//! it changes only when the slot settles. This is the idea of JET (Mendelson et al., `CoNEXT` 2021): track
//! a connection only if it may outlive a change.
//!
//! Backend 0 means none.

use crate::abi::{SLOT_SPLIT, Slot};

impl Slot {
    /// A slot all of whose connections are on `backend`.
    pub const fn settled_on(backend: u16) -> Self {
        Self {
            now: backend,
            was: backend,
        }
    }

    /// Whether connections of this slot may live on several backends.
    #[inline(always)]
    pub const fn is_split(self) -> bool {
        self.was & SLOT_SPLIT != 0
    }

    /// Backend of the connections that are recorded nowhere.
    #[inline(always)]
    pub const fn unrecorded(self) -> u16 {
        self.was & !SLOT_SPLIT
    }

    /// Sends new connections to `backend` from now on, and leaves the others where they are.
    ///
    /// A slot that never had a backend has no connections to remember: it is settled at once.
    #[must_use]
    pub const fn retarget(self, backend: u16) -> Self {
        if self.now == backend {
            self
        } else if self.was == 0 {
            Self::settled_on(backend)
        } else {
            Self {
                now: backend,
                was: self.was | SLOT_SPLIT,
            }
        }
    }

    /// Has every connection recorded from now on, as in a slot that is split. One that never had a backend has none to
    /// record.
    #[must_use]
    pub const fn tracked(self) -> Self {
        if self.was == 0 {
            self
        } else {
            Self {
                now: self.now,
                was: self.was | SLOT_SPLIT,
            }
        }
    }

    /// Forgets `was`: every live connection is on `now`, says the caller.
    ///
    /// He may say so when no unrecorded connection can be alive (none has spoken for a session timeout
    /// since the slot was split, or it would be recorded), none is in its handshake (`now` has stood for a
    /// handshake timeout), and no recorded one lives elsewhere.
    #[must_use]
    pub const fn settle(self) -> Self {
        Self::settled_on(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_never_had_a_backend_settles_on_its_first() {
        assert_eq!(Slot::default().retarget(3), Slot::settled_on(3));
    }

    #[test]
    fn a_change_splits_the_slot_and_keeps_where_connections_live() {
        let slot = Slot::settled_on(1).retarget(2);
        assert!(slot.is_split());
        assert_eq!((slot.now, slot.unrecorded()), (2, 1));
    }

    #[test]
    fn further_changes_never_alter_where_unrecorded_connections_live() {
        let slot = Slot::settled_on(1)
            .retarget(2)
            .retarget(3)
            .retarget(0)
            .retarget(4);
        assert_eq!((slot.now, slot.unrecorded()), (4, 1));
    }

    #[test]
    fn going_back_is_not_settling() {
        let slot = Slot::settled_on(1).retarget(2).retarget(1);
        assert!(
            slot.is_split(),
            "connections made on 2 are recorded and must be looked up"
        );
    }

    #[test]
    fn settling_leaves_one_backend() {
        assert_eq!(
            Slot::settled_on(1).retarget(2).settle(),
            Slot::settled_on(2)
        );
    }

    #[test]
    fn a_slot_without_any_backend_left_still_remembers() {
        let slot = Slot::settled_on(1).retarget(0);
        assert_eq!((slot.now, slot.unrecorded(), slot.is_split()), (0, 1, true));
    }
}
