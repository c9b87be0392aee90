//! Metrics: the state of the agent in the words of Prometheus.
//!
//! | file | holds |
//! |---|---|
//! | `measured.rs` | what the agent itself measures |
//! | `families.rs` | every metric with its name, help, unit and labels |
//! | `traffic.rs` | those of nodes' packets |
//! | `own.rs` | those whose samples have labels of their own |
//! | `peers.rs` | those of other relays |
//! | `labels.rs` | the labels of everything that has series, written once for all families |
//! | `text.rs` | how families and samples are written, by `prometheus-client` |
//! | `exposition.rs` | the text that is scraped, in parts |
//!
//! Everything comes from one snapshot, so the numbers of a scrape belong together. Labels are names of the
//! configuration, of verdicts, events and causes, never of clients: how many series there are depends on the
//! configuration only.
//!
//! Counters of packets live in the data path's pinned maps, so they go on counting while the agent restarts; those
//! of the agent itself (checks, applying) start from zero with it.

mod exposition;
mod families;
mod labels;
mod measured;
mod own;
mod peers;
mod text;
mod traffic;

#[cfg(test)]
mod tests;

pub use exposition::Exposition;
pub use measured::{BOUNDS, Fill, Measured, Probed, Probes, Timings};
pub use text::Format;
