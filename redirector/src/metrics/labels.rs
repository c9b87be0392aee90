//! The labels of everything that has series, written once for all families.

use crate::control::status::{NodeStatus, PoolStatus, RedirectStatus};
use crate::http::Snapshot;

use super::measured::Probes;
use super::text::{Label, label};

/// Labels in the order of the snapshot.
#[derive(Debug)]
pub(super) struct Labels {
    redirects: Vec<Vec<Label>>,
    pools: Vec<Vec<Label>>,
    nodes: Vec<Vec<Label>>,
    probes: Vec<Vec<Label>>,
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
            let of_redirect = vec![name.clone(), label("family", &redirect.family)];
            for pool in redirect.pools() {
                let pool_name = label("pool", &pool.name);
                labels
                    .pools
                    .push([of_redirect.as_slice(), std::slice::from_ref(&pool_name)].concat());
                let nodes = pool.nodes.iter().map(|node| {
                    let node = label("node", &node.name);
                    vec![name.clone(), pool_name.clone(), node]
                });
                labels.nodes.extend(nodes);
            }
            labels.redirects.push(of_redirect);
        }
        let probed = snapshot.measured.probes.keys();
        let probed =
            probed.map(|probed| vec![label("pool", &probed.pool), label("node", &probed.node)]);
        labels.probes.extend(probed);
        labels
    }

    pub(super) fn redirects<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a [Label], &'a RedirectStatus)> {
        let redirects = snapshot.status.redirects.iter();
        self.redirects.iter().map(Vec::as_slice).zip(redirects)
    }

    pub(super) fn pools<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a [Label], &'a PoolStatus)> {
        let redirects = snapshot.status.redirects.iter();
        let pools = redirects.flat_map(RedirectStatus::pools);
        self.pools.iter().map(Vec::as_slice).zip(pools)
    }

    pub(super) fn nodes<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a [Label], (&'a RedirectStatus, &'a NodeStatus))> {
        let nodes = snapshot
            .status
            .nodes()
            .map(|(redirect, _, node)| (redirect, node));
        self.nodes.iter().map(Vec::as_slice).zip(nodes)
    }

    pub(super) fn probes<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a [Label], &'a Probes)> {
        let probes = snapshot.measured.probes.values();
        self.probes.iter().map(Vec::as_slice).zip(probes)
    }
}
