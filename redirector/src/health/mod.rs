//! Whether nodes can take clients: from probes to health.
//!
//! A [`probe`] of a node's port has an [`Outcome`]; outcomes in a row make its [`Health`]
//! ([`Tracker`]). The [`Scheduler`] runs the probes and sends what it sees; it decides nothing.
//!
//! **Architecture invariant:** the tracker reads no clock and does no IO; time is an argument.

pub mod log_line;
pub mod probe;
pub mod schedule;
pub mod tracker;

pub use self::probe::Outcome;
pub use self::schedule::{Observation, Scheduler, Target};
pub use self::tracker::{Change, Health, Thresholds, Tracker};
