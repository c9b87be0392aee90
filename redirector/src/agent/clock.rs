//! The data path's clock: seconds that stand still while no agent runs.

use std::time::Instant;

/// Counts on from where an earlier agent stopped.
pub(super) struct Clock {
    base: u32,
    start: Instant,
}

impl Clock {
    /// A clock that shows `base` at `start`.
    pub(super) fn new(base: u32, start: Instant) -> Self {
        Self { base, start }
    }

    /// What it shows.
    pub(super) fn epoch(&self, at: Instant) -> u32 {
        let elapsed = at.saturating_duration_since(self.start).as_secs();
        self.base
            .saturating_add(u32::try_from(elapsed).unwrap_or(u32::MAX))
    }
}
