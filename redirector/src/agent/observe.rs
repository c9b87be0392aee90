//! What checks have seen.

use super::Agent;
use crate::{
    control::Happening,
    health::{Health, Observation, Outcome, log_line::ChangeLine},
};

impl Agent {
    /// Takes results of checks.
    pub(super) fn observe(&mut self, observations: &[Observation]) {
        for observation in observations {
            self.warn_of_unmade(observation);
        }
        let epoch = self.epoch();
        let changes = self.change(|relay| relay.observe_all(observations, epoch));
        for observation in observations {
            self.shown.observe(observation);
        }
        for (observation, change) in observations.iter().zip(changes) {
            let Some(change) = change else {
                continue;
            };
            let target = &observation.target;
            let checked = self.relay.checked(target);
            for (pool, node) in self.relay.followers(target) {
                log::info!(
                    "node {node} of pool {pool} follows {} of pool {}, state {} -> {}",
                    target.node,
                    target.pool,
                    change.from,
                    change.to
                );
            }
            let line = ChangeLine {
                node: &target.node,
                address: observation.address(),
                pool: &target.pool,
                check: observation.check_name(),
                outcome: &observation.outcome,
                took: observation.took,
                change,
                availability: checked
                    .and_then(|checked| checked.tracker.availability())
                    .unwrap_or_default(),
            };
            self.events.tell(Happening::Health {
                pool: target.pool.clone(),
                node: target.node.clone(),
                address: observation.address(),
                from: change.from,
                to: change.to,
                check: observation.check_name().to_owned(),
                cause: observation.outcome.cause().word().to_owned(),
                outcome: observation.outcome.to_string(),
                took_us: u64::try_from(observation.took.as_micros()).unwrap_or(u64::MAX),
            });
            if change.to == Health::Down {
                log::warn!("{line}");
            } else {
                log::info!("{line}");
            }
        }
        self.apply();
        self.note_for_polls(observations);
    }

    /// Says so when a check begins not to be made, for a reason at this host.
    fn warn_of_unmade(&self, observation: &Observation) {
        let target = &observation.target;
        let made = |outcome: &Outcome| outcome.success().is_some();
        let before = self.relay.checked(target).and_then(|c| c.last.as_ref());
        if !made(&observation.outcome) && before.is_none_or(|before| made(&before.outcome)) {
            log::warn!(
                "node {} ({}) of pool {}: check {}: {}; its state stays as it is meanwhile",
                target.node,
                observation.address(),
                target.pool,
                observation.check_name(),
                observation.outcome,
            );
        }
    }
}
