//! What the agent knows about links, addresses, routes and neighbours: plain data, changed by events.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::routes::{Placement, Route, RouteTable};

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

/// An IPv4 address of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub local: Ipv4Addr,
    /// The network that it puts on-link (that of the peer on a point-to-point interface).
    pub subnet: Ipv4Net,
    /// Whether another address of the same network comes first when the kernel picks a source.
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
    Neighbour(u32, Ipv4Addr, Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone(u32, Ipv4Addr),
    /// Whether there are policy rules besides the default three.
    PolicyRules(bool),
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

/// The kernel's IPv4 network state, as far as the agent knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetView {
    /// Interfaces by index.
    pub links: BTreeMap<u32, Link>,
    /// Addresses of each interface, in the kernel's order.
    pub addresses: BTreeMap<u32, Vec<Address>>,
    /// Routes of the tables local, main and default.
    pub routes: RouteTable,
    /// Neighbours by interface and address.
    pub neighbours: BTreeMap<(u32, Ipv4Addr), Neighbour>,
    /// Whether `ip rule` has more or other than the default three rules, so that the tables alone do
    /// not tell where a packet goes.
    pub policy_rules: bool,
}

impl NetView {
    /// Brings the view up to date with one change.
    pub fn apply(&mut self, event: Event) -> Effect {
        match event {
            Event::Link(ifindex, link) => self.set_link(ifindex, link),
            Event::LinkGone(ifindex) => self.remove_link(ifindex),
            Event::Address(ifindex, address) => self.set_address(ifindex, address),
            Event::AddressGone(ifindex, address) => self.remove_address(ifindex, &address),
            Event::Route(route, placement) => changed(self.routes.add(route, placement)),
            Event::RouteGone(route) => {
                if self.routes.remove(&route) {
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
            Event::PolicyRules(rules) => {
                changed(std::mem::replace(&mut self.policy_rules, rules) != rules)
            }
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
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        self.addresses
            .values()
            .flatten()
            .any(|own| own.local == address)
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

    fn set_neighbour(&mut self, ifindex: u32, address: Ipv4Addr, now: Neighbour) -> Effect {
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
mod tests {
    use super::{
        super::routes::{RouteKind, Table},
        *,
    };

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn link(up: bool, carrier: bool) -> Link {
        Link {
            name: "eth0".into(),
            mac: Some(MAC),
            up,
            carrier,
            mtu: 1500,
            ..Link::default()
        }
    }

    fn address(text: &str) -> Address {
        let net: Ipv4Net = text.parse().unwrap();
        Address {
            local: net.addr(),
            subnet: net.trunc(),
            secondary: false,
            global: true,
        }
    }

    fn on_link(prefix: &str, ifindex: u32) -> Route {
        Route {
            table: Table::Main,
            prefix: prefix.parse().unwrap(),
            kind: RouteKind::Unicast,
            metric: 0,
            tos: 0,
            gateway: None,
            ifindex: Some(ifindex),
            source: None,
            special: None,
        }
    }

    fn neighbour(state: NeighbourState, mac: Option<[u8; 6]>) -> Neighbour {
        Neighbour {
            mac,
            state,
            managed: false,
        }
    }

    #[test]
    fn a_valid_neighbour_is_usable_in_every_valid_state_and_in_no_other() {
        use NeighbourState::{
            Delay, Failed, Incomplete, NoArp, None as Fresh, Permanent, Probe, Reachable, Stale,
        };
        for state in [Reachable, Stale, Delay, Probe, NoArp, Permanent] {
            assert_eq!(
                neighbour(state, Some(MAC)).usable_mac(),
                Some(MAC),
                "{state:?}"
            );
            assert_eq!(neighbour(state, None).usable_mac(), None, "{state:?}");
        }
        for state in [Fresh, Incomplete, Failed] {
            assert_eq!(neighbour(state, Some(MAC)).usable_mac(), None, "{state:?}");
        }
    }

    #[test]
    fn an_aging_neighbour_is_cosmetic_and_a_failing_one_is_not() {
        let mut view = NetView::default();
        let at = Ipv4Addr::new(10, 0, 0, 9);
        let mut set = |state, mac| view.apply(Event::Neighbour(1, at, neighbour(state, mac)));
        assert_eq!(set(NeighbourState::Incomplete, None), Effect::Cosmetic);
        assert_eq!(set(NeighbourState::Reachable, Some(MAC)), Effect::Changed);
        assert_eq!(set(NeighbourState::Reachable, Some(MAC)), Effect::Unchanged);
        assert_eq!(set(NeighbourState::Stale, Some(MAC)), Effect::Cosmetic);
        assert_eq!(set(NeighbourState::Stale, Some([2; 6])), Effect::Changed);
        assert_eq!(set(NeighbourState::Failed, Some([2; 6])), Effect::Changed);
    }

    #[test]
    fn a_link_that_goes_down_takes_its_routes_along() {
        let mut view = NetView::default();
        view.apply(Event::Link(1, link(true, true)));
        view.apply(Event::Route(on_link("10.0.0.0/24", 1), Placement::First));
        view.apply(Event::Route(on_link("10.0.1.0/24", 2), Placement::First));
        assert_eq!(
            view.apply(Event::Link(1, link(false, false))),
            Effect::RoutesStale
        );
        assert_eq!(view.routes.len(), 1);
        assert_eq!(
            view.apply(Event::Link(1, link(false, false))),
            Effect::Unchanged
        );
        assert_eq!(
            view.apply(Event::Link(1, link(true, true))),
            Effect::Changed
        );
    }

    #[test]
    fn a_link_that_only_loses_its_carrier_keeps_its_routes() {
        let mut view = NetView::default();
        view.apply(Event::Link(1, link(true, true)));
        view.apply(Event::Route(on_link("10.0.0.0/24", 1), Placement::First));
        assert_eq!(
            view.apply(Event::Link(1, link(true, false))),
            Effect::RoutesStale
        );
        assert_eq!(view.routes.len(), 1);
        assert!(!view.links[&1].usable());
    }

    #[test]
    fn a_vanished_link_leaves_nothing_behind() {
        let mut view = NetView::default();
        view.apply(Event::Link(1, link(true, true)));
        view.apply(Event::Address(1, address("10.0.0.1/24")));
        view.apply(Event::Route(on_link("10.0.0.0/24", 1), Placement::First));
        view.apply(Event::Neighbour(
            1,
            Ipv4Addr::new(10, 0, 0, 9),
            neighbour(NeighbourState::Reachable, Some(MAC)),
        ));
        assert_eq!(view.apply(Event::LinkGone(1)), Effect::RoutesStale);
        assert_eq!(view, NetView::default());
        assert_eq!(view.apply(Event::LinkGone(1)), Effect::Unchanged);
    }

    #[test]
    fn a_removed_address_makes_the_routes_doubtful_and_a_strangers_removal_does_not() {
        let mut view = NetView::default();
        assert_eq!(
            view.apply(Event::Address(1, address("10.0.0.1/24"))),
            Effect::Changed
        );
        assert_eq!(
            view.apply(Event::Address(1, address("10.0.0.1/24"))),
            Effect::Unchanged
        );
        assert!(view.is_own(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(
            view.apply(Event::AddressGone(1, address("10.0.0.2/24"))),
            Effect::Unchanged
        );
        assert_eq!(
            view.apply(Event::AddressGone(1, address("10.0.0.1/24"))),
            Effect::RoutesStale
        );
        assert_eq!(view, NetView::default());
    }

    #[test]
    fn the_removal_of_an_unknown_route_asks_for_a_new_reading() {
        let mut view = NetView::default();
        view.apply(Event::Route(on_link("10.0.0.0/24", 1), Placement::First));
        assert_eq!(
            view.apply(Event::RouteGone(on_link("10.0.0.0/24", 2))),
            Effect::RoutesStale
        );
        assert_eq!(
            view.apply(Event::RouteGone(on_link("10.0.0.0/24", 1))),
            Effect::Changed
        );
    }
}
