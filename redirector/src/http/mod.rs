//! Metrics, status page and API by HTTP; off unless `[http]` is configured.
//!
//! | file | holds |
//! |---|---|
//! | `snapshot.rs` | what is told: the state of the agent at one moment, and whether it is ready |
//! | `source.rs` | where snapshots come from, and how many there are at most |
//! | `guard.rs` | which requests are refused before anything else is looked at |
//! | `routes.rs` | what is where |
//! | `stream.rs` | snapshots as they come, for the page |
//! | `server.rs` | connections and their limits |
//! | `page/` | the status page |
//!
//! **Architecture invariants**
//!
//! * The server has a thread of its own. It asks the agent's loop for a snapshot, at most four times a second
//!   however many clients there are, and the loop never waits for a client.
//! * What a client can cost is bounded: connections, bytes of a request, time to send one, time to read an answer.
//! * Nothing is changed by a request, and nobody is told of clients, unless it has the token of `token-file`.

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

mod guard;
mod routes;
mod server;
mod snapshot;
mod source;
mod stream;

#[cfg(test)]
mod tests;

pub use server::{Http, HttpError, Prepared};
pub(crate) use server::{token_in, token_of};
pub use snapshot::{Slots, Snapshot};
pub use source::{Ask, REPLY_WITHIN};
