//! One turn of a target: all of its checks, side by side.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;

use tokio::net::TcpStream;

use super::talk::Talk;
use super::{Hands, Material, Outcome, Target, exchange, http, icmp, script, socks, talk, tls};
use crate::config::{Check, CheckKind, Page};

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
    host: (&Material, &Hands),
) -> Verdict {
    let checks = target.checks.iter().map(|check| {
        let limit = check.timeout.unwrap_or(timeout);
        let limit = haste.map_or(limit, |haste| limit.min(haste));
        one(check, target, limit, host)
    });
    decide(join_all(checks).await)
}

/// The one of the results that counts.
fn decide(results: Vec<(Outcome, Duration)>) -> Verdict {
    let first = |wanted: Option<bool>| {
        let mut results = results.iter();
        results.position(|(outcome, _)| outcome.success() == wanted)
    };
    let slowest = || {
        let results = results.iter().enumerate();
        let slowest = results.max_by_key(|(_, (_, took))| *took);
        slowest.map(|(index, _)| index)
    };
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

/// Makes one check of a target, within `limit`; says what came of it and how long it took.
pub async fn one(
    check: &Check,
    target: &Target,
    limit: Duration,
    (material, hands): (&Material, &Hands),
) -> (Outcome, Duration) {
    let start = Instant::now();
    let deadline = tokio::time::Instant::from_std(start) + limit;
    let address = check.address(target.address);
    let ttl = target.ttl;
    let outcome = match &check.kind {
        CheckKind::Icmp => icmp::check(address.ip(), ttl, deadline, hands).await,
        CheckKind::Script(script) => {
            let port = address.port();
            script::check(script, target, port, (&material.users, hands), deadline).await
        }
        CheckKind::Socks5(settings) => {
            let login = settings.login.as_ref();
            let password = login.and_then(|login| material.secrets.get(&login.password_file));
            socks::check5(address, ttl, settings, password, deadline).await
        }
        CheckKind::Socks4(settings) => socks::check4(address, ttl, settings, deadline).await,
        CheckKind::Tcp | CheckKind::Exchange(_) | CheckKind::Tls(_) | CheckKind::Http(_) => {
            match talk::connect(address, ttl, deadline).await {
                Ok(talk) => {
                    let connected = start.elapsed();
                    let outcome = over_tcp(check, talk, address, material).await;
                    if outcome == Outcome::Connected {
                        return (judged(check, outcome, connected, limit), connected);
                    }
                    outcome
                }
                Err(outcome) => outcome,
            }
        }
    };
    let took = start.elapsed();
    (judged(check, outcome, took, limit), took)
}

/// The check on a connection that the node has accepted.
async fn over_tcp(
    check: &Check,
    mut talk: Talk<TcpStream>,
    address: SocketAddr,
    material: &Material,
) -> Outcome {
    let outcome = match &check.kind {
        CheckKind::Exchange(steps) => exchange::check(&mut talk, steps).await,
        CheckKind::Tls(tls) | CheckKind::Http(Page { tls: Some(tls), .. }) => {
            let ip = address.ip();
            let mut talk = match tls::handshake(talk, tls, ip, &material.trusts).await {
                Ok(talk) => talk,
                Err(outcome) => return outcome,
            };
            let outcome = match &check.kind {
                CheckKind::Http(http) => http::check(&mut talk, http, &host(address, 443)).await,
                CheckKind::Tls(_)
                | CheckKind::Tcp
                | CheckKind::Icmp
                | CheckKind::Exchange(_)
                | CheckKind::Script(_)
                | CheckKind::Socks5(_)
                | CheckKind::Socks4(_) => Outcome::passed("tls handshake ok"),
            };
            talk.part();
            return outcome;
        }
        CheckKind::Http(http) => http::check(&mut talk, http, &host(address, 80)).await,
        CheckKind::Tcp
        | CheckKind::Icmp
        | CheckKind::Script(_)
        | CheckKind::Socks5(_)
        | CheckKind::Socks4(_) => Outcome::Connected,
    };
    talk.part();
    outcome
}

/// What a node is called in a request.
fn host(address: SocketAddr, usual: u16) -> String {
    match address {
        SocketAddr::V4(v4) if v4.port() == usual => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.port() == usual => format!("[{}]", v6.ip()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.to_string(),
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
mod hostile;
#[cfg(test)]
mod tests;
