//! The decisions of the agent, without a clock, a kernel or a network.
//!
//! | file | decides |
//! |---|---|
//! | `rendezvous.rs` | which node each slot belongs to |
//! | `slots.rs` | when a slot splits and when it settles |
//! | `flows.rs` | which recorded flows are over, and what the others hold up |
//! | `silence.rs` | whether a node that is down is dead |
//!
//! **Architecture invariant:** time is an argument (seconds of [`redirector_common::abi::Globals::epoch`], or
//! an [`std::time::Instant`]), so that any history can be replayed in a test.

mod flows;
mod rendezvous;
mod silence;
mod slots;

pub use flows::{Census, Timeouts, is_over};
pub use rendezvous::{Candidate, winners};
pub use silence::{Silence, Traffic};
pub use slots::{SlotBook, Swap};
