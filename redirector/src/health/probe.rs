//! One turn of a target: all of its checks, side by side.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::secret::Secrets;
use super::{Outcome, Target, exchange, socks, talk};
use crate::config::{Check, CheckKind};

/// What a turn came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The check that decided: the first one that failed, else the first that learned nothing, else the slowest.
    pub which: usize,
    /// What it saw.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// Makes all checks of a target and says what came of them. None takes longer than `haste`, if there is any, nor
/// than its own timeout, or else `timeout`.
pub async fn turn(
    target: &Target,
    timeout: Duration,
    haste: Option<Duration>,
    secrets: &Secrets,
) -> Verdict {
    let checks = target.checks.iter().map(|check| {
        let limit = check.timeout.unwrap_or(timeout);
        let limit = haste.map_or(limit, |haste| limit.min(haste));
        one(check, target.address, limit, secrets)
    });
    decide(join_all(checks).await)
}

/// The one of the results that counts.
fn decide(results: Vec<(Outcome, Duration)>) -> Verdict {
    let first = |wanted: Option<bool>| {
        let mut results = results.iter();
        results.position(|(outcome, _)| outcome.success() == wanted)
    };
    let slowest = || (0..results.len()).max_by_key(|index| results[*index].1);
    let which = first(Some(false)).or_else(|| first(None)).or_else(slowest);
    let which = which.unwrap_or(0);
    let (outcome, took) = results
        .into_iter()
        .nth(which)
        // Every pool has a check.
        .unwrap_or((
            Outcome::NotProbed(std::io::ErrorKind::NotFound),
            Duration::ZERO,
        ));
    Verdict {
        which,
        outcome,
        took,
    }
}

/// Makes one check of a node whose `default` socket is this, within `limit`; says what came of it and how long it
/// took.
pub async fn one(
    check: &Check,
    default: SocketAddr,
    limit: Duration,
    secrets: &Secrets,
) -> (Outcome, Duration) {
    let start = Instant::now();
    let deadline = tokio::time::Instant::from_std(start) + limit;
    let address = check.address(default);
    let ttl = None;
    let (outcome, took) = match &check.kind {
        CheckKind::Tcp => tcp(address, ttl, deadline, start).await,
        CheckKind::Exchange(steps) => {
            let outcome = match talk::connect(address, ttl, deadline).await {
                Err(outcome) => outcome,
                Ok(mut talk) => {
                    let outcome = exchange::check(&mut talk, steps).await;
                    talk.part().await;
                    outcome
                }
            };
            (outcome, start.elapsed())
        }
        CheckKind::Socks5(settings) => {
            let password = check.password_file().and_then(|path| secrets.get(path));
            let outcome = socks::check5(address, ttl, settings, password, deadline).await;
            (outcome, start.elapsed())
        }
        CheckKind::Socks4(settings) => {
            let outcome = socks::check4(address, ttl, settings, deadline).await;
            (outcome, start.elapsed())
        }
    };
    (judged(check, outcome, took, limit), took)
}

/// Connects to a node's port and closes the connection again.
async fn tcp(
    address: SocketAddr,
    ttl: Option<u8>,
    deadline: tokio::time::Instant,
    start: Instant,
) -> (Outcome, Duration) {
    match talk::connect(address, ttl, deadline).await {
        Err(outcome) => (outcome, start.elapsed()),
        Ok(talk) => {
            let took = start.elapsed();
            talk.part().await;
            (Outcome::Connected, took)
        }
    }
}

/// Takes the time into account.
fn judged(check: &Check, outcome: Outcome, took: Duration, limit: Duration) -> Outcome {
    match (outcome.success(), check.slow) {
        (Some(true), Some(slow)) if took > slow => Outcome::told(
            super::Cause::Slow,
            format!(
                "slow: {outcome} after {}, more than {}",
                crate::units::took(took),
                crate::units::exact(slow)
            ),
        ),
        // The agent itself was busy for longer than the node had: whatever failed then was not the node's fault.
        (Some(false), _) if took >= limit * 2 => Outcome::NotProbed(std::io::ErrorKind::TimedOut),
        (Some(_) | None, _) => outcome,
    }
}

#[cfg(test)]
mod tests;
