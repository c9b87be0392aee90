//! What `show` and `explain` print: pure functions from a snapshot to text or JSON.

mod audit;
mod operator;
mod peer;
mod plan;
mod sources;
mod table;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

pub use self::audit::{audit, sessions};
pub use self::operator::{draining, operated};
pub use self::plan::{differences, plan};
use self::table::{Align, Table};
use crate::config::Mode;
use crate::control::status::{NodeStatus, OperatorState, PoolStatus, RedirectStatus};
use crate::control::{Explanation, Status};
use crate::family::Family;
use crate::units::{Counted, bytes, rough, took};

/// What stands where there is nothing to say.
const NONE: &str = "-";

/// Redirects with their pools and nodes, in the columns of relayctl(8).
pub fn summary(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Id", Align::Left),
        ("Type", Align::Left),
        ("Name", Align::Left),
        ("Avlblty", Align::Right),
        ("Status", Align::Left),
    ]);
    for redirect in &status.redirects {
        let id = redirect.id.to_string();
        table.row([
            &id,
            "redirect",
            &name_in(redirect, status),
            "",
            &redirect.state.to_string(),
        ]);
        if let Some(associations) = redirect.associations {
            let state = format!("{associations} live");
            table.row([&id, "udp", "associations", "", &state]);
        }
        for pool in redirect.pools() {
            let state = match (pool.operator, pool.available()) {
                (OperatorState::Enabled, 0) => "empty".to_owned(),
                (OperatorState::Enabled, count) => format!("active ({})", Counted(count, "node")),
                (OperatorState::Draining | OperatorState::Disabled, _) => pool.operator.to_string(),
            };
            table.row([&id, "pool", &name_of(pool), "", &state]);
            for node in &pool.nodes {
                let state = match node.operator {
                    OperatorState::Enabled => node.health.to_string(),
                    OperatorState::Draining | OperatorState::Disabled => node.operator.to_string(),
                };
                let availability = percent(node.availability);
                table.row([
                    &node.id.to_string(),
                    "node",
                    &node.name,
                    &availability,
                    &state,
                ]);
            }
        }
    }
    let mut text = table.to_string();
    if !status.peers.is_empty() {
        text.push('\n');
        text.push_str(&peer::peers(status));
    }
    text
}

/// One line for each node that is reached.
pub fn nodes(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Id", Align::Left),
        ("Pool", Align::Left),
        ("Name", Align::Left),
        ("Address", Align::Left),
        ("Weight", Align::Right),
        ("Priority", Align::Right),
        ("Parent", Align::Left),
        ("Health", Align::Left),
        ("Operator", Align::Left),
        ("For", Align::Right),
        ("Avlblty", Align::Right),
        ("Slots", Align::Right),
        ("Live", Align::Right),
        ("Sent", Align::Right),
        ("Answered", Align::Right),
        ("SYN", Align::Right),
        ("SYN-ACK", Align::Right),
        ("Answers in", Align::Right),
        ("Next hop", Align::Left),
        ("Last check", Align::Left),
    ]);
    for (redirect, pool, node) in status.nodes() {
        let heard = |what: String| {
            if redirect.hears_nodes() {
                what
            } else {
                NONE.to_owned()
            }
        };
        let hop = node.next_hop.as_ref().map_or_else(
            || "unknown".to_owned(),
            |hop| format!("{} at {} on {}", hop.neighbour, hop.mac, hop.interface),
        );
        let check = last_check(node);
        table.row([
            &node.id.to_string(),
            &pool.name,
            &node.name,
            &node.address.map_or_else(|| "unresolved".to_owned(), socket),
            &node.weight.to_string(),
            &node.priority.to_string(),
            node.parent.as_deref().unwrap_or(NONE),
            &node.health.to_string(),
            &operator(node),
            &rough(Duration::from_secs(status.at.saturating_sub(node.since))),
            &percent(node.availability),
            &node.slots.to_string(),
            &node.live.to_string(),
            &bytes(node.traffic.forward_bytes),
            &heard(bytes(node.traffic.reply_bytes)),
            &node.traffic.syns.to_string(),
            &heard(node.traffic.syn_acks.to_string()),
            &answers(node),
            &hop,
            &check,
        ]);
    }
    let mut text = table.to_string();
    for more in [names(status), sources::sources(status)] {
        if !more.is_empty() {
            text.push('\n');
            text.push_str(&more);
        }
    }
    text
}

