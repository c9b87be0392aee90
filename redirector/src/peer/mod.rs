//! What relays tell each other, so that any of them can go on with the connections of another.
//!
//! | file | holds |
//! |---|---|
//! | `document.rs` | what is told |
//! | `ask.rs` | who is asked, and when |
//! | `fetch.rs` | one question and its answer |
//!
//! Each relay asks its peers, by the HTTP server that they have; nothing is pushed. **What a relay computes, the nodes of
//! new connections, it never takes from a peer; what it can only have seen, where older connections live, it takes from
//! the one that has carried clients last** ([`crate::engine::Standing`]).
//!
//! **Architecture invariants**
//!
//! * The document names clients, listeners and nodes by their addresses on the wire, never by numbers of the maps, and
//!   moments by how long ago they were: two relays have neither numbers nor clocks in common.
//! * The key of the client hash is never told, only its fingerprint.
//! * An answer is bounded in bytes and in time, and read in the thread that reads what others send.

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

mod ask;
mod document;
mod fetch;

pub use ask::{Asking, Heard, Prepared};
pub use document::{
    AssociationRecord, Document, FlowRecord, ListenerRecord, RedirectRecord, SPLIT, SlotsRecord,
    TableRecord, VERSION, fingerprint,
};
pub use fetch::{FetchError, Fetched, fetch};
