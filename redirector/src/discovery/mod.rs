//! Pools whose nodes are named elsewhere: who is asked, how often, and what becomes of the answers.
//!
//! | file | holds |
//! |---|---|
//! | `book.rs` | everything known about sources, and every decision |
//! | `bound.rs` | how much of an answer is read |
//! | `endpoints.rs` | from the `EndpointSlices` of a cluster to nodes |
//! | `failure.rs` | why a source does not tell its nodes |
//! | `held.rs` | the `EndpointSlices` of a source that are held, and how many at most |
//! | `kubernetes.rs` | watching the API server of a cluster |
//! | `pace.rs` | requests at a bounded rate |
//! | `records.rs` | asking name servers for all nodes of a name |
//!
//! What a source names replaces the nodes of its pool as a reload does that lists them in the file: connections stay where
//! they are, and a node that is not named any more keeps its established connections while it answers them. A source that
//! cannot be asked changes nothing, however long that lasts: its pool keeps the last nodes that it named.
//!
//! **A list that is suddenly empty is not believed at once.** An API server that has lost its data, or that comes back before
//! those who fill it, lists nothing; so does a cluster whose service really has no endpoint. Where the nodes go one by one
//! by a watch without a gap, they go; where a *list* names none and some were known, they stay until no event has named one for
//! `empty-grace`. Name servers are never believed to say that there is nobody.
//!
//! **Architecture invariants**
//!
//! * `book.rs` and `endpoints.rs` ask nobody, read no clock and write no file, so that every history of answers can be replayed in
//!   a test.
//! * What a source can cost is bounded: bytes of an answer, objects and endpoints that are held, requests in a time, reports that
//!   wait to be taken.

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

mod book;
mod bound;
mod endpoints;
mod failure;
mod held;
mod kubernetes;
mod pace;
mod records;

pub use book::{Book, Kept, Known, Report, Taken, Trouble};
pub use failure::{Cause, Failure};
pub use kubernetes::{ask, watch};
pub use records::look_up;
