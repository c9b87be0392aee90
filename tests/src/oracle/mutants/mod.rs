//! Programs with one mistake each: the oracle must catch every one of them, and find no fault with the
//! program that makes none.
//!
//! | file | holds |
//! |---|---|
//! | `histories.rs` | the real program through a random history, with what it sends spoilt |
//! | `by_hand.rs` | pairs of frames written down by hand |
//! | `generic.rs` | the same in generic mode |
//! | `wrong.rs` | one mistake in each kind of them |
//! | `answers.rs` | the same for answers to packets that are too big |
//! | `refusals.rs` | the same for answers to packets that no node takes |
//! | `accounts.rs` | claims that follow from the tables |
//! | `dialogues.rs` | the same for SOCKS dialogues |

mod accounts;
mod answers;
mod by_hand;
mod dialogues;
mod generic;
mod histories;
mod refusals;
mod wrong;
