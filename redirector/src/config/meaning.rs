//! From the configuration as written to the configuration as meant.
//!
//! A value that cannot be meant is reported and replaced by a harmless one, so that the rest can be
//! checked as well; the result is only used when nothing was reported.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use serde_spanned::Spanned;

use super::accounts::{self, Accounts};
use super::check::{Check, read::TIMEOUT};
use super::conflicts::Places;
use super::host::Addresses;
use super::model::{Config, DEFAULT_PRIORITY, Flows, MAX_PRIORITY, MAX_WEIGHT, Node, Pool, Timing};
use super::problem::{Complaint, Findings};
use super::values::NodePlace;
use super::{
    conflicts, dns, hash_key, http, parents, peer, redirect, source, values, words, written,
};
use crate::units::exact;

/// Bounds of `interval`: below, checks would be the load; above, they would say nothing.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(86_400);
/// Bounds of the timeouts of flows: the data path counts whole seconds.
const FLOW_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
/// Bounds of `flows.max`: a flow takes about 100 bytes of kernel memory.
const FLOWS: RangeInclusive<u32> = 1..=1 << 24;
/// Bounds of `slow-start`: the data path's clock counts whole seconds.
const SLOW_START: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Bounds of `min-active`.
const MIN_ACTIVE: RangeInclusive<u32> = 1..=1024;
const STREAK: RangeInclusive<u32> = 1..=1000;
/// Bounds of `jitter`, in percent.
const JITTER: RangeInclusive<u32> = 0..=50;
const TTL: RangeInclusive<u32> = 1..=255;

/// Checks everything; the result means something only when `findings` stays empty.
pub(super) fn mean(
    written: written::Written,
    accounts: Accounts,
    findings: &mut Findings,
) -> Config {
    let (privileges, control) = accounts::mean(written.accounts, accounts, findings);
    let health = timing(&written.health, Timing::default(), findings);
    let has_key = written.hash_key.is_some();
    let hash_key = written.hash_key.and_then(|text| {
        let key = hash_key::derive(text.get_ref()).ok_or_else(|| {
            Complaint::new("`hash-key` is too short").help(format!(
                "at least {} characters, best 32 random hexadecimal digits: openssl rand -hex 16",
                hash_key::MIN_LENGTH
            ))
        });
        findings.check(text.span(), key)
    });
    let mut places = Places::default();
    let mut pools: Vec<Pool> = written
        .pools
        .into_iter()
        .map(|pool| self::pool(pool, health, &mut places, findings))
        .collect();
    parents::resolve(&mut pools, &places, findings);
    let redirects = written
        .redirects
        .into_iter()
        .map(|redirect| redirect::redirect(redirect, &pools, &mut places, findings))
        .collect();
    let config = Config {
        interfaces: interfaces(written.interfaces, findings),
        xdp_mode: choice("xdp-mode", written.xdp_mode, &words::XDP_MODES, findings)
            .unwrap_or_default(),
        hash_key,
        flows: flows(&written.flows, findings),
        pools,
        redirects,
        http: written
            .http
            .and_then(|written| http::mean(written, findings)),
        peers: peer::mean(written.peers, has_key, findings),
        dns: dns::mean(written.dns, findings),
        privileges,
        control,
    };
    conflicts::find(&config, &places, findings);
    config
}

pub(super) fn choice<T: Copy>(
    key: &str,
    word: Option<Spanned<String>>,
    known: &[(&str, Result<T, &str>)],
    findings: &mut Findings,
) -> Option<T> {
    let word = word?;
    findings.check(word.span(), values::choice(key, word.get_ref(), known))
}

fn interfaces(
    names: Option<Spanned<Vec<Spanned<String>>>>,
    findings: &mut Findings,
) -> Vec<String> {
    let Some(names) = names else {
        return Vec::new();
    };
    let at = names.span();
    let mut known: Vec<String> = Vec::new();
    let names = names.into_inner();
    if names.is_empty() {
        let help = "name at least one: interfaces = [\"eth0\"]";
        findings.add(at, Complaint::new("`interfaces` is empty").help(help));
    }
    for name in names {
        let value = values::interface(name.get_ref());
        let Some(value) = findings.check(name.span(), value) else {
            continue;
        };
        if known.contains(&value) {
            let complaint = Complaint::new(format!("interface \"{value}\" is listed twice"));
            findings.add(
                name.span(),
                complaint.help("a one-armed relay needs it only once"),
            );
        } else {
            known.push(value);
        }
    }
    known
}

