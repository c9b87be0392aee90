//! Every metric with its name, help, unit and labels.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use redirector_common::verdict::{Action, Verdict};

use super::measured::{BOUNDS, Timings};
use super::metric::{Of, count, counter, gauge, gauge_in, number, small, truth};
use crate::control::Status;
use crate::control::status::{
    NodeStatus, OperatorState, PoolStatus, RedirectState, RedirectStatus, Traffic,
};
use crate::health::Health;
use crate::http::Snapshot;

/// All metrics of one moment.
#[derive(Debug)]
pub(super) struct Families(pub(super) Arc<Snapshot>);

/// The agent as a whole.
const AGENT: &[Of<Snapshot>] = &[
    gauge_in(
        Unit::Seconds,
        "start_time",
        "When the agent started, since 1970",
        |s: &Snapshot| number(s.status.started),
    ),
    gauge(
        "configuration_generation",
        "Configurations that the agent has applied since its start",
        |s| number(s.status.generation),
    ),
    gauge("ready", "1 if /readyz says so", |s| {
        truth(s.not_ready().is_empty())
    }),
    gauge(
        "applied",
        "1 if the maps of the data path hold what they should",
        |s| truth(s.measured.is_applied),
    ),
    counter(
        "apply_failures",
        "Attempts to bring the maps of the data path up to date that failed",
        |s| s.measured.apply_failures,
    ),
    gauge("recorded_flows", "Connections that are recorded", |s| {
        number(s.status.flows.recorded)
    }),
    gauge(
        "recorded_flows_limit",
        "Most connections that can be recorded",
        |s| number(s.status.flows.max),
    ),
];

const REDIRECT: &[Of<RedirectStatus>] = &[
    gauge(
        "redirect_up",
        "1 if new connections go to some node",
        |r: &RedirectStatus| {
            truth(matches!(
                r.state,
                RedirectState::Active | RedirectState::ActiveBackup
            ))
        },
    ),
    gauge(
        "redirect_using_backup",
        "1 if new connections go to the backup pool",
        |r| truth(r.state == RedirectState::ActiveBackup),
    ),
    gauge(
        "redirect_available_nodes",
        "Nodes that can take new connections",
        |r| small(r.pools().map(PoolStatus::available).sum()),
    ),
    gauge("redirect_slots", "Slots of the redirect's table", |r| {
        number(r.slots.into())
    }),
    gauge(
        "redirect_split_slots",
        "Slots whose connections may live on several nodes",
        |r| number(r.split_slots.into()),
    ),
    gauge(
        "redirect_table_generation",
        "Tables that the redirect has had",
        |r| number(r.generation.into()),
    ),
    gauge(
        "redirect_udp_associations",
        "Live UDP associations by way of the redirect's address",
        |r| r.associations.and_then(number),
    ),
];

const POOL: &[Of<PoolStatus>] = &[
    gauge("pool_nodes", "Nodes of the pool", |p: &PoolStatus| {
        small(p.nodes.len())
    }),
    gauge(
        "pool_available_nodes",
        "Nodes of the pool that can take new connections",
        |p| small(p.available()),
    ),
];

const NODE: &[Of<NodeStatus>] = &[
    gauge(
        "node_up",
        "1 if the checks say that the node is up",
        |n: &NodeStatus| truth(n.health == Health::Up),
    ),
    gauge(
        "node_available",
        "1 if the node can take new connections",
        |n| truth(n.is_available()),
    ),
    gauge_in(
        Unit::Seconds,
        "node_health_changed",
        "When the node's health last changed, since 1970",
        |n: &NodeStatus| number(n.since),
    ),
    gauge_in(
        Unit::Ratios,
        "node_availability",
        "Share of checks that left the node up",
        |n| n.availability.map(|percent| percent / 100.0),
    ),
    gauge(
        "node_weight",
        "Share of the clients in relation to other nodes' weights",
        |n| number(n.weight.into()),
    ),
    gauge(
        "node_slots",
        "Slots whose new connections go to the node",
        |n| number(n.slots.into()),
    ),
    gauge(
        "node_reachable",
        "1 if the next hop to the node is known",
        |n| truth(n.next_hop.is_some()),
    ),
    gauge(
        "node_recorded_flows",
        "Recorded connections that live on the node",
        |n| number(n.live),
    ),
];

/// Name, help, unit and value of a counter of traffic.
type OfTraffic = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&Traffic) -> u64,
);

