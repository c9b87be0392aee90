//! What the data path has room for.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use redirector_common::abi::{MAX_BACKENDS, MAX_ENDPOINTS, MAX_LISTENERS, MAX_REDIRECTS};

use super::conflicts::Places;
use super::host::HostName;
use super::model::{Config, Delivery, Node, Redirect};
use super::problem::{Complaint, Findings};
use crate::family::Family;

/// Where something is, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Host<'a> {
    At(IpAddr),
    /// A name may stand for an address of each family.
    Named(&'a HostName, Family),
}

impl<'a> Host<'a> {
    /// Where a node is in a family, if it may be of it.
    fn of(node: &'a Node, family: Family) -> Option<Self> {
        match &node.host {
            Some(name) => Some(Self::Named(name, family)),
            None => node.addresses.of(family).map(Self::At),
        }
    }
}

/// What a part of the configuration takes up in the maps. Redirects that reach a node's socket share its entries.
#[derive(Default)]
struct Demand<'a> {
    tables: usize,
    listeners: usize,
    /// With the port that clients are sent to, where it is not their own.
    backends: HashSet<(Host<'a>, Option<u16>)>,
    /// With port and protocol, or the host as such.
    endpoints: HashSet<(Host<'a>, Option<(u16, u8)>)>,
}

/// A limit: how much of it is taken, how much there is, and of what.
type Limit = (usize, u32, &'static str);

impl<'a> Demand<'a> {
    fn limits(&self) -> [Limit; 4] {
        [
            (self.tables, MAX_REDIRECTS, "redirects"),
            // Number 0 is for none.
            (self.listeners, MAX_LISTENERS - 1, "listeners"),
            (self.backends.len(), MAX_BACKENDS - 1, "nodes to reach"),
            (
                self.endpoints.len(),
                MAX_ENDPOINTS - 1,
                "addresses and ports",
            ),
        ]
    }

    /// Adds a redirect. Once there is too much of anything, the rest is counted only as far as it costs next to nothing.
    fn add(&mut self, config: &'a Config, redirect: &Redirect) {
        self.tables += redirect.families().count();
        let ports = redirect.listen.iter().map(|listen| listen.ports().len());
        self.listeners += ports.sum::<usize>() * redirect.protocol.numbers().len();
        if self.limits().iter().any(is_exceeded) {
            return;
        }
        for family in redirect.families() {
            self.reach(config, redirect, family);
        }
    }

    /// Adds the listeners and the nodes of a redirect in one family.
    fn reach(&mut self, config: &'a Config, redirect: &Redirect, family: Family) {
        let protocols = redirect.protocol.numbers();
        let mut listened = BTreeSet::new();
        for listen in &redirect.listen {
            if Family::of(listen.address) == family {
                listened.extend(listen.ports());
                let shared = Host::At(listen.address);
                for socket in each(listen.ports(), protocols) {
                    self.endpoints.insert((shared, Some(socket)));
                }
                self.endpoints.insert((shared, None));
            }
        }
        let ports = match redirect.port {
            Some(port) => BTreeSet::from([port]),
            None => listened,
        };
        let pools = [Some(redirect.pool), redirect.backup].into_iter().flatten();
        let nodes = pools.filter_map(|pool| config.pools.get(pool));
        for node in nodes.flat_map(|pool| &pool.nodes) {
            let Some(host) = Host::of(node, family) else {
                continue;
            };
            if self.limits().iter().any(is_exceeded) {
                return;
            }
            self.backends.insert((host, redirect.port));
            // Nodes that packets are routed to answer from the shared address.
            if redirect.delivery == Delivery::Route {
                continue;
            }
            self.endpoints.insert((host, None));
            for socket in each(ports.iter().copied(), protocols) {
                self.endpoints.insert((host, Some(socket)));
            }
        }
    }
}

fn is_exceeded(&(taken, most, _): &Limit) -> bool {
    taken > most as usize
}

fn each(ports: impl Iterator<Item = u16>, protocols: &[u8]) -> impl Iterator<Item = (u16, u8)> {
    ports.flat_map(|port| protocols.iter().map(move |protocol| (port, *protocol)))
}

/// Reports what the data path has no room for; whether there was room for all.
pub(super) fn find(config: &Config, places: &Places, findings: &mut Findings) -> bool {
    let mut demand = Demand::default();
    for (redirect, places) in config.redirects.iter().zip(&places.redirects) {
        let before = demand.limits();
        demand.add(config, redirect);
        for (before, after) in before.iter().zip(demand.limits()) {
            if !is_exceeded(before) && is_exceeded(&after) {
                let (_, most, what) = after;
                let complaint = Complaint::new(format!(
                    "with redirect `{}` the relay has more than {most} {what}",
                    redirect.name
                ));
                findings.add(
                    places.forward.clone(),
                    complaint.help("use another relay for it; many ports of an address are fewer as all of them"),
                );
            }
        }
    }
    !demand.limits().iter().any(is_exceeded)
}
