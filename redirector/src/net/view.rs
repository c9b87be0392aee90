//! What the agent knows about links, addresses, routes and neighbours: plain data, changed by events.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::routes::{Placement, Route, RouteTable, Special};
use crate::family::Family;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Ethernet address; none if it is not an Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// Whether the administrator has set it up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Largest packet, in bytes without the Ethernet header.
    pub mtu: u32,
    /// Kind of a virtual interface, as `ip -d link` names it: `veth`, `vlan`, `bond`, ...
    pub kind: Option<String>,
    /// Index of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
}

impl Link {
    /// Whether packets can leave by it.
    pub fn usable(&self) -> bool {
        self.up && self.carrier
    }
}

/// An address of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub local: IpAddr,
    /// The network that it puts on-link (that of the peer on a point-to-point interface).
    pub subnet: IpNet,
    /// Whether another address of the same network comes first when the kernel picks a source; in
    /// IPv6 one that is temporary, deprecated or not known to be unique.
    pub secondary: bool,
    /// Whether it may be used to speak with other hosts (its scope is global).
    pub global: bool,
}

/// State of a neighbour entry, as `ip neighbour` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Created, nothing known or asked yet.
    #[default]
    None,
    /// Asked, not answered.
    Incomplete,
    /// Confirmed recently.
    Reachable,
    /// Valid, not confirmed recently.
    Stale,
    /// Used while stale; a confirmation is awaited.
    Delay,
    /// Being asked again.
    Probe,
    /// It does not answer.
    Failed,
    /// The interface needs no resolution.
    NoArp,
    /// Set by the administrator.
    Permanent,
}

/// An entry of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Ethernet address, if known.
    pub mac: Option<[u8; 6]>,
    /// State of the entry.
    pub state: NeighbourState,
    /// Whether the kernel keeps the entry resolved on its own (`NTF_EXT_MANAGED`).
    pub managed: bool,
}

impl Neighbour {
    /// The address to which frames for this neighbour can be sent, if it is valid.
    pub fn usable_mac(&self) -> Option<[u8; 6]> {
        match self.state {
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::NoArp
            | NeighbourState::Permanent => self.mac,
            NeighbourState::None | NeighbourState::Incomplete | NeighbourState::Failed => None,
        }
    }
}

/// A change of the kernel's network state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface appeared or changed.
    Link(u32, Link),
    /// An interface is gone.
    LinkGone(u32),
    /// An address was added or changed.
    Address(u32, Address),
    /// An address was removed.
    AddressGone(u32, Address),
    /// A route was added or replaced another.
    Route(Route, Placement),
    /// A route was removed.
    RouteGone(Route),
    /// A neighbour entry appeared or changed.
    Neighbour(u32, IpAddr, Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone(u32, IpAddr),
    /// Whether a family has policy rules besides the default ones.
    PolicyRules(Family, bool),
}

/// What an [`Event`] did to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Unchanged,
    /// Something that no packet's way depends on, such as a neighbour's entry going stale.
    Cosmetic,
    /// The way of some packets may have changed.
    Changed,
    /// As `Changed`; besides, the kernel removes routes at such an occasion without telling, so they
    /// must be read again.
    RoutesStale,
}

/// The kernel's network state, as far as the agent knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetView {
    /// Interfaces by index.
    pub links: BTreeMap<u32, Link>,
    /// Addresses of each interface, in the kernel's order.
    pub addresses: BTreeMap<u32, Vec<Address>>,
    /// Routes of the tables local, main and default.
    pub routes: RouteTable,
    /// Neighbours by interface and address.
    pub neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    /// Families of which `ip rule` has more or other than the default rules, so that the tables alone
    /// do not tell where a packet goes.
    pub policy_rules: BTreeSet<Family>,
}

impl NetView {
    /// Brings the view up to date with one change.
    pub fn apply(&mut self, event: Event) -> Effect {
        match event {
            Event::Link(ifindex, link) => self.set_link(ifindex, link),
            Event::LinkGone(ifindex) => self.remove_link(ifindex),
            Event::Address(ifindex, address) => self.set_address(ifindex, address),
            Event::AddressGone(ifindex, address) => self.remove_address(ifindex, &address),
            Event::Route(route, placement) => self.add_route(route, placement),
            Event::RouteGone(route) => {
                if self.routes.remove(&route) && !self.hides_siblings(&route) {
                    Effect::Changed
                } else {
                    Effect::RoutesStale
                }
            }
            Event::Neighbour(ifindex, address, neighbour) => {
                self.set_neighbour(ifindex, address, neighbour)
            }
            Event::NeighbourGone(ifindex, address) => {
                changed(self.neighbours.remove(&(ifindex, address)).is_some())
            }
            Event::PolicyRules(family, true) => changed(self.policy_rules.insert(family)),
            Event::PolicyRules(family, false) => changed(self.policy_rules.remove(&family)),
        }
    }

