//! Every metric with its name, help, unit and labels.

use super::exposition::Seen;
use super::labels::Labels;
use super::own;
use super::peers::OF_PEERS;
use super::text::{Head, Kind, Label, Samples, Unit, Value, label};
use super::traffic;
use crate::control::status::{NodeStatus, PoolStatus, RedirectState, RedirectStatus, Traffic};
use crate::health::Health;
use crate::http::Snapshot;

/// A metric and where its samples come from.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) head: Head,
    pub(super) rows: Rows,
}

/// Of what there is a sample. A function gives none where there is nothing to tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    /// The agent as a whole.
    Agent(fn(&Snapshot) -> Option<Value>),
    /// Each redirect, in each family.
    Redirect(fn(&RedirectStatus) -> Option<Value>),
    /// Each pool of each redirect.
    Pool(fn(&PoolStatus) -> Option<Value>),
    /// Each node of each of these.
    Node(fn(&NodeStatus) -> Option<Value>),
    /// The sum over the nodes of each redirect.
    TrafficOfRedirect(fn(&Traffic) -> u64),
    /// The sum over the nodes of each pool.
    TrafficOfPool(fn(&Traffic) -> u64),
    /// What each node has.
    TrafficOfNode(fn(&Traffic) -> u64),
    /// Something else.
    Own(fn(&mut Samples<'_>, &Snapshot, &Labels)),
}

impl Family {
    /// Its samples.
    pub(super) fn write(&self, out: &mut Samples<'_>, Seen { snapshot, labels }: &Seen) {
        let sum = |of: fn(&Traffic) -> u64, nodes: &[NodeStatus]| {
            nodes.iter().map(|node| of(&node.traffic)).sum::<u64>()
        };
        match self.rows {
            Rows::Agent(read) => put(out, &[], read(snapshot)),
            Rows::Redirect(read) => {
                for (labels, redirect) in labels.redirects(snapshot) {
                    put(out, &[labels], read(redirect));
                }
            }
            Rows::Pool(read) => {
                for (labels, pool) in labels.pools(snapshot) {
                    put(out, &[labels], read(pool));
                }
            }
            Rows::Node(read) => {
                for (labels, (_, node)) in labels.nodes(snapshot) {
                    put(out, &[labels], read(node));
                }
            }
            Rows::TrafficOfRedirect(of) => {
                for (labels, redirect) in labels.redirects(snapshot) {
                    let all = redirect.pools().map(|pool| sum(of, &pool.nodes)).sum();
                    out.sample(&[labels], Value::Whole(all));
                }
            }
            Rows::TrafficOfPool(of) => {
                for (labels, pool) in labels.pools(snapshot) {
                    out.sample(&[labels], Value::Whole(sum(of, &pool.nodes)));
                }
            }
            Rows::TrafficOfNode(of) => {
                for (labels, (_, node)) in labels.nodes(snapshot) {
                    out.sample(&[labels], Value::Whole(of(&node.traffic)));
                }
            }
            Rows::Own(write) => write(out, snapshot, labels),
        }
    }
}

pub(super) fn put(out: &mut Samples<'_>, labels: &[&[Label]], value: Option<Value>) {
    if let Some(value) = value {
        out.sample(labels, value);
    }
}

const fn family(kind: Kind, name: &'static str, help: &'static str, rows: Rows) -> Family {
    Family {
        head: Head {
            name,
            help,
            unit: None,
            kind,
        },
        rows,
    }
}

pub(super) const fn gauge(name: &'static str, help: &'static str, rows: Rows) -> Family {
    family(Kind::Gauge, name, help, rows)
}

pub(super) const fn counter(name: &'static str, help: &'static str, rows: Rows) -> Family {
    family(Kind::Counter, name, help, rows)
}

const fn histogram(name: &'static str, help: &'static str, rows: Rows) -> Family {
    family(Kind::Histogram, name, help, rows).in_unit(Unit::Seconds)
}

impl Family {
    pub(super) const fn in_unit(self, unit: Unit) -> Self {
        Self {
            head: Head {
                unit: Some(unit),
                ..self.head
            },
            rows: self.rows,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "there may be nothing to tell")]
pub(super) fn truth(yes: bool) -> Option<Value> {
    Some(Value::Whole(u64::from(yes)))
}

#[expect(clippy::unnecessary_wraps, reason = "there may be nothing to tell")]
pub(super) fn number(value: u64) -> Option<Value> {
    Some(Value::Whole(value))
}

fn live(pool: &PoolStatus) -> u64 {
    pool.nodes.iter().map(|node| node.live).sum()
}

pub(super) fn small(value: usize) -> Option<Value> {
    number(value as u64)
}

const OF_AGENT: &[Family] = &[
    family(
        Kind::Info,
        "build",
        "1, with the version of the agent and that of the layout of its maps",
        Rows::Own(own::build),
    ),
    gauge(
        "start_time",
        "When the agent started, since 1970",
        Rows::Agent(|s| number(s.status.started)),
    )
    .in_unit(Unit::Seconds),
    gauge(
        "configuration_generation",
        "Configurations that the agent has applied since its start",
        Rows::Agent(|s| number(s.status.generation)),
    ),
    gauge(
        "ready",
        "1 if /readyz says so",
        Rows::Agent(|s| truth(s.not_ready().is_empty())),
    ),
    gauge(
        "applied",
        "1 if the maps of the data path hold what they should",
        Rows::Agent(|s| truth(s.measured.is_applied)),
    ),
    counter(
        "apply_failures",
        "Attempts to bring the maps of the data path up to date that failed",
        Rows::Agent(|s| number(s.measured.apply_failures)),
    ),
    gauge(
        "recorded_flows",
        "Connections that are recorded",
        Rows::Agent(|s| number(s.status.flows.recorded)),
    ),
    gauge(
        "recorded_flows_limit",
        "Most connections that can be recorded",
        Rows::Agent(|s| number(s.status.flows.max)),
    ),
    gauge(
        "attached",
        "1 for each interface that the data path is attached to",
        Rows::Own(own::attached),
    ),
    histogram(
        "rebuild_duration",
        "How long it took to work out the slot tables anew",
        Rows::Own(|out, s, _| own::timings(out, &[], &s.measured.rebuilt)),
    ),
    histogram(
        "apply_duration",
        "How long it took to bring the maps of the data path up to date",
        Rows::Own(|out, s, _| own::timings(out, &[], &s.measured.applied)),
    ),
];

const OF_DATA_PATH: &[Family] = &[
    counter(
        "packets",
        "Packets by what became of them",
        Rows::Own(own::packets),
    ),
    counter(
        "events",
        "Events on the way to a verdict",
        Rows::Own(own::events),
    ),
    gauge(
        "map_entries",
        "Entries in use of a map of the data path",
        Rows::Own(|out, s, _| {
            for fill in &s.measured.fills {
                out.sample(&[&[label("map", fill.map)]], Value::Whole(fill.used));
            }
        }),
    ),
    gauge(
        "map_capacity",
        "Entries that a map of the data path has room for",
        Rows::Own(|out, s, _| {
            for fill in &s.measured.fills {
                out.sample(&[&[label("map", fill.map)]], Value::Whole(fill.max));
            }
        }),
    ),
];

const OF_REDIRECTS: &[Family] = &[
    gauge(
        "redirect_up",
        "1 if new connections go to some node",
        Rows::Redirect(|r| {
            truth(matches!(
                r.state,
                RedirectState::Active | RedirectState::ActiveBackup
            ))
        }),
    ),
    gauge(
        "redirect_using_backup",
        "1 if new connections go to the backup pool",
        Rows::Redirect(|r| truth(r.state == RedirectState::ActiveBackup)),
    ),
    gauge(
        "redirect_available_nodes",
        "Nodes that can take new connections",
        Rows::Redirect(|r| small(r.pools().map(PoolStatus::available).sum())),
    ),
    gauge(
        "redirect_slots",
        "Slots of the redirect's table",
        Rows::Redirect(|r| number(r.slots.into())),
    ),
    gauge(
        "redirect_split_slots",
        "Slots whose connections may live on several nodes",
        Rows::Redirect(|r| number(r.split_slots.into())),
    ),
    gauge(
        "redirect_table_generation",
        "Tables that the redirect has had",
        Rows::Redirect(|r| number(r.generation.into())),
    ),
    gauge(
        "redirect_udp_associations",
        "Live UDP associations by way of the redirect's address",
        Rows::Redirect(|r| r.associations.and_then(number)),
    ),
    gauge(
        "redirect_recorded_flows",
        "Recorded connections that live on the redirect's nodes",
        Rows::Redirect(|r| number(r.pools().map(live).sum())),
    ),
    gauge(
        "redirect_operator",
        "1 for what the operator wants of the redirect",
        Rows::Own(own::operator_of_redirects),
    ),
    gauge(
        "redirect_table_digest",
        "1 for each redirect, with the digest of the table in place",
        Rows::Own(own::digests),
    ),
];

const OF_POOLS: &[Family] = &[
    gauge(
        "pool_nodes",
        "Nodes of the pool",
        Rows::Pool(|p| small(p.nodes.len())),
    ),
    gauge(
        "pool_available_nodes",
        "Nodes of the pool that can take new connections",
        Rows::Pool(|p| small(p.available())),
    ),
    gauge(
        "pool_recorded_flows",
        "Recorded connections that live on the pool's nodes",
        Rows::Pool(|p| number(live(p))),
    ),
    gauge(
        "pool_operator",
        "1 for what the operator wants of the pool",
        Rows::Own(own::operator_of_pools),
    ),
];

const OF_NODES: &[Family] = &[
    gauge(
        "node_up",
        "1 if the checks say that the node is up",
        Rows::Node(|n| truth(n.health == Health::Up)),
    ),
    gauge(
        "node_available",
        "1 if the node can take new connections",
        Rows::Node(|n| truth(n.is_available())),
    ),
    gauge(
        "node_health_changed",
        "When the node's health last changed, since 1970",
        Rows::Node(|n| number(n.since)),
    )
    .in_unit(Unit::Seconds),
    gauge(
        "node_availability",
        "Share of checks that left the node up",
        Rows::Node(|n| n.availability.map(|percent| Value::Real(percent / 100.0))),
    )
    .in_unit(Unit::Ratios),
    gauge(
        "node_weight",
        "Share of the clients in relation to other nodes' weights",
        Rows::Node(|n| number(n.weight.into())),
    ),
    gauge(
        "node_slots",
        "Slots whose new connections go to the node",
        Rows::Node(|n| number(n.slots.into())),
    ),
    gauge(
        "node_reachable",
        "1 if the next hop to the node is known",
        Rows::Node(|n| truth(n.next_hop.is_some())),
    ),
    gauge(
        "node_recorded_flows",
        "Recorded connections that live on the node",
        Rows::Node(|n| number(n.live)),
    ),
    gauge(
        "node_address",
        "1 for each node, with its address and family; none while its name is unresolved",
        Rows::Own(own::addresses),
    ),
    gauge(
        "node_operator",
        "1 for what the operator wants of the node",
        Rows::Own(own::operator_of_nodes),
    ),
];

const OF_ANSWERS: &[Family] = &[histogram(
    "node_answer_duration",
    "How long a node took from a client's SYN to its SYN-ACK, as the relay sees it; of one in 16 new connections",
    Rows::Own(own::answers),
)];

const OF_NAMES: &[Family] = &[
    gauge(
        "name_lookup_failed",
        "1 if the last look-up of a node's name failed; its address stays as it was",
        Rows::Own(|out, s, _| {
            for (host, name) in own::names(s) {
                let failed = u64::from(name.error.is_some());
                out.sample(&[&[label("host", host)]], Value::Whole(failed));
            }
        }),
    ),
    gauge(
        "name_confirmed",
        "When a node's name was last found to stand for its addresses, since 1970",
        Rows::Own(|out, s, _| {
            for (host, name) in own::names(s) {
                put(out, &[&[label("host", host)]], name.at.and_then(number));
            }
        }),
    )
    .in_unit(Unit::Seconds),
];

const OF_SOURCES: &[Family] = &[
    gauge(
        "pool_source_failed",
        "1 if a pool may have other nodes than its source names; the last known ones stay",
        Rows::Own(own::source_failed),
    ),
    gauge(
        "pool_source_nodes",
        "Nodes of a pool by its source",
        Rows::Own(own::source_nodes),
    ),
    gauge(
        "pool_source_confirmed",
        "When a pool's source last said something that was believed, since 1970; a cluster does when something changes",
        Rows::Own(own::source_confirmed),
    )
    .in_unit(Unit::Seconds),
];

const OF_CHECKS: &[Family] = &[
    histogram(
        "check_duration",
        "How long checks took",
        Rows::Own(|out, s, labels| {
            for (labels, probes) in labels.probes(s) {
                own::timings(out, labels, &probes.took);
            }
        }),
    ),
    counter(
        "check_results",
        "Checks by what they saw",
        Rows::Own(|out, s, labels| {
            for (labels, probes) in labels.probes(s) {
                for ((check, result), times) in &probes.results {
                    let more = [label("check", check), label("result", result)];
                    out.sample(&[labels, &more], Value::Whole(*times));
                }
            }
        }),
    ),
];

/// All of them, in the order of the text.
pub(super) const FAMILIES: &[&[Family]] = &[
    OF_AGENT,
    OF_PEERS,
    OF_DATA_PATH,
    OF_REDIRECTS,
    OF_POOLS,
    OF_NODES,
    OF_ANSWERS,
    OF_NAMES,
    OF_SOURCES,
    &traffic::FORWARD_PACKETS,
    &traffic::FORWARD_BYTES,
    &traffic::REPLY_PACKETS,
    &traffic::REPLY_BYTES,
    &traffic::ATTEMPTS,
    &traffic::ACCEPTED,
    &traffic::RESETS,
    OF_CHECKS,
];
