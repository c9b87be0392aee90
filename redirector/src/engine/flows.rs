//! Recorded flows: which are over, and what the others hold up.

use std::net::IpAddr;

use redirector_common::abi::{FLOW_FIN_CLIENT, FLOW_FIN_NODE, FLOW_RESET, Flow, SLOTS};

use super::slots::SlotBook;

/// How long silence lasts until something is taken to be over, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// An established connection (PF's `tcp.established`).
    pub session: u32,
    /// A flow of datagrams.
    pub udp: u32,
    /// A handshake.
    pub handshake: u32,
    /// A connection that both sides have closed, or its node has reset.
    pub closing: u32,
}

impl Timeouts {
    /// How long after a change a connection that was begun before it, and is recorded nowhere, may live without a
    /// word: its handshake may have ended last of all, by an acknowledgement that nobody answers.
    pub const fn unrecorded(&self) -> u32 {
        self.session.saturating_add(self.handshake)
    }

    /// The same for datagrams, which have no connection whose end could be seen.
    #[must_use]
    pub const fn of_udp(self) -> Self {
        Self {
            session: self.udp,
            ..self
        }
    }
}

/// Whether both sides of a recorded flow have closed it, or its node has reset it.
pub fn is_closed(flow: &Flow) -> bool {
    flow.flags & FLOW_RESET != 0
        || flow.flags & (FLOW_FIN_CLIENT | FLOW_FIN_NODE) == FLOW_FIN_CLIENT | FLOW_FIN_NODE
}

/// Whether a recorded flow is over at `epoch`.
pub fn is_over(flow: &Flow, timeouts: &Timeouts, epoch: u32) -> bool {
    let timeout = if is_closed(flow) {
        timeouts.closing
    } else {
        timeouts.session
    };
    epoch.saturating_sub(flow.seen) > timeout
}

/// What the recorded flows of a redirect mean for its slots.
pub struct Census {
    elsewhere: Vec<bool>,
}

impl Census {
    /// Counts the live flows of the redirect whose slots are in `book`, by their clients.
    pub fn take<'a>(book: &SlotBook, flows: impl IntoIterator<Item = (IpAddr, &'a Flow)>) -> Self {
        let mut elsewhere = vec![false; SLOTS];
        for (client, flow) in flows {
            let slot = book.slot_of(client);
            if flow.backend != book[slot].now {
                elsewhere[usize::from(slot)] = true;
            }
        }
        Self { elsewhere }
    }

    /// Whether a live flow of the slot is on another backend than the slot's `now`.
    pub fn lives_elsewhere(&self, slot: usize) -> bool {
        self.elsewhere[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        session: 100,
        udp: 20,
        handshake: 10,
        closing: 5,
    };

    fn flow(flags: u16) -> Flow {
        Flow {
            backend: 1,
            flags,
            seen: 10,
        }
    }

    #[test]
    fn an_established_flow_is_over_after_the_session_timeout() {
        assert!(!is_over(&flow(0), &TIMEOUTS, 110));
        assert!(is_over(&flow(0), &TIMEOUTS, 111));
    }

    #[test]
    fn a_flow_of_datagrams_is_over_after_its_own_timeout() {
        assert!(!is_over(&flow(0), &TIMEOUTS.of_udp(), 30));
        assert!(is_over(&flow(0), &TIMEOUTS.of_udp(), 31));
    }

    #[test]
    fn a_flow_closed_by_both_sides_is_over_soon() {
        assert!(is_over(
            &flow(FLOW_FIN_CLIENT | FLOW_FIN_NODE),
            &TIMEOUTS,
            16
        ));
    }

    #[test]
    fn a_flow_closed_by_one_side_lives_on() {
        assert!(!is_over(&flow(FLOW_FIN_CLIENT), &TIMEOUTS, 16));
        assert!(!is_over(&flow(FLOW_FIN_NODE), &TIMEOUTS, 16));
    }

    #[test]
    fn a_flow_that_its_node_has_reset_is_over_soon() {
        assert!(is_over(&flow(FLOW_RESET), &TIMEOUTS, 16));
    }

    #[test]
    fn a_clock_that_stood_still_expires_nothing() {
        assert!(!is_over(
            &Flow {
                seen: 50,
                ..flow(0)
            },
            &TIMEOUTS,
            10
        ));
    }
}