    /// The interface of that name, with its index.
    pub fn link_by_name(&self, name: &str) -> Option<(u32, &Link)> {
        self.links
            .iter()
            .find(|(_, link)| link.name == name)
            .map(|(index, link)| (*index, link))
    }

    /// Name of an interface, or `#index` for one that is not known.
    pub fn link_name(&self, ifindex: u32) -> String {
        self.links
            .get(&ifindex)
            .map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
    }

    /// Whether the address is one of the relay's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.addresses
            .values()
            .flatten()
            .any(|own| own.local == address)
    }

    fn add_route(&mut self, route: Route, placement: Placement) -> Effect {
        let hides_siblings = self.hides_siblings(&route);
        let changed = changed(self.routes.add(route, placement));
        if hides_siblings {
            return Effect::RoutesStale;
        }
        changed
    }

    /// Whether a change of this route may be one of several next hops of another.
    ///
    /// In IPv6 each next hop is a route of its own that may come and go alone. The kernel then tells of
    /// it with or without those that stay, so the routes must be read again.
    fn hides_siblings(&self, route: &Route) -> bool {
        let several = |route: &Route| route.special == Some(Special::Multipath);
        route.family() == Family::V6
            && (several(route)
                || self
                    .routes
                    .group(route.table, route.prefix)
                    .iter()
                    .any(several))
    }

    fn set_link(&mut self, ifindex: u32, link: Link) -> Effect {
        let up = link.up;
        let carrier = link.carrier;
        let before = self.links.insert(ifindex, link);
        if before.as_ref() == self.links.get(&ifindex) {
            return Effect::Unchanged;
        }
        if up && (carrier || before.as_ref().is_none_or(|before| !before.carrier)) {
            return Effect::Changed;
        }
        if !up {
            // The kernel flushes these without a message for each route.
            self.routes.remove_interface(ifindex);
        }
        if before.is_some_and(|before| before.usable()) {
            Effect::RoutesStale
        } else {
            Effect::Changed
        }
    }

    fn remove_link(&mut self, ifindex: u32) -> Effect {
        let known = self.links.remove(&ifindex).is_some();
        self.addresses.remove(&ifindex);
        self.neighbours.retain(|(of, _), _| *of != ifindex);
        if self.routes.remove_interface(ifindex) || known {
            Effect::RoutesStale
        } else {
            Effect::Unchanged
        }
    }

    fn set_address(&mut self, ifindex: u32, address: Address) -> Effect {
        let list = self.addresses.entry(ifindex).or_default();
        if let Some(known) = list.iter_mut().find(|other| same_address(other, &address)) {
            return changed(std::mem::replace(known, address) != address);
        }
        list.push(address);
        Effect::Changed
    }

    fn remove_address(&mut self, ifindex: u32, address: &Address) -> Effect {
        let Some(list) = self.addresses.get_mut(&ifindex) else {
            return Effect::Unchanged;
        };
        let before = list.len();
        list.retain(|other| !same_address(other, address));
        let removed = list.len() < before;
        if list.is_empty() {
            self.addresses.remove(&ifindex);
        }
        // Routes that prefer this address as their source vanish silently with it.
        if removed {
            Effect::RoutesStale
        } else {
            Effect::Unchanged
        }
    }

    fn set_neighbour(&mut self, ifindex: u32, address: IpAddr, now: Neighbour) -> Effect {
        match self.neighbours.insert((ifindex, address), now) {
            Some(before) if before == now => Effect::Unchanged,
            Some(before) if before.usable_mac() == now.usable_mac() => Effect::Cosmetic,
            None if now.usable_mac().is_none() => Effect::Cosmetic,
            Some(_) | None => Effect::Changed,
        }
    }
}

fn changed(changed: bool) -> Effect {
    if changed {
        Effect::Changed
    } else {
        Effect::Unchanged
    }
}

fn same_address(a: &Address, b: &Address) -> bool {
    a.local == b.local && a.subnet == b.subnet
}

#[cfg(test)]
mod tests;