/// What holds for a node, and what its source has to do with it.
fn operator(node: &NodeStatus) -> String {
    match node.readiness.as_deref() {
        None | Some("ready") => node.operator.to_string(),
        Some(readiness) => format!("{} ({readiness})", node.operator),
    }
}

/// Within which time half of the SYNs were answered, and 99 %.
pub(crate) fn answers(node: &NodeStatus) -> String {
    let Some(answers) = &node.answers else {
        return NONE.to_owned();
    };
    let within = |micros: Option<u64>| {
        micros.map_or_else(
            || ">537ms".to_owned(),
            |micros| took(Duration::from_micros(micros)),
        )
    };
    format!("{}, {}", within(answers.median_us), within(answers.p99_us))
}

/// One line for each name that nodes have in place of an address; nothing where there is none.
fn names(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Host name", Align::Left),
        ("Addresses", Align::Left),
        ("Confirmed", Align::Right),
        ("Last error", Align::Left),
    ]);
    let mut found = BTreeMap::new();
    for (_, _, node) in status.nodes() {
        if let Some(lookup) = &node.name_lookup {
            let (addresses, _) = found
                .entry(&lookup.host)
                .or_insert_with(|| (BTreeSet::new(), lookup));
            addresses.extend(node.address.map(|address| address.ip()));
        }
    }
    for (host, (addresses, lookup)) in &found {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let ago = |at| {
            let age = Duration::from_secs(status.at.saturating_sub(at));
            format!("{} ago", rough(age))
        };
        table.row([
            host,
            &Some(addresses.join(", "))
                .filter(|addresses| !addresses.is_empty())
                .unwrap_or_else(|| "unresolved".to_owned()),
            &lookup.at.map_or_else(|| "never".to_owned(), ago),
            lookup.error.as_deref().unwrap_or(NONE),
        ]);
    }
    if found.is_empty() {
        return String::new();
    }
    table.to_string()
}

/// What the last check of each node saw.
pub fn checks(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Pool", Align::Left),
        ("Name", Align::Left),
        ("Status", Align::Left),
        ("Avlblty", Align::Right),
        ("Last check", Align::Left),
    ]);
    let mut seen = BTreeSet::new();
    for (_, pool, node) in status.nodes() {
        if seen.insert((&pool.name, &node.name)) {
            table.row([
                &pool.name,
                &node.name,
                &node.health.to_string(),
                &percent(node.availability),
                &last_check(node),
            ]);
        }
    }
    table.to_string()
}

/// One line for each redirect, and the agent's own state.
pub fn redirects(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Id", Align::Left),
        ("Name", Align::Left),
        ("Listen", Align::Left),
        ("Pool", Align::Left),
        ("Backup", Align::Left),
        ("Mode", Align::Left),
        ("Status", Align::Left),
        ("Nodes", Align::Right),
        ("Split slots", Align::Right),
        ("Tables", Align::Right),
    ]);
    for redirect in &status.redirects {
        let available: usize = redirect.pools().map(PoolStatus::available).sum();
        let all: usize = redirect.pools().map(|pool| pool.nodes.len()).sum();
        table.row([
            &redirect.id.to_string(),
            &redirect.name,
            &redirect.listen.join(","),
            &name_of(&redirect.pool),
            redirect.backup.as_ref().map_or(NONE, |pool| &pool.name),
            &mode(redirect),
            &redirect.state.to_string(),
            &format!("{available}/{all}"),
            &format!("{}/{}", redirect.split_slots, redirect.slots),
            &redirect.generation.to_string(),
        ]);
    }
    let mut text = table.to_string();
    let attached = status.interfaces.iter();
    let attached =
        attached.map(|interface| format!("{} ({})", interface.interface, interface.mode));
    let absent = status.absent.iter().map(|name| format!("{name} (absent)"));
    let interfaces: Vec<_> = attached.chain(absent).collect();
    let _ = write!(
        text,
        "\nagent {} (pid {}) running for {}, configuration {}, attached to {}, {} of {} flows recorded\n",
        status.version,
        status.pid,
        rough(Duration::from_secs(
            status.at.saturating_sub(status.started)
        )),
        status.generation,
        if interfaces.is_empty() {
            "nothing".to_owned()
        } else {
            interfaces.join(", ")
        },
        status.flows.recorded,
        status.flows.max,
    );
    text
}

