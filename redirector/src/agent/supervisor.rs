//! What the service manager is told (`sd_notify`): that the agent is ready, reloads, stops, and that its loop is alive.
//!
//! The watchdog is served by the loop itself, so a loop that is stuck is noticed and the agent started anew; the data
//! path goes on forwarding meanwhile. Without `NOTIFY_SOCKET` nothing is sent.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::Agent;

/// The watchdog, where the service manager has set one.
pub(super) struct Watchdog {
    interval: Option<Duration>,
    served: Instant,
}

impl Watchdog {
    /// As the environment says.
    pub(super) fn from_environment(now: Instant) -> Self {
        Self::new(sd_notify::watchdog_enabled(), now)
    }

    fn new(limit: Option<Duration>, now: Instant) -> Self {
        Self {
            interval: limit.map(|limit| limit / 2),
            served: now,
        }
    }

    /// Whether `ahead` from now would be too late for the next sign of life.
    fn is_due(&mut self, now: Instant, ahead: Duration) -> bool {
        let since = now.duration_since(self.served);
        let due = self.interval.is_some_and(|limit| since + ahead >= limit);
        if due {
            self.served = now;
        }
        due
    }
}

impl Agent {
    /// Tells that it serves, and what.
    pub(super) fn tell_ready(&self) {
        send(&[NotifyState::Ready, NotifyState::Status(&self.in_short())]);
    }

    /// Tells that another configuration is being looked at; [`Self::tell_ready`] is to follow.
    pub(super) fn tell_reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("cannot read the clock for the service manager: {error}"),
        }
    }

    /// Tells what it does now.
    pub(super) fn tell_status(&self) {
        send(&[NotifyState::Status(&self.in_short())]);
    }

    /// Tells that it ends.
    pub(super) fn tell_stopping() {
        send(&[NotifyState::Stopping, NotifyState::Status("ending")]);
    }

    /// Gives a sign of life, if it is time. This is called at least once per `period`.
    pub(super) fn serve_watchdog(&mut self, now: Instant, period: Duration) {
        if self.watchdog.is_due(now, period) {
            send(&[NotifyState::Watchdog]);
        }
    }

    fn in_short(&self) -> String {
        let names: Vec<&str> = self
            .attachments
            .iter()
            .map(|one| one.interface.as_str())
            .collect();
        let mut text = format!("configuration {}", self.generation);
        if !names.is_empty() {
            text.extend([", attached to ", &names.join(", ")]);
        }
        let absent: Vec<&str> = self.absent().map(String::as_str).collect();
        if !absent.is_empty() {
            text.extend([", absent: ", &absent.join(", ")]);
        }
        text
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot tell the service manager (NOTIFY_SOCKET): {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(250);

    #[test]
    fn signs_of_life_are_never_further_apart_than_half_the_limit() {
        for limit in [Duration::from_secs(1), Duration::from_secs(30)] {
            let start = Instant::now();
            let mut watchdog = Watchdog::new(Some(limit), start);
            let mut last = start;
            for turn in 1..=1000 {
                let now = start + PERIOD * turn;
                if watchdog.is_due(now, PERIOD) {
                    last = now;
                }
                assert!(now - last <= limit / 2, "{limit:?}, turn {turn}");
            }
            assert!(last > start);
        }
    }

    #[test]
    fn without_a_watchdog_there_are_no_signs_of_life() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(None, start);
        assert!(!watchdog.is_due(start + Duration::from_secs(3600), PERIOD));
    }
}
