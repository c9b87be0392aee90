//! Metrics: the state of the agent in the words of Prometheus.
//!
//! | file | holds |
//! |---|---|
//! | `measured.rs` | what the agent itself measures |
//! | `families.rs` | every metric with its name, help, unit and labels |
//! | `metric.rs` | what a metric is |
//! | `exposition.rs` | the text that is scraped |
//!
//! Everything comes from one snapshot, so the numbers of a scrape belong together. Labels are names of the
//! configuration, of verdicts, events and causes, never of clients: how many series there are depends on the
//! configuration only.
//!
//! Counters of packets live in the data path's pinned maps, so they go on counting while the agent restarts; those
//! of the agent itself (checks, applying) start from zero with it.

mod exposition;
mod families;
mod measured;
mod metric;

#[cfg(test)]
mod tests;

pub use exposition::{Format, expose};
pub use measured::{BOUNDS, Fill, Measured, Probed, Probes, Timings};