/// By what a redirect gives new connections to nodes: `source-hash/24` where clients of a prefix stay together, `track
/// all` where that is not implied.
fn mode(redirect: &RedirectStatus) -> String {
    let whole = if redirect.family == Family::V4.to_string() {
        32
    } else {
        128
    };
    let mut mode = redirect.mode.clone();
    if redirect.sticky != whole {
        let _ = write!(mode, "/{}", redirect.sticky);
    }
    if redirect.tracks_all && redirect.mode == Mode::SourceHash.word() {
        mode.push_str(", track all");
    }
    mode
}

/// The counters of the data path: those that have counted something, or `all` of them.
pub fn counters(status: &Status, all: bool) -> String {
    let mut table = Table::new(&[
        ("Counter", Align::Left),
        ("Packets", Align::Right),
        ("Meaning", Align::Left),
    ]);
    let mut counted = false;
    for counter in status
        .counters
        .iter()
        .filter(|counter| all || counter.packets > 0)
    {
        table.row([
            &counter.name,
            &counter.packets.to_string(),
            &counter.meaning,
        ]);
        counted = true;
    }
    if !counted {
        return "no packets counted yet; --all shows every counter\n".to_owned();
    }
    table.to_string()
}

/// Everything, for machines.
pub fn summary_json(status: &Status) -> Value {
    json!(status)
}

/// The nodes, each with its redirect and pool.
pub fn nodes_json(status: &Status) -> Value {
    let nodes = status.nodes().map(|(redirect, pool, node)| {
        let mut value = json!(node);
        value["redirect"] = json!(redirect.name);
        value["pool"] = json!(pool.name);
        value
    });
    nodes.collect()
}

/// The redirects with their pools and nodes.
pub fn redirects_json(status: &Status) -> Value {
    json!(status.redirects)
}

/// Every counter.
pub fn counters_json(status: &Status) -> Value {
    json!(status.counters)
}

/// Where a client goes and why.
pub fn explanation(explanation: &Explanation) -> String {
    let mut text = String::new();
    if explanation.redirects.is_empty() {
        let family = Family::of(explanation.client);
        let _ = writeln!(
            text,
            "client {}: no redirect listens in {family}",
            explanation.client
        );
    }
    for redirect in &explanation.redirects {
        let now = match &redirect.now {
            Some(now) => now.clone(),
            None if redirect.mode == Mode::SourceHash.word() => "no node".to_owned(),
            None => format!("nodes by {}", redirect.mode),
        };
        let _ = writeln!(
            text,
            "client {}, redirect {}, slot {}: new connections go to {now}",
            explanation.client, redirect.redirect, redirect.slot
        );
        let _ = writeln!(text, "  why: {}", redirect.reason);
        if let Some(kernel) = &redirect.kernel {
            let state = match (kernel.reachable, kernel.dead) {
                (false, _) => ", which is not known to be reachable",
                (true, true) => ", which is given up",
                (true, false) => "",
            };
            let _ = writeln!(
                text,
                "  in the kernel: backend {}, {} at {} on {}{state}",
                kernel.id,
                socket(kernel.address),
                kernel.mac,
                kernel.interface
            );
        }
        if !redirect.agrees {
            let _ = writeln!(
                text,
                "  the kernel differs from what was computed; `redirector audit` says in what"
            );
        }
        for flow in &redirect.recorded {
            let idle = rough(Duration::from_secs(flow.idle.into()));
            let _ = writeln!(
                text,
                "  recorded: the connection from port {} lives on {} (idle {idle})",
                flow.port, flow.node
            );
        }
    }
    text
}

/// A redirect's name, with the family where it listens in both.
fn name_in(redirect: &RedirectStatus, status: &Status) -> String {
    let mut others = status.redirects.iter();
    if others.any(|other| other.name == redirect.name && other.family != redirect.family) {
        format!("{} ({})", redirect.name, redirect.family)
    } else {
        redirect.name.clone()
    }
}

/// A pool with the port of its nodes, if they have one.
fn name_of(pool: &PoolStatus) -> String {
    match pool.port {
        Some(port) => format!("{}:{port}", pool.name),
        None => pool.name.clone(),
    }
}

/// A node's socket, or its address where ports are kept.
fn socket(address: SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

/// What the last check of a node saw.
fn last_check(node: &NodeStatus) -> String {
    node.last_check.as_ref().map_or_else(
        || NONE.to_owned(),
        |check| {
            let took = took(Duration::from_micros(check.took_us));
            format!("{} ({took}, {})", check.check, check.outcome)
        },
    )
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.2}%"))
}