/// What traffic has, whatever it is summed over.
const TRAFFIC: &[OfTraffic] = &[
    ("forward_packets", "Packets sent to nodes", None, |t| {
        t.forward_packets
    }),
    (
        "forward",
        "Bytes sent to nodes, from the IP header on",
        Some(Unit::Bytes),
        |t| t.forward_bytes,
    ),
    ("reply_packets", "Packets that nodes answered", None, |t| {
        t.reply_packets
    }),
    (
        "reply",
        "Bytes that nodes answered, from the IP header on",
        Some(Unit::Bytes),
        |t| t.reply_bytes,
    ),
    (
        "connection_attempts",
        "SYNs sent to nodes, those sent again included",
        None,
        |t| t.syns,
    ),
    (
        "connections_accepted",
        "SYN-ACKs of nodes, those sent again included",
        None,
        |t| t.syn_acks,
    ),
];

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let snapshot = &*self.0;
        let status = &snapshot.status;
        let encoder = &mut encoder;
        agent(encoder, snapshot)?;
        data_path(encoder, snapshot)?;
        let redirects = || {
            let redirects = status.redirects.iter();
            redirects.map(|r| ([("redirect", &*r.name), ("family", &*r.family)], r))
        };
        for metric in REDIRECT {
            metric.encode(encoder, redirects())?;
        }
        for metric in POOL {
            let pools = redirects().flat_map(|(labels, r)| {
                r.pools()
                    .map(move |p| ([labels[0], labels[1], ("pool", &*p.name)], p))
            });
            metric.encode(encoder, pools)?;
        }
        let nodes = || status.nodes().map(|(r, p, n)| (labels_of_node(r, p, n), n));
        for metric in NODE {
            metric.encode(encoder, nodes())?;
        }
        digests(encoder, status)?;
        info(encoder, status)?;
        names(encoder, status)?;
        operator(encoder, status)?;
        traffic(encoder, status)?;
        checks(encoder, snapshot)
    }
}

type NodeLabels<'a> = [(&'static str, &'a str); 3];

fn labels_of_node<'a>(
    r: &'a RedirectStatus,
    p: &'a PoolStatus,
    n: &'a NodeStatus,
) -> NodeLabels<'a> {
    [
        ("redirect", &*r.name),
        ("pool", &*p.name),
        ("node", &*n.name),
    ]
}

fn agent(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let help = "1, with the agent's version";
    let mut family = encoder.encode_descriptor("build", help, None, MetricType::Info)?;
    family.encode_info(&[("version", &*snapshot.status.version)])?;
    for metric in AGENT {
        metric.encode_one(encoder, snapshot)?;
    }
    let help = "1 for each interface that the data path is attached to";
    let mut family = encoder.encode_descriptor("attached", help, None, MetricType::Gauge)?;
    for interface in &snapshot.status.interfaces {
        let labels = [
            ("interface", &*interface.interface),
            ("mode", &*interface.mode),
        ];
        family.encode_family(&labels)?.encode_gauge(&1_u64)?;
    }
    let seconds = Some(&Unit::Seconds);
    let help = "How long it took to work out the slot tables anew";
    let mut family =
        encoder.encode_descriptor("rebuild_duration", help, seconds, MetricType::Histogram)?;
    histogram(&mut family, &snapshot.measured.rebuilt)?;
    let help = "How long it took to bring the maps of the data path up to date";
    let mut family =
        encoder.encode_descriptor("apply_duration", help, seconds, MetricType::Histogram)?;
    histogram(&mut family, &snapshot.measured.applied)
}

fn data_path(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let counters = &snapshot.status.counters;
    let packets = |name| counters.iter().find(|c| c.name == name).map(|c| c.packets);
    let help = "Packets by what became of them";
    let mut family = encoder.encode_descriptor("packets", help, None, MetricType::Counter)?;
    for verdict in Verdict::ALL {
        let action = match verdict.action() {
            Action::Transmit => "transmit",
            Action::Pass => "pass",
            Action::Drop => "drop",
        };
        if let Some(packets) = packets(verdict.name()) {
            let labels = [("verdict", verdict.name()), ("action", action)];
            count(&mut family.encode_family(&labels)?, packets)?;
        }
    }
    let help = "Events on the way to a verdict";
    let mut family = encoder.encode_descriptor("events", help, None, MetricType::Counter)?;
    let is_verdict = |name: &str| Verdict::ALL.iter().any(|verdict| verdict.name() == name);
    for counter in counters.iter().filter(|counter| !is_verdict(&counter.name)) {
        count(
            &mut family.encode_family(&[("event", &*counter.name)])?,
            counter.packets,
        )?;
    }
    let fills = &snapshot.measured.fills;
    let help = "Entries in use of a map of the data path";
    let mut family = encoder.encode_descriptor("map_entries", help, None, MetricType::Gauge)?;
    for fill in fills {
        family
            .encode_family(&[("map", fill.map)])?
            .encode_gauge(&fill.used)?;
    }
    let help = "Entries that a map of the data path has room for";
    let mut family = encoder.encode_descriptor("map_capacity", help, None, MetricType::Gauge)?;
    for fill in fills {
        family
            .encode_family(&[("map", fill.map)])?
            .encode_gauge(&fill.max)?;
    }
    Ok(())
}

/// By which two relays of a pair are compared: the labels differ where the tables do.
fn digests(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let help = "1 for each redirect, with the digest of the table in place";
    let mut family =
        encoder.encode_descriptor("redirect_table_digest", help, None, MetricType::Gauge)?;
    for redirect in &status.redirects {
        if let Some(digest) = &redirect.digest {
            let labels = [
                ("redirect", &*redirect.name),
                ("family", &*redirect.family),
                ("digest", &**digest),
            ];
            family.encode_family(&labels)?.encode_gauge(&1_u64)?;
        }
    }
    Ok(())
}

