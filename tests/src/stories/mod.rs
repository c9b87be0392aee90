//! Short stories: one frame or a few, and what must become of each. Host and kernel must tell them alike.
//!
//! Each has a twin that differs in the one thing that decides. Where both families or both protocols are meant, there
//! is one story for each.
//!
//! | file | tells of |
//! |---|---|
//! | `story.rs`, `talk.rs` | what a story is, and the frames that they are made of |
//! | `headers.rs` | tags, options, extension headers, time to live |
//! | `slots.rs` | settled and split slots, learning, ways back |
//! | `modes.rs` | connections that are not given to the node of their client's slot |
//! | `redirects.rs` | routed, every port, a range, listeners that share sockets, direct traffic |
//! | `fragments.rs` | datagrams in pieces, both ways |
//! | `errors.rs` | ICMP errors, both ways |
//! | `checksums.rs` | missing and partial ones |
//! | `too_big.rs` | packets that do not fit their way |
//! | `refused.rs` | packets that no node takes |
//! | `dialogue.rs` | what is said on a control connection |
//! | `associations.rs` | UDP associations from request to end |
//! | `conformance.rs` | the table of them all, in `CONFORMANCE.md` |
//! | `negotiations.rs` | what looks like a request or a reply, and is none |

mod associations;
mod checksums;
mod conformance;
mod dialogue;
mod errors;
mod fragments;
mod headers;
mod modes;
mod negotiations;
mod redirects;
mod refused;
mod slots;
mod story;
mod talk;
mod too_big;

pub use conformance::conformance;
pub use story::{Happened, Scene, Story, happens_on_host};

/// All of them.
pub fn all() -> Vec<Story> {
    [
        headers::stories(),
        slots::stories(),
        modes::stories(),
        redirects::stories(),
        fragments::stories(),
        errors::stories(),
        checksums::stories(),
        too_big::stories(),
        refused::stories(),
        associations::stories(),
        negotiations::stories(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
