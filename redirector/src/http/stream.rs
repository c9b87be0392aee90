//! Snapshots as they come, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::source::Source;

/// How often the page hears news.
const EVERY: Duration = Duration::from_secs(1);

struct Listener {
    source: Arc<Source>,
    ticks: Interval,
    _place: OwnedSemaphorePermit,
}

/// A stream for one listener, who gives `place` back when it goes.
pub(super) fn stream(
    source: Arc<Source>,
    place: OwnedSemaphorePermit,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener {
        source,
        ticks,
        _place: place,
    };
    let events = unfold(listener, async |mut listener| {
        listener.ticks.tick().await;
        let event = match listener.source.get().await {
            Ok(seen) => Event::default().event("snapshot").data(&*seen.live()),
            Err(stuck) => Event::default().event("stuck").data(stuck.to_string()),
        };
        Some((Ok(event), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