fn flows(written: &written::Flows, findings: &mut Findings) -> Flows {
    let Flows {
        max,
        session_timeout,
        udp_timeout,
        handshake_timeout,
        closing_timeout,
    } = Flows::default();
    let mut timeout = |key: &str, text: &Option<Spanned<String>>, default| {
        duration(key, text.as_ref(), &FLOW_TIMEOUT, default, findings)
    };
    Flows {
        session_timeout: timeout("session-timeout", &written.session_timeout, session_timeout),
        udp_timeout: timeout("udp-timeout", &written.udp_timeout, udp_timeout),
        handshake_timeout: timeout(
            "handshake-timeout",
            &written.handshake_timeout,
            handshake_timeout,
        ),
        closing_timeout: timeout("closing-timeout", &written.closing_timeout, closing_timeout),
        max: number("max", written.max.as_ref(), &FLOWS, max, findings),
    }
}

pub(super) fn duration(
    key: &str,
    text: Option<&Spanned<String>>,
    bounds: &RangeInclusive<Duration>,
    default: Duration,
    findings: &mut Findings,
) -> Duration {
    text.and_then(|text| findings.check(text.span(), values::duration(key, text.get_ref(), bounds)))
        .unwrap_or(default)
}

fn number(
    key: &str,
    value: Option<&Spanned<i64>>,
    bounds: &RangeInclusive<u32>,
    default: u32,
    findings: &mut Findings,
) -> u32 {
    value
        .and_then(|value| {
            findings.check(value.span(), values::number(key, *value.get_ref(), bounds))
        })
        .unwrap_or(default)
}

fn timing(written: &written::Timing, default: Timing, findings: &mut Findings) -> Timing {
    let before = findings.0.len();
    let Timing {
        interval,
        timeout,
        rise,
        fall,
        fast_interval,
        jitter,
    } = default;
    let timing = Timing {
        interval: duration(
            "interval",
            written.interval.as_ref(),
            &INTERVAL,
            interval,
            findings,
        ),
        timeout: duration(
            "timeout",
            written.timeout.as_ref(),
            &TIMEOUT,
            timeout,
            findings,
        ),
        rise: number("rise", written.rise.as_ref(), &STREAK, rise, findings),
        fall: number("fall", written.fall.as_ref(), &STREAK, fall, findings),
        fast_interval: written
            .fast_interval
            .as_ref()
            .and_then(|text| {
                let value = values::duration("fast-interval", text.get_ref(), &INTERVAL);
                findings.check(text.span(), value)
            })
            .or(fast_interval),
        jitter: written
            .jitter
            .as_ref()
            .and_then(|value| {
                let percent = values::number("jitter", *value.get_ref(), &JITTER);
                findings.check(value.span(), percent)
            })
            .and_then(|percent| u8::try_from(percent).ok())
            .unwrap_or(jitter),
    };
    let place = written
        .timeout
        .as_ref()
        .or(written.interval.as_ref())
        .map(Spanned::span);
    // A pool that sets neither has what [health] was reported for already.
    if let Some(place) = place
        && findings.0.len() == before
        && timing.timeout > timing.interval
    {
        let complaint = Complaint::new(format!(
            "the timeout of {} is longer than the interval of {}",
            exact(timing.timeout),
            exact(timing.interval)
        ));
        let help = "a check must end before the next one starts: raise interval or lower timeout";
        findings.add(place, complaint.help(help));
    }
    if let Some(text) = &written.fast_interval
        && findings.0.len() == before
        && timing
            .fast_interval
            .is_some_and(|fast| fast > timing.interval)
    {
        let complaint = Complaint::new(format!(
            "`fast-interval` of {} is longer than the interval of {}",
            text.get_ref(),
            exact(timing.interval)
        ));
        findings.add(
            text.span(),
            complaint.help("it is for nodes in doubt: lower it"),
        );
    }
    timing
}

