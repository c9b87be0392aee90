//! A stranger's opinion on what leaves the relay.
//!
//! The oracle knows the world as an operator would describe it and the RFCs, and shares no code with
//! the product: it reads frames by the offsets of the RFCs, adds every checksum up anew over
//! all bytes, and works the client hash out by long multiplication. What it says is compared byte for
//! byte with what the product sends.
//!
//! A packet that came in with a wrong checksum must leave with one that is wrong by the same amount, so
//! that its receiver still sees the damage.
//!
//! | file | question |
//! |---|---|
//! | `world.rs` | who is there, and how does one reach him? |
//! | `headers.rs`, `errors.rs` | what does a frame say, and is it fit to be sent on? |
//! | `kind.rs` | what is it, in this world? |
//! | `account.rs` | what does the product claim to have done? |
//! | `sent.rs`, `readdress.rs`, `sums.rs`, `hash.rs` | what must leave, then? |
//! | `too_big.rs` | is that a right answer to a packet that does not fit its way? |
//! | `fragments.rs` | where did the first fragment go? |
//! | `associations.rs` | which bytes of a SOCKS reply are the address to be replaced? |
//! | `judge.rs`, `fields.rs` | is it what left, and if not, which field is wrong? |
//! | `mistakes.rs`, `mutants/` | does the oracle see mistakes? |

mod account;
mod answers;
mod associations;
mod errors;
mod fields;
mod fragments;
mod hash;
mod headers;
mod judge;
mod kind;
pub mod mistakes;
#[cfg(test)]
mod mutants;
mod readdress;
mod refused;
mod sent;
mod sums;
mod too_big;
mod world;

pub use account::{
    claim, claim_of_error_to_client, claim_of_error_to_node, claim_of_too_big, slots_of,
};
pub use associations::{Associations, Replaced};
pub use headers::Unfit;
pub use judge::Judge;
pub use kind::Kind;
pub use sent::Claim;
pub use world::bytes_of;
pub use world::{Listener, Mode, Neighbour, Node, Socket, World};

/// The nodes of a slot: of new and of unrecorded connections. 0 is none.
pub type SlotNodes = (u16, u16);
