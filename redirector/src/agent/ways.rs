//! The ways to nodes and clients, as the network changes.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::Agent;
use crate::{
    config::Config,
    net::{
        resolve::{Unresolved, resolve, way_to},
        view::NetView,
    },
};

/// How long a node that has moved may take to be found on its network before clients are sent there.
const NEIGHBOURS: Duration = Duration::from_millis(100);

impl Agent {
    /// The neighbours by which the nodes are reached, and the gateways through which clients are answered: the
    /// first answer must not wait until its gateway is known.
    pub(super) fn neighbours(&self) -> BTreeSet<(u32, IpAddr)> {
        let view = self.views.borrow();
        let allowed = self.allowed();
        self.relay
            .backends()
            .iter()
            .filter_map(|(_, entry)| way_to(&view, entry.address.ip(), &allowed).ok())
            .map(|way| (way.ifindex, way.neighbour))
            .chain(self.applied.gateways().iter().copied())
            .collect()
    }

    pub(super) async fn follow_network(&mut self) {
        let view = Arc::clone(&self.views.borrow_and_update());
        self.follow_interfaces(&view, Instant::now());
        let allowed = self.allowed();
        let epoch = self.epoch();
        let way = |address| resolve(&view, address, &allowed).ok();
        self.change(|relay| relay.reach(way, epoch));
        if let Err(error) = self.applied.route(&view, &allowed) {
            log::error!("{error:#}; the kernel is asked for the ways to clients meanwhile");
        }
        self.apply();
        self.keep_neighbours(&view).await;
    }

    /// Has the kernel keep the link-layer addresses of [`Self::neighbours`] fresh.
    pub(super) async fn keep_neighbours(&self, view: &NetView) {
        for (ifindex, address) in self.neighbours() {
            let managed = view
                .neighbours
                .get(&(ifindex, address))
                .is_some_and(|neighbour| neighbour.managed);
            if !managed && let Err(error) = self.solicitor.keep(ifindex, address).await {
                log::debug!("{error}");
            }
        }
    }

    /// Has the kernel find those nodes whose neighbours it does not know, and waits a little: a node that has moved should not
    /// be without a way when clients are sent to it.
    pub(super) async fn find_neighbours(&self, config: &Config) {
        let limit = Instant::now() + NEIGHBOURS;
        let allowed = self.allowed();
        let nodes = || config.pools.iter().flat_map(|pool| &pool.nodes);
        let mut asked = BTreeSet::new();
        loop {
            let view = Arc::clone(&self.views.borrow());
            let named = nodes().filter(|node| node.host.is_some() || node.standing.is_some());
            let unknown: Vec<(u32, IpAddr)> = named
                .flat_map(|node| node.addresses.iter())
                .filter_map(|address| match resolve(&view, address, &allowed) {
                    Err(Unresolved::NeighbourUnknown {
                        ifindex, address, ..
                    }) => Some((ifindex, address)),
                    Ok(_) | Err(_) => None,
                })
                .collect();
            if unknown.is_empty() || Instant::now() >= limit {
                return;
            }
            for (ifindex, address) in unknown {
                if asked.insert((ifindex, address))
                    && let Err(error) = self.solicitor.solicit(ifindex, address).await
                {
                    log::debug!("{error}");
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