fn pool(
    written: written::Pool,
    health: Timing,
    places: &mut Places,
    findings: &mut Findings,
) -> Pool {
    let name_at = written.name.span();
    findings.check(name_at.clone(), values::name(written.name.get_ref()));
    let name = written.name.into_inner();
    let listed = written.nodes.as_ref().map(|(at, _)| at.clone());
    let is_found = listed.is_none();
    let source = source::mean(written.source, listed, findings);
    let mut nodes = Vec::new();
    let mut nodes_at = Vec::new();
    let mut parents = Vec::new();
    let timing = timing(&written.health, health, findings);
    if let Some((at, list)) = written.nodes {
        if list.is_empty() {
            let complaint = Complaint::new(format!("pool `{name}` has no nodes"));
            findings.add(
                at,
                complaint.help("list at least one: nodes = [\"10.0.1.2\"]"),
            );
        }
        let mut names = HashMap::new();
        let mut addresses = HashMap::new();
        for written in list {
            let parent = written.parent.clone();
            let Some((node, at, name_at)) = node(written, timing, findings) else {
                continue;
            };
            parents.extend(parent.map(|parent| (nodes.len(), parent)));
            let address = as_written(&node);
            if let Some(other) = addresses.insert(address.clone(), node.name.clone()) {
                let complaint = Complaint::new(format!(
                    "{address} is in pool `{name}` twice, as `{other}` and as `{}`",
                    node.name
                ));
                findings.add(
                    at.clone(),
                    complaint.help("give the node a larger weight instead"),
                );
            } else if let Some(other) = names.insert(node.name.clone(), address.clone()) {
                let complaint = Complaint::new(format!(
                    "pool `{name}` has two nodes named `{}`: {other} and {address}",
                    node.name
                ));
                findings.add(name_at, complaint.help("choose another name"));
            }
            nodes.push(node);
            nodes_at.push(at);
        }
    }
    let min_active = number(
        "min-active",
        written.min_active.as_ref(),
        &MIN_ACTIVE,
        1,
        findings,
    );
    if let Some(at) = &written.min_active
        && !is_found
        && nodes.len() < min_active as usize
    {
        let complaint = Complaint::new(format!(
            "pool `{name}` has {} nodes, so no priority can have {min_active} that are up",
            nodes.len()
        ));
        findings.add(at.span(), complaint.help("lower min-active, or add nodes"));
    }
    places.nodes.push(nodes_at);
    places.parents.push(parents);
    let mut checks = written.checks;
    if checks.is_empty() {
        checks.push(Check::default());
    }
    Pool {
        name,
        source,
        min_active,
        failback: choice("failback", written.failback, &words::FAILBACKS, findings)
            .unwrap_or_default(),
        slow_start: duration(
            "slow-start",
            written.slow_start.as_ref(),
            &SLOW_START,
            Duration::ZERO,
            findings,
        ),
        nodes,
        checks: checks.into(),
        timing,
    }
}

/// A node, the place of its address and that of its name.
fn node(
    written: written::Node,
    pool: Timing,
    findings: &mut Findings,
) -> Option<(Node, Range<usize>, Range<usize>)> {
    let weight = number(
        "weight",
        written.weight.as_ref(),
        &(1..=MAX_WEIGHT),
        1,
        findings,
    );
    let priority = number(
        "priority",
        written.priority.as_ref(),
        &(0..=MAX_PRIORITY),
        DEFAULT_PRIORITY,
        findings,
    );
    let name = written.name.and_then(|name| {
        findings
            .check(name.span(), values::name(name.get_ref()))
            .map(|value| (value, name.span()))
    });
    let check_port = written.check_port.and_then(|value| {
        findings.check(value.span(), values::port("check-port", *value.get_ref()))
    });
    let check_ttl = written.check_ttl.and_then(|value| {
        let hops = values::number("check-ttl", *value.get_ref(), &TTL);
        findings.check(value.span(), hops)
    });
    let own = written.health.map(|health| timing(&health, pool, findings));
    let address = written.address?;
    let at = address.span();
    let place = findings.check(at.clone(), values::node_address(address.get_ref()))?;
    let (host, addresses) = match place {
        NodePlace::Address(address) => (None, address.into()),
        NodePlace::Host(host) => (Some(host), Addresses::default()),
    };
    let mut node = Node {
        name: String::new(),
        host,
        addresses,
        weight,
        priority,
        check_port,
        check_ttl: check_ttl.and_then(|hops| u8::try_from(hops).ok()),
        parent: None,
        timing: own,
        standing: None,
    };
    let (name, name_at) = name.unwrap_or_else(|| (as_written(&node), at.clone()));
    node.name = name;
    Some((node, at, name_at))
}

/// The address of a node, or the host's name in its place.
fn as_written(node: &Node) -> String {
    match &node.host {
        Some(host) => host.to_string(),
        None => node.addresses.to_string(),
    }
}
