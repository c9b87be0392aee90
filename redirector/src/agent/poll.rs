//! Checks every node at once and waits for what they see.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::Agent;
use crate::{
    control::Response,
    health::{Observation, Target},
};

/// How long results are waited for; less than a client waits.
const PATIENCE: Duration = Duration::from_secs(50);

/// Most that wait at a time.
const MOST: usize = 32;

/// Somebody who waits for results.
pub(super) struct Poll {
    since: Instant,
    /// Those whose results are still to come.
    pending: HashSet<Target>,
    reply: oneshot::Sender<Response>,
}

impl Agent {
    /// Checks everything now; answers when every result is there.
    pub(super) fn poll(&mut self, reply: oneshot::Sender<Response>) {
        if self.polls.len() >= MOST {
            let message = format!("{MOST} others are waiting for results already; try again");
            let _ = reply.send(Response::Error { message });
            return;
        }
        let since = Instant::now();
        let targets = self.relay.targets().into_iter().map(|(target, _)| target);
        let pending: HashSet<Target> = targets
            .filter(|target| self.scheduler.probe_now(target))
            .collect();
        self.polls.push(Poll {
            since,
            pending,
            reply,
        });
        self.answer_polls();
    }

    /// Notes results for those who wait for them.
    pub(super) fn note_for_polls(&mut self, observations: &[Observation]) {
        for poll in &mut self.polls {
            for observation in observations {
                // A check that was under way when he asked does not count.
                let begun = observation.at.checked_sub(observation.took);
                if begun.is_some_and(|begun| begun >= poll.since) {
                    poll.pending.remove(&observation.target);
                }
            }
        }
        self.answer_polls();
    }

    /// Answers those who have all results, and those who have waited for too long.
    pub(super) fn answer_polls(&mut self) {
        let now = Instant::now();
        // Targets of another configuration are not checked any more.
        let current: Option<HashSet<Target>> = (!self.polls.is_empty()).then(|| {
            let targets = self.relay.targets().into_iter();
            targets.map(|(target, _)| target).collect()
        });
        let Some(current) = current else {
            return;
        };
        let mut waiting = Vec::new();
        for mut poll in std::mem::take(&mut self.polls) {
            poll.pending.retain(|target| current.contains(target));
            if poll.pending.is_empty() {
                let _ = poll.reply.send(self.status_response());
            } else if now.duration_since(poll.since) > PATIENCE {
                let late: Vec<String> = poll
                    .pending
                    .iter()
                    .map(|target| format!("{}/{}", target.pool, target.node))
                    .collect();
                let message = format!("no result within {PATIENCE:?} from {}", late.join(", "));
                let _ = poll.reply.send(Response::Error { message });
            } else {
                waiting.push(poll);
            }
        }
        self.polls = waiting;
    }
}
