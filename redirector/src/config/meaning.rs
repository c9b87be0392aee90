//! From the configuration as written to the configuration as meant.
//!
//! A value that cannot be meant is reported and replaced by a harmless one, so that the rest can be
//! checked as well; the result is only used when nothing was reported.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use serde_spanned::Spanned;

use super::conflicts::Places;
use super::model::{
    Check, Config, DirectTcp, Flows, MAX_WEIGHT, Node, OnDown, Pool, Redirect, Timing, XdpMode,
};
use super::problem::{Complaint, Findings};
use super::suggest::nearest;
use super::{conflicts, hash_key, values, written};
use crate::units::exact;

/// Bounds of `interval`: below, checks would be the load; above, they would say nothing.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(86_400);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
/// Bounds of the timeouts of flows: the data path counts whole seconds.
const FLOW_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
/// Bounds of `flows.max`: a flow takes about 100 bytes of kernel memory.
const FLOWS: RangeInclusive<u32> = 1..=1 << 24;
const STREAK: RangeInclusive<u32> = 1..=1000;

/// Word lists of the keys that take one of several words.
const XDP_MODES: [(&str, Result<XdpMode, &str>); 3] = [
    ("auto", Ok(XdpMode::Auto)),
    ("native", Ok(XdpMode::Native)),
    ("generic", Ok(XdpMode::Generic)),
];
const USE_TCP_CHECK: &str = "use check = \"tcp\"";
const CHECKS: [(&str, Result<Check, &str>); 8] = [
    ("tcp", Ok(Check::Tcp)),
    ("icmp", Err(USE_TCP_CHECK)),
    ("tls", Err(USE_TCP_CHECK)),
    ("http", Err(USE_TCP_CHECK)),
    ("https", Err(USE_TCP_CHECK)),
    ("send", Err(USE_TCP_CHECK)),
    ("script", Err(USE_TCP_CHECK)),
    ("socks5", Err(USE_TCP_CHECK)),
];
const USE_TCP: &str = "use protocol = \"tcp\"";
const PROTOCOLS: [(&str, Result<(), &str>); 3] = [
    ("tcp", Ok(())),
    ("udp", Err(USE_TCP)),
    ("both", Err(USE_TCP)),
];
const USE_SOURCE_HASH: &str = "use mode = \"source-hash\"";
const MODES: [(&str, Result<(), &str>); 4] = [
    ("source-hash", Ok(())),
    ("round-robin", Err(USE_SOURCE_HASH)),
    ("random", Err(USE_SOURCE_HASH)),
    ("least-states", Err(USE_SOURCE_HASH)),
];
const UDP_ASSOCIATE: [(&str, Result<(), &str>); 2] = [
    ("direct", Ok(())),
    ("shared", Err("use udp-associate = \"direct\"")),
];
const DIRECT_TCP: [(&str, Result<DirectTcp, &str>); 2] = [
    ("drop", Ok(DirectTcp::Drop)),
    ("allow", Err("use direct-tcp = \"drop\"")),
];
const ON_DOWN: [(&str, Result<OnDown, &str>); 3] = [
    ("auto", Ok(OnDown::Auto)),
    ("keep", Ok(OnDown::Keep)),
    ("reset", Ok(OnDown::Reset)),
];

/// Checks everything; the result means something only when `findings` stays empty.
pub(super) fn mean(written: written::Written, findings: &mut Findings) -> Config {
    let health = timing(&written.health, Timing::default(), findings);
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
    let pools: Vec<Pool> = written
        .pools
        .into_iter()
        .map(|pool| self::pool(pool, health, &mut places, findings))
        .collect();
    let redirects = written
        .redirects
        .into_iter()
        .map(|redirect| self::redirect(redirect, &pools, &mut places, findings))
        .collect();
    let config = Config {
        interfaces: interfaces(written.interfaces, findings),
        xdp_mode: choice("xdp-mode", written.xdp_mode, &XDP_MODES, findings).unwrap_or_default(),
        hash_key,
        flows: flows(&written.flows, findings),
        pools,
        redirects,
    };
    conflicts::find(&config, &places, findings);
    config
}

fn choice<T: Copy>(
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
        handshake_timeout,
        closing_timeout,
    } = Flows::default();
    let mut timeout = |key: &str, text: &Option<Spanned<String>>, default| {
        duration(key, text.as_ref(), &FLOW_TIMEOUT, default, findings)
    };
    Flows {
        session_timeout: timeout("session-timeout", &written.session_timeout, session_timeout),
        handshake_timeout: timeout(
            "handshake-timeout",
            &written.handshake_timeout,
            handshake_timeout,
        ),
        closing_timeout: timeout("closing-timeout", &written.closing_timeout, closing_timeout),
        max: number("max", written.max.as_ref(), &FLOWS, max, findings),
    }
}

