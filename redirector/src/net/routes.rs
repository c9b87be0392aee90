//! Routes of both families, stored so that a change is cheap to apply and a snapshot cheap to take.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::family::{Family, bits};

/// A routing table that the default policy rules consult.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Table 255.
    Local,
    /// Table 254.
    Main,
    /// Table 253, consulted where the others have no route; by IPv4 only.
    Default,
}

/// What the kernel does with packets that a route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// Forwards them to a gateway or an on-link neighbour.
    Unicast,
    /// Delivers them to the host itself (anycast included).
    Local,
    /// Takes and sends them as broadcasts.
    Broadcast,
    /// Takes and sends them as multicasts.
    Multicast,
    /// Drops them silently.
    Blackhole,
    /// Drops them with an ICMP "host unreachable".
    Unreachable,
    /// Drops them with an ICMP "administratively prohibited".
    Prohibit,
    /// Goes on with the next policy rule.
    Throw,
}

/// Why a unicast route means more than "this gateway on that interface".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Special {
    /// It has several next hops.
    Multipath,
    /// It refers to a next-hop object (`ip nexthop`).
    NextHopObject,
    /// It encapsulates (MPLS, tunnel metadata, segment routing, ...).
    Encapsulated,
    /// It is an IPv4 route whose gateway is an IPv6 address.
    GatewayOfOtherFamily,
    /// It only counts for packets of certain sources.
    SourceSpecific,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Table it belongs to.
    pub table: Table,
    /// Destinations it matches.
    pub prefix: IpNet,
    /// What happens to packets that match.
    pub kind: RouteKind,
    /// Priority among routes of the same prefix; the lowest wins.
    pub metric: u32,
    /// Type of service that packets must have; 0 matches every packet.
    pub tos: u8,
    /// Gateway; none means that destinations are on-link.
    pub gateway: Option<IpAddr>,
    /// Index of the interface it leaves by; none for kinds without one, and for multipath routes.
    pub ifindex: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Largest packet that may be sent by it, in bytes from the IP header on; none means that the
    /// interface's counts.
    pub mtu: Option<u32>,
    /// What makes it more than a plain route.
    pub special: Option<Special>,
}

impl Route {
    /// The family of its destinations.
    pub fn family(&self) -> Family {
        Family::of(self.prefix.addr())
    }

    fn key(&self) -> Key {
        (self.table, self.prefix.trunc())
    }

    /// Whether both occupy the same place in the kernel's table, so that one can replace the other.
    fn rivals(&self, other: &Self) -> bool {
        self.metric == other.metric && self.tos == other.tos
    }
}

/// Where the kernel puts a new route among others of the same prefix, type of service and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Before them.
    First,
    /// Behind them.
    Last,
    /// In place of the first of them.
    Replace,
}

type Key = (Table, IpNet);

/// Routes whose networks are kept together.
type Shard = BTreeMap<Key, Vec<Route>>;

/// Which shard holds the routes of a network.
type ShardKey = (Family, u8);

/// The first octet of an IPv4 network. IPv6 networks have too few different ones, so it is all octets
/// of the part that is routed between sites, and within one, put together.
fn shard_of(prefix: &IpNet) -> ShardKey {
    let octets = bits(prefix.network()).to_be_bytes();
    match prefix {
        IpNet::V4(_) => (Family::V4, octets[0]),
        IpNet::V6(_) => (Family::V6, octets[..8].iter().fold(0, |all, one| all ^ one)),
    }
}

/// The routes of the tables that the default policy rules consult.
///
/// Routes are kept in shards and each shard is shared with the snapshots taken before it changes, so
/// a change of one among 100,000 routes copies a few hundred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    shards: BTreeMap<ShardKey, Arc<Shard>>,
}

impl RouteTable {
    /// Adds a route; returns whether that changed anything.
    pub fn add(&mut self, route: Route, placement: Placement) -> bool {
        let shard = self.shards.entry(shard_of(&route.key().1)).or_default();
        if placement != Placement::Replace
            && shard
                .get(&route.key())
                .is_some_and(|group| group.contains(&route))
        {
            return false;
        }
        let group = Arc::make_mut(shard).entry(route.key()).or_default();
        match placement {
            Placement::Replace => {
                if let Some(rival) = group.iter_mut().find(|other| other.rivals(&route)) {
                    let changed = *rival != route;
                    *rival = route;
                    return changed;
                }
                let at = group.partition_point(|other| other.metric <= route.metric);
                group.insert(at, route);
            }
            Placement::First => {
                let at = group.partition_point(|other| other.metric < route.metric);
                group.insert(at, route);
            }
            Placement::Last => {
                let at = group.partition_point(|other| other.metric <= route.metric);
                group.insert(at, route);
            }
        }
        true
    }

