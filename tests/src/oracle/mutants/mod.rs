//! Programs with one mistake each: the oracle must catch every one of them, and find no fault with the
//! program that makes none.
//!
//! `histories.rs` spoils what the real program sends through a random history; `by_hand.rs` compares the oracle with
//! frames written down by hand, and spoils these. `gaps.rs` lists what is not judged in histories.

mod by_hand;
mod gaps;
mod histories;
