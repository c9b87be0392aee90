//! The agent's hands in the kernel: load the program, keep its maps, attach it to interfaces.
//!
//! | file | holds |
//! |---|---|
//! | `kernel.rs` | which kernels will do |
//! | `object.rs` | where the program comes from |
//! | `load.rs` | program and maps, fresh, adopted from pins, or gone on from another version's |
//! | `load/programs.rs` | the programs that interfaces run |
//! | `standing.rs` | what is found pinned at a start, of which versions |
//! | `handover.rs` | from another version to this one |
//! | `handover/carried.rs` | which maps that is about, and what of them connections need |
//! | `handover/copy.rs` | from a map of another version to the one of ours |
//! | `handover/records.rs` | what becomes of the entries of a hash table when it is copied again |
//! | `layout/` | how maps are laid out, and how one layout becomes another |
//! | `raw.rs` | maps whose layout is only known when they are read |
//! | `maps.rs` | every map, typed |
//! | `maps/endpoints.rs` | the table of endpoints, written so that packets find each in one of few places |
//! | `maps/buffers.rs` | the table that packets read, and the spare one that is written |
//! | `maps/family.rs` | those that each family has of its own |
//! | `maps/records.rs` | what the data path records in them |
//! | `maps/inner.rs` | maps within a map, and how the next agent finds them |
//! | `maps/slot_tables.rs` | the slot tables of redirects |
//! | `returns.rs` | those of the ways back to clients |
//! | `stages.rs` | the later programs, and the maps by which the first ones reach them |
//! | `capture.rs` | what a capture looks for, and its ring |
//! | `attach.rs` | links to interfaces, pinned so that forwarding outlives the agent |
//! | `plain.rs` | the promise to aya that ABI structures are plain bytes |
//!
//! **Architecture invariant:** nothing outside this module makes a `bpf` system call, and only the agent's
//! main loop holds a [`Maps`] that it writes to.

mod attach;
mod capture;
mod handover;
mod kernel;
mod layout;
mod load;
mod maps;
mod object;
mod plain;
mod raw;
mod returns;
mod stages;
mod standing;

pub use attach::{Attached, Mode, attach, detach, detach_others, exchange, pinned};
pub use capture::{Capture, Counts};
pub use kernel::{Abilities, KernelError, check as abilities};
pub use load::{Datapath, LoadError, Pins, load, unpin_all};
pub use maps::{Maps, MapsError};
pub use object::{Object, ObjectError};
pub use returns::Returns;
pub use standing::is_version;
