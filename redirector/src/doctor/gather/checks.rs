//! The checks of the pools, each made once, by what makes them in the agent.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::subject::{Node, Subject};
use crate::doctor::facts::Checked;
use crate::health::{Observation, Scheduler, Target};

/// What the longest check may take beyond its own limit.
const GRACE: Duration = Duration::from_secs(1);

/// Makes the checks of these nodes; the first result of each.
pub(super) async fn run<'a>(
    subject: &Subject,
    nodes: impl Iterator<Item = &'a Node>,
) -> HashMap<Target, Observation> {
    let mut found = HashMap::new();
    let material = match &subject.material {
        Some(Ok(material)) => material.clone(),
        Some(Err(_)) | None => return found,
    };
    let targets: Vec<_> = nodes.filter_map(|node| node.target.clone()).collect();
    let longest = targets.iter().filter_map(|(target, timing)| {
        let limits = target
            .checks
            .iter()
            .map(|check| check.timeout.unwrap_or(timing.timeout));
        limits.max()
    });
    let end = Instant::now() + longest.max().unwrap_or_default() + GRACE;
    let wanted = targets.len();
    let (sender, mut observations) = mpsc::channel(wanted.max(1));
    let mut scheduler = Scheduler::new(sender);
    scheduler.set_material(material);
    scheduler.set_targets(targets);
    while found.len() < wanted {
        match timeout_at(end, observations.recv()).await {
            Ok(Some(observation)) => {
                found
                    .entry(observation.target.clone())
                    .or_insert(observation);
            }
            Ok(None) | Err(_) => break,
        }
    }
    found
}

/// What is known of a node's check.
pub(super) fn of(
    subject: &Subject,
    node: &Node,
    found: &HashMap<Target, Observation>,
    reached: bool,
) -> Option<Checked> {
    if !reached {
        return None;
    }
    let Some((target, _)) = &node.target else {
        let (kind, outcome, up) = node.last.clone()?;
        return Some(Checked {
            kind,
            outcome,
            passed: Some(up),
        });
    };
    Some(match found.get(target) {
        Some(observation) => Checked {
            kind: observation.check_name().to_owned(),
            outcome: observation.outcome.to_string(),
            passed: observation.outcome.success(),
        },
        None => Checked {
            kind: target
                .checks
                .first()
                .map_or("none", |check| check.name())
                .to_owned(),
            outcome: match &subject.material {
                Some(Err(why)) => why.clone(),
                Some(Ok(_)) | None => "it did not end".to_owned(),
            },
            passed: None,
        },
    })
}