    /// Removes a route; returns whether it was there.
    pub fn remove(&mut self, route: &Route) -> bool {
        let of = shard_of(&route.key().1);
        let Some(shard) = self.shards.get_mut(&of) else {
            return false;
        };
        if !shard
            .get(&route.key())
            .is_some_and(|group| group.contains(route))
        {
            return false;
        }
        let routes = Arc::make_mut(shard);
        if let Some(group) = routes.get_mut(&route.key()) {
            group.retain(|other| other != route);
            if group.is_empty() {
                routes.remove(&route.key());
            }
        }
        if routes.is_empty() {
            self.shards.remove(&of);
        }
        true
    }

    /// Removes every route that leaves by the interface; returns whether there was one.
    pub fn remove_interface(&mut self, ifindex: u32) -> bool {
        let doomed: Vec<Route> = self
            .iter()
            .filter(|route| route.ifindex == Some(ifindex))
            .cloned()
            .collect();
        for route in &doomed {
            self.remove(route);
        }
        !doomed.is_empty()
    }

    /// All routes, in no order that means anything except within a group.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.groups().flatten()
    }

    /// The routes of each table and prefix, best first.
    pub fn groups(&self) -> impl Iterator<Item = &[Route]> {
        self.shards
            .values()
            .flat_map(|shard| shard.values())
            .map(Vec::as_slice)
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.groups().map(<[Route]>::len).sum()
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The routes of one table and prefix, best first.
    pub fn group(&self, table: Table, prefix: IpNet) -> &[Route] {
        let key = (table, prefix.trunc());
        let shard = self.shards.get(&shard_of(&key.1));
        shard
            .and_then(|shard| shard.get(&key))
            .map_or(&[], Vec::as_slice)
    }

    /// The route of a packet with type of service 0, by longest prefix and then lowest metric.
    ///
    /// As long as no policy rule was ever added, the kernel keeps IPv4's tables local and main in one
    /// trie: the longest prefix of both wins, and local wins between equals. The table default counts
    /// where these have no route. IPv6 looks into local, and then into main. A `throw` route ends the
    /// search in its table.
    pub fn lookup(&self, address: IpAddr) -> Option<&Route> {
        let stages: [&[Table]; 2] = match address {
            IpAddr::V4(_) => [&[Table::Local, Table::Main], &[Table::Default]],
            IpAddr::V6(_) => [&[Table::Local], &[Table::Main]],
        };
        stages.iter().find_map(|tables| {
            self.longest(address, tables)
                .filter(|route| route.kind != RouteKind::Throw)
        })
    }

    fn longest(&self, address: IpAddr, tables: &[Table]) -> Option<&Route> {
        (0..=Family::of(address).width()).rev().find_map(|length| {
            let prefix = IpNet::new_assert(address, length).trunc();
            tables.iter().find_map(|table| {
                self.group(*table, prefix)
                    .iter()
                    .find(|route| route.tos == 0)
            })
        })
    }
}

impl FromIterator<Route> for RouteTable {
    /// Collects routes in the order of a dump, in which the better of two rivals comes first.
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        let mut table = Self::default();
        for route in routes {
            table.add(route, Placement::Last);
        }
        table
    }
}

/// A plain route of the table main, for tests.
#[cfg(test)]
pub(super) fn route(prefix: &str, gateway: Option<&str>, ifindex: u32) -> Route {
    Route {
        table: Table::Main,
        prefix: prefix.parse().unwrap(),
        kind: RouteKind::Unicast,
        metric: 0,
        tos: 0,
        gateway: gateway.map(|text| text.parse().unwrap()),
        ifindex: Some(ifindex),
        source: None,
        mtu: None,
        special: None,
    }
}

#[cfg(test)]
mod tests;
