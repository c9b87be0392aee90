//! Whether nodes can take clients: from probes to health.
//!
//! A [`probe`] of a node makes its checks and has an [`Outcome`]; outcomes in a row make its [`Health`]
//! ([`Tracker`]). The [`Scheduler`] runs the probes and sends what it sees; it decides nothing.
//!
//! What a node says is never trusted: every read has a bound and every conversation a deadline.
//!
//! **Architecture invariant:** the tracker reads no clock and does no IO; time is an argument.

// Foreign bytes are read below: nothing here may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod beat;
mod bytes;
mod exchange;
pub mod glob;
pub mod hands;
mod http;
mod icmp;
pub mod log_line;
pub mod material;
pub mod outcome;
pub mod probe;
pub mod schedule;
pub mod script;
pub mod secret;
mod socks;
mod talk;
pub mod tls;
pub mod tracker;

pub use self::hands::Hands;
pub use self::material::{Material, MaterialError};
pub use self::outcome::{Cause, Outcome};
pub use self::schedule::{Observation, Scheduler, Target};
pub use self::tracker::{Change, Health, Thresholds, Tracker};
