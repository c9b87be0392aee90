//! The decisions of the agent, without a clock, a kernel or a network.
//!
//! | file | decides |
//! |---|---|
//! | `relay.rs` | the state of the relay, and what it wants in the maps |
//! | `relay/adopt.rs` | how to go on from what an earlier agent has left |
//! | `relay/hear.rs` | what the data path's counters tell about the nodes |
//! | `relay/reconfigure.rs` | what another configuration changes |
//! | `relay/retarget.rs` | which nodes take clients, and which are given up |
//! | `relay/round.rs` | what recorded flows still hold up |
//! | `relay/peer.rs` | what peers are told of slots and flows, and what is taken of theirs |
//! | `relay/operate.rs` | what the operator's words do |
//! | `operator.rs` | what the operator has said, and about what |
//! | `digest.rs` | by what two relays compare their tables |
//! | `backends.rs` | which node has which entry in the map of backends |
//! | `listeners.rs` | which listener has which number |
//! | `endpoints.rs` | how the data path is told to treat listeners' and nodes' packets |
//! | `associations.rs` | which UDP associations are over without having ended |
//! | `rendezvous.rs` | which node each slot belongs to |
//! | `rendezvous/score.rs` | the score of a node for a slot |
//! | `tiers.rs` | which priority of a pool takes the clients |
//! | `loads.rs` | how loaded nodes are, where new connections go to the one with the fewest |
//! | `turns.rs` | in which order nodes take turns |
//! | `ramp.rs` | how much of its share a node that came up has by now |
//! | `slots.rs` | when a slot splits and when it settles |
//! | `slots/stamps.rs` | since when each slot is as it is |
//! | `slots/peer.rs` | what a peer knows of older connections, and what of it counts |
//! | `flows.rs` | which recorded flows are over, and what the others hold up |
//! | `doubt.rs` | whether a node should be checked at once |
//! | `silence.rs` | whether a node that is down is dead |
//! | `moves.rs` | what would move if something were changed |
//! | `plan.rs` | the writes that bring the maps from what they hold to what they should |
//!
//! **Architecture invariant:** time is an argument (seconds of [`redirector_common::abi::Globals::epoch`], or
//! an [`std::time::Instant`]), so that any history can be replayed in a test.

mod associations;
mod backends;
mod digest;
mod doubt;
mod endpoints;
mod flows;
mod listeners;
mod loads;
mod moves;
mod operator;
mod plan;
mod ramp;
mod relay;
mod rendezvous;
mod silence;
mod slots;
mod tiers;
mod turns;

pub use associations::{Associations, Closed, Surroundings};
pub use backends::{Backends, Entry};
pub use digest::{TableOwner, TableOwners, digest};
pub use doubt::{Doubt, Doubts};
pub use endpoints::newly_tracked;
pub use flows::{Census, Timeouts, is_closed, is_over};
pub use listeners::Listener;
pub use moves::Moves;
pub use operator::{Kind, Operator, OperatorState, Said, Subject, UnknownName, find};
pub use plan::{State, Write, plan, ports};
pub use ramp::Ramp;
pub use relay::{
    Carried, Checked, Found, FromPeer, Live, LiveFlows, Member, RedirectState, Relay, RelayError,
    Told,
};
pub use rendezvous::{Candidate, Identity, Owners, Rendezvous, winners};
pub use silence::{Silence, Traffic};
pub use slots::{SlotBook, SlotsTaken, Standing, Swap};