fn info(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let help = "1 for each node, with its address and family; none while its name is unresolved";
    let mut family = encoder.encode_descriptor("node_address", help, None, MetricType::Gauge)?;
    for (r, p, n) in status.nodes() {
        let [redirect, pool, node] = labels_of_node(r, p, n);
        let Some(address) = n.address else {
            continue;
        };
        let address = address.to_string();
        let labels = [
            redirect,
            pool,
            node,
            ("address", &*address),
            ("family", &*r.family),
        ];
        family.encode_family(&labels)?.encode_gauge(&1_u64)?;
    }
    Ok(())
}

fn names(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let mut known = BTreeMap::new();
    for (_, _, node) in status.nodes() {
        known.extend(
            node.name_lookup
                .as_ref()
                .map(|lookup| (&lookup.host, lookup)),
        );
    }
    let help = "1 if the last look-up of a node's name failed; its address stays as it was";
    let mut family =
        encoder.encode_descriptor("name_lookup_failed", help, None, MetricType::Gauge)?;
    for (host, lookup) in &known {
        let failed = u64::from(lookup.error.is_some());
        family
            .encode_family(&[("host", host.as_str())])?
            .encode_gauge(&failed)?;
    }
    let help = "When a node's name was last found to stand for its addresses, since 1970";
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor("name_confirmed", help, unit, MetricType::Gauge)?;
    for (host, lookup) in &known {
        if let Some(at) = lookup.at {
            family
                .encode_family(&[("host", host.as_str())])?
                .encode_gauge(&at)?;
        }
    }
    Ok(())
}

fn operator(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let help = "1 for what the operator wants of the node";
    let mut family = encoder.encode_descriptor("node_operator", help, None, MetricType::Gauge)?;
    for (r, p, n) in status.nodes() {
        for (state, word) in [
            (OperatorState::Enabled, "enabled"),
            (OperatorState::Draining, "draining"),
            (OperatorState::Disabled, "disabled"),
        ] {
            let [redirect, pool, node] = labels_of_node(r, p, n);
            let labels = [redirect, pool, node, ("state", word)];
            let is = u64::from(n.operator == state);
            family.encode_family(&labels)?.encode_gauge(&is)?;
        }
    }
    Ok(())
}

/// Of nodes, and summed over pools and redirects.
fn traffic(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    for (name, help, unit, value) in TRAFFIC {
        let sum = |nodes: &mut dyn Iterator<Item = &NodeStatus>| {
            nodes.map(|node| value(&node.traffic)).sum::<u64>()
        };
        let descriptor = |kind: &str| (format!("{kind}_{name}"), *help);
        let (full, help) = descriptor("redirect");
        let mut family =
            encoder.encode_descriptor(&full, help, unit.as_ref(), MetricType::Counter)?;
        for r in &status.redirects {
            let labels = [("redirect", &*r.name), ("family", &*r.family)];
            let all = sum(&mut r.pools().flat_map(|pool| &pool.nodes));
            count(&mut family.encode_family(&labels)?, all)?;
        }
        let (full, help) = descriptor("pool");
        let mut family =
            encoder.encode_descriptor(&full, help, unit.as_ref(), MetricType::Counter)?;
        for r in &status.redirects {
            for p in r.pools() {
                let labels = [
                    ("redirect", &*r.name),
                    ("family", &*r.family),
                    ("pool", &*p.name),
                ];
                count(
                    &mut family.encode_family(&labels)?,
                    sum(&mut p.nodes.iter()),
                )?;
            }
        }
        let (full, help) = descriptor("node");
        let mut family =
            encoder.encode_descriptor(&full, help, unit.as_ref(), MetricType::Counter)?;
        for (r, p, n) in status.nodes() {
            let labels = labels_of_node(r, p, n);
            count(&mut family.encode_family(&labels)?, value(&n.traffic))?;
        }
    }
    Ok(())
}

fn checks(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let probes = &snapshot.measured.probes;
    let help = "How long checks took";
    let seconds = Some(&Unit::Seconds);
    let mut family =
        encoder.encode_descriptor("check_duration", help, seconds, MetricType::Histogram)?;
    for (probed, probes) in probes {
        let labels = [("pool", &*probed.pool), ("node", &*probed.node)];
        histogram(&mut family.encode_family(&labels)?, &probes.took)?;
    }
    let help = "Checks by what they saw";
    let mut family = encoder.encode_descriptor("check_results", help, None, MetricType::Counter)?;
    for (probed, probes) in probes {
        for ((check, result), times) in &probes.results {
            let labels = [
                ("pool", &*probed.pool),
                ("node", &*probed.node),
                ("check", *check),
                ("result", *result),
            ];
            count(&mut family.encode_family(&labels)?, *times)?;
        }
    }
    Ok(())
}

fn histogram(encoder: &mut MetricEncoder<'_>, timings: &Timings) -> Result<(), Error> {
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(timings.counts).collect();
    encoder.encode_histogram::<NoLabelSet>(timings.sum, timings.count(), &buckets, None)
}
