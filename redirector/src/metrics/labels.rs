//! The labels of everything that has series, written once for all families.

use crate::control::status::{NodeStatus, PoolStatus, RedirectStatus};
use crate::http::Snapshot;

use super::measured::Probes;
use super::text::label;

/// Labels in the order of the snapshot.
#[derive(Debug)]
pub(super) struct Labels {
    redirects: Vec<String>,
    pools: Vec<String>,
    nodes: Vec<String>,
    probes: Vec<String>,
}

impl Labels {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let status = &snapshot.status;
        let mut labels = Self {
            redirects: Vec::new(),
            pools: Vec::new(),
            nodes: Vec::new(),
            probes: Vec::new(),
        };
        for redirect in &status.redirects {
            let name = label("redirect", &redirect.name);
            let of_redirect = join(&name, &label("family", &redirect.family));
            for pool in redirect.pools() {
                let pool_name = label("pool", &pool.name);
                labels.pools.push(join(&of_redirect, &pool_name));
                let of_pool = join(&name, &pool_name);
                let nodes = pool.nodes.iter();
                let nodes = nodes.map(|node| join(&of_pool, &label("node", &node.name)));
                labels.nodes.extend(nodes);
            }
            labels.redirects.push(of_redirect);
        }
        let probed = snapshot.measured.probes.keys();
        let probed =
            probed.map(|probed| join(&label("pool", &probed.pool), &label("node", &probed.node)));
        labels.probes.extend(probed);
        labels
    }

    pub(super) fn redirects<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a str, &'a RedirectStatus)> {
        let redirects = snapshot.status.redirects.iter();
        self.redirects.iter().map(String::as_str).zip(redirects)
    }

    pub(super) fn pools<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a str, &'a PoolStatus)> {
        let redirects = snapshot.status.redirects.iter();
        let pools = redirects.flat_map(RedirectStatus::pools);
        self.pools.iter().map(String::as_str).zip(pools)
    }

    pub(super) fn nodes<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a str, (&'a RedirectStatus, &'a NodeStatus))> {
        let nodes = snapshot
            .status
            .nodes()
            .map(|(redirect, _, node)| (redirect, node));
        self.nodes.iter().map(String::as_str).zip(nodes)
    }

    pub(super) fn probes<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a str, &'a Probes)> {
        let probes = snapshot.measured.probes.values();
        self.probes.iter().map(String::as_str).zip(probes)
    }
}

fn join(one: &str, other: &str) -> String {
    [one, ",", other].concat()
}
