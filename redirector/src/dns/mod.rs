//! Nodes' names: what they stand for, when they are looked up again, and what becomes of answers.
//!
//! | file | holds |
//! |---|---|
//! | `book.rs` | everything known about names, and every decision |
//! | `lookup.rs` | asking name servers |
//!
//! A node has one address of each family that its redirects listen in. Where a name has more, the node takes the lowest
//! that can be used, so that two relays that ask at the same time take the same, and keeps it for as long as it is among
//! the answers: servers that shuffle what they answer move nothing. An address that is not among the answers any more is
//! exchanged for one that is, just as if the configuration file had been changed and reloaded: connections stay with the
//! old address as long as something answers there. A look-up that fails changes nothing at all, whichever way it fails;
//! but an address that no answer gives a name any more is another's as soon as an answer says so.
//!
//! **Architecture invariant:** `book.rs` asks nobody, reads no clock and writes no file, so that every history of answers
//! can be replayed in a test.

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
mod lookup;

pub use book::{AT_A_TIME, Answer, Kept, Names, Objections, Part, Resolution, Taken};
pub use lookup::look_up;
pub(crate) use lookup::services;
