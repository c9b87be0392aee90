//! The metrics whose samples have labels of their own.

use std::collections::{BTreeMap, BTreeSet};

use redirector_common::abi::{ABI_VERSION, ANSWER_CLASSES, AnswerTimes, ONE_IN};
use redirector_common::verdict::{Action, Verdict};

use super::labels::Labels;
use super::measured::{BOUNDS, Timings};
use super::text::{Label, Samples, Value, label};
use crate::control::status::{NameStatus, OperatorState, SourceStatus};
use crate::http::Snapshot;

pub(super) fn build(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    let version = label("version", &snapshot.status.version);
    let layout = label("layout", &ABI_VERSION.to_string());
    out.sample(&[&[version, layout]], Value::Whole(1));
}

pub(super) fn attached(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    for interface in &snapshot.status.interfaces {
        let name = label("interface", &interface.interface);
        out.sample(&[&[name, label("mode", &interface.mode)]], Value::Whole(1));
    }
}

pub(super) fn packets(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    let counters = &snapshot.status.counters;
    for verdict in Verdict::ALL {
        let action = match verdict.action() {
            Action::Transmit => "transmit",
            Action::Pass => "pass",
            Action::Drop => "drop",
        };
        let counter = counters.iter().find(|c| c.name == verdict.name());
        if let Some(counter) = counter {
            let labels = [label("verdict", verdict.name()), label("action", action)];
            out.sample(&[&labels], Value::Whole(counter.packets));
        }
    }
}

pub(super) fn events(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    let is_verdict = |name: &str| Verdict::ALL.iter().any(|verdict| verdict.name() == name);
    let counters = snapshot.status.counters.iter();
    for counter in counters.filter(|counter| !is_verdict(&counter.name)) {
        let event = label("event", &counter.name);
        out.sample(&[&[event]], Value::Whole(counter.packets));
    }
}

/// By which two relays of a pair are compared: the labels differ where the tables do.
pub(super) fn digests(out: &mut Samples<'_>, snapshot: &Snapshot, labels: &Labels) {
    for (labels, redirect) in labels.redirects(snapshot) {
        if let Some(digest) = &redirect.digest {
            out.sample(&[labels, &[label("digest", digest)]], Value::Whole(1));
        }
    }
}

pub(super) fn addresses(out: &mut Samples<'_>, snapshot: &Snapshot, labels: &Labels) {
    for (labels, (redirect, node)) in labels.nodes(snapshot) {
        if let Some(address) = node.address {
            let address = label("address", &address.to_string());
            let family = label("family", &redirect.family);
            out.sample(&[labels, &[address, family]], Value::Whole(1));
        }
    }
}

pub(super) fn operator_of_redirects(out: &mut Samples<'_>, snapshot: &Snapshot, labels: &Labels) {
    let redirects = labels.redirects(snapshot);
    operator(
        out,
        redirects.map(|(labels, redirect)| (labels, redirect.operator)),
    );
}

pub(super) fn operator_of_pools(out: &mut Samples<'_>, snapshot: &Snapshot, labels: &Labels) {
    let pools = labels.pools(snapshot);
    operator(out, pools.map(|(labels, pool)| (labels, pool.operator)));
}

pub(super) fn operator_of_nodes(out: &mut Samples<'_>, snapshot: &Snapshot, labels: &Labels) {
    let nodes = labels.nodes(snapshot);
    operator(
        out,
        nodes.map(|(labels, (_, node))| (labels, node.operator)),
    );
}

fn operator<'a>(out: &mut Samples<'_>, all: impl Iterator<Item = (&'a [Label], OperatorState)>) {
    let states = [
        (OperatorState::Enabled, [label("state", "enabled")]),
        (OperatorState::Draining, [label("state", "draining")]),
        (OperatorState::Disabled, [label("state", "disabled")]),
    ];
    for (labels, wanted) in all {
        for (state, word) in &states {
            out.sample(&[labels, word], Value::Whole(u64::from(wanted == *state)));
        }
    }
}

const _: () = assert!(ONE_IN == 16, "the help says so");

/// Of each node of each pool, whichever redirects reach it. There are none where nothing was timed.
pub(super) fn answers(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    let mut entries = BTreeMap::<_, BTreeSet<u32>>::new();
    for (_, pool, node) in snapshot.status.nodes() {
        // Redirects that reach a node at the same port share its entry.
        let of_node = entries.entry((&*pool.name, &*node.name)).or_default();
        of_node.insert(node.id);
    }
    let bounds = (0..ANSWER_CLASSES).map_while(AnswerTimes::bound);
    let bounds: Vec<f64> = bounds.map(|nanoseconds| nanoseconds as f64 / 1e9).collect();
    for ((pool, node), ids) in entries {
        let mut all = AnswerTimes::default();
        for times in ids.iter().filter_map(|id| snapshot.answers.get(id)) {
            all.add(times);
        }
        if all.count() > 0 {
            let labels = [label("pool", pool), label("node", node)];
            out.histogram(&labels, &bounds, &all.classes, all.sum as f64 / 1e9);
        }
    }
}

pub(super) fn timings(out: &mut Samples<'_>, labels: &[Label], timings: &Timings) {
    out.histogram(labels, &BOUNDS, &timings.counts, timings.sum);
}

/// What is known of each name that stands for nodes.
pub(super) fn names(snapshot: &Snapshot) -> BTreeMap<&str, &NameStatus> {
    let nodes = snapshot.status.nodes();
    let lookups = nodes.filter_map(|(_, _, node)| node.name_lookup.as_ref());
    lookups.map(|lookup| (&*lookup.host, lookup)).collect()
}

pub(super) fn source_failed(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    of_sources(out, snapshot, |source| {
        Some(u64::from(source.error.is_some()))
    });
}

pub(super) fn source_nodes(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    of_sources(out, snapshot, |source| Some(source.nodes));
}

pub(super) fn source_confirmed(out: &mut Samples<'_>, snapshot: &Snapshot, _: &Labels) {
    of_sources(out, snapshot, |source| source.at);
}

fn of_sources(
    out: &mut Samples<'_>,
    snapshot: &Snapshot,
    read: impl Fn(&SourceStatus) -> Option<u64>,
) {
    for source in &snapshot.status.sources {
        if let Some(value) = read(source) {
            let labels = [label("pool", &source.pool), label("source", &source.kind)];
            out.sample(&[&labels], Value::Whole(value));
        }
    }
}