fn duration(
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
    let mut nodes = Vec::new();
    let mut nodes_at = Vec::new();
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
            let Some((node, at, name_at)) = node(written, findings) else {
                continue;
            };
            if let Some(other) = addresses.insert(node.address, node.name.clone()) {
                let complaint = Complaint::new(format!(
                    "{} is in pool `{name}` twice, as `{other}` and as `{}`",
                    node.address, node.name
                ));
                findings.add(
                    at.clone(),
                    complaint.help("give the node a larger weight instead"),
                );
            } else if let Some(other) = names.insert(node.name.clone(), node.address) {
                let complaint = Complaint::new(format!(
                    "pool `{name}` has two nodes named `{}`: {other} and {}",
                    node.name, node.address
                ));
                findings.add(name_at, complaint.help("choose another name"));
            }
            nodes.push(node);
            nodes_at.push(at);
        }
    }
    places.nodes.push(nodes_at);
    Pool {
        name,
        nodes,
        check: choice("check", written.check, &CHECKS, findings).unwrap_or_default(),
        timing: timing(&written.health, health, findings),
    }
}

/// A node, the place of its address and that of its name.
fn node(
    written: written::Node,
    findings: &mut Findings,
) -> Option<(Node, Range<usize>, Range<usize>)> {
    let weight = number(
        "weight",
        written.weight.as_ref(),
        &(1..=MAX_WEIGHT),
        1,
        findings,
    );
    let name = written.name.and_then(|name| {
        findings
            .check(name.span(), values::name(name.get_ref()))
            .map(|value| (value, name.span()))
    });
    let address = written.address?;
    let at = address.span();
    let address = findings.check(at.clone(), values::node_address(address.get_ref()))?;
    let (name, name_at) = name.unwrap_or_else(|| (address.to_string(), at.clone()));
    Some((
        Node {
            name,
            address,
            weight,
        },
        at,
        name_at,
    ))
}

fn redirect(
    written: written::Redirect,
    pools: &[Pool],
    places: &mut Places,
    findings: &mut Findings,
) -> Redirect {
    let name_at = written.name.span();
    findings.check(name_at.clone(), values::name(written.name.get_ref()));
    let name = written.name.into_inner();
    let mut listen = Vec::new();
    let mut listen_at = Vec::new();
    if let Some(list) = written.listen {
        let at = list.span();
        let list = list.into_inner();
        if list.is_empty() {
            let complaint = Complaint::new(format!("redirect `{name}` listens nowhere"));
            findings.add(at, complaint.help("listen = [\"10.0.0.1:1080\"]"));
        }
        for text in list {
            let listener = values::listener(text.get_ref());
            if let Some(listener) = findings.check(text.span(), listener) {
                listen.push(listener);
                listen_at.push(text.span());
            }
        }
    }
    choice("protocol", written.protocol, &PROTOCOLS, findings);
    choice(
        "udp-associate",
        written.udp_associate,
        &UDP_ASSOCIATE,
        findings,
    );
    let mut main = None;
    let mut port = None;
    let mut forward_at = name_at;
    if let Some(forward) = written.forward_to {
        if let Some(pool) = forward.pool {
            forward_at = pool.span();
            main = find_pool(&pool, pools, findings);
        }
        if let Some(value) = forward.port {
            port = findings.check(value.span(), values::port("port", *value.get_ref()));
        }
        choice("mode", forward.mode, &MODES, findings);
    }
    let backup_at = written.backup.as_ref().map(Spanned::span);
    let backup = written
        .backup
        .and_then(|pool| find_pool(&pool, pools, findings));
    if let (Some(main), Some(backup), Some(at)) = (main, backup, backup_at.clone())
        && main == backup
    {
        let complaint = Complaint::new("the backup pool is the main pool");
        findings.add(
            at,
            complaint.help("name another pool, or leave `backup` out"),
        );
    }
    places.redirects.push(conflicts::RedirectPlaces {
        listen: listen_at,
        forward: forward_at,
        backup: backup_at,
        complete: main.is_some() && port.is_some() && main != backup,
    });
    Redirect {
        name,
        listen,
        pool: main.unwrap_or_default(),
        port: port.unwrap_or(1),
        backup,
        on_down: choice("on-down", written.on_down, &ON_DOWN, findings).unwrap_or_default(),
        direct_tcp: choice("direct-tcp", written.direct_tcp, &DIRECT_TCP, findings)
            .unwrap_or_default(),
    }
}

fn find_pool(name: &Spanned<String>, pools: &[Pool], findings: &mut Findings) -> Option<usize> {
    let found = pools.iter().position(|pool| pool.name == *name.get_ref());
    if found.is_none() {
        let names = pools.iter().map(|pool| pool.name.as_str());
        let help = match nearest(name.get_ref(), names.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if pools.is_empty() => format!("add a [pool.{}]", name.get_ref()),
            None => format!(
                "pools of this file: {}",
                names.collect::<Vec<_>>().join(", ")
            ),
        };
        let complaint = Complaint::new(format!("there is no pool `{}`", name.get_ref()));
        findings.add(name.span(), complaint.help(help));
    }
    found
}
