//! IPv4 routes, stored so that a change is cheap to apply and a snapshot cheap to take.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;

/// A routing table that the default policy rules consult.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Table 255.
    Local,
    /// Table 254.
    Main,
    /// Table 253, consulted where the others have no route.
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
    /// Its gateway is an IPv6 address.
    GatewayOfOtherFamily,
    /// It carries an MTU of its own.
    MtuLimited,
}

/// One IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Table it belongs to.
    pub table: Table,
    /// Destinations it matches.
    pub prefix: Ipv4Net,
    /// What happens to packets that match.
    pub kind: RouteKind,
    /// Priority among routes of the same prefix; the lowest wins.
    pub metric: u32,
    /// Type of service that packets must have; 0 matches every packet.
    pub tos: u8,
    /// Gateway; none means that destinations are on-link.
    pub gateway: Option<Ipv4Addr>,
    /// Index of the interface it leaves by; none for kinds without one, and for multipath routes.
    pub ifindex: Option<u32>,
    /// Preferred source address.
    pub source: Option<Ipv4Addr>,
    /// What makes it more than a plain route.
    pub special: Option<Special>,
}

impl Route {
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

type Key = (Table, Ipv4Net);

/// Routes whose networks begin with the same octet.
type Shard = BTreeMap<Key, Vec<Route>>;

/// The IPv4 routes of the tables that the default policy rules consult.
///
/// Routes are kept in shards by first octet and each shard is shared with the snapshots taken before
/// it changes, so a change of one among 100,000 routes copies a few hundred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    shards: BTreeMap<u8, Arc<Shard>>,
}

impl RouteTable {
    /// Adds a route; returns whether that changed anything.
    pub fn add(&mut self, route: Route, placement: Placement) -> bool {
        let shard = self
            .shards
            .entry(route.key().1.network().octets()[0])
            .or_default();
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
        let octet = route.key().1.network().octets()[0];
        let Some(shard) = self.shards.get_mut(&octet) else {
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
            self.shards.remove(&octet);
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

    /// The route of a packet with type of service 0, by longest prefix and then lowest metric.
    ///
    /// As long as no policy rule was ever added, the kernel keeps the tables local and main in one
    /// trie: the longest prefix of both wins, and local wins between equals. The table default counts
    /// where these have no route. A `throw` route ends the search in its table.
    pub fn lookup(&self, address: Ipv4Addr) -> Option<&Route> {
        let merged = self.longest(address, &[Table::Local, Table::Main]);
        match merged {
            Some(route) if route.kind != RouteKind::Throw => Some(route),
            Some(_) | None => self
                .longest(address, &[Table::Default])
                .filter(|route| route.kind != RouteKind::Throw),
        }
    }

    fn longest(&self, address: Ipv4Addr, tables: &[Table]) -> Option<&Route> {
        (0..=32).rev().find_map(|length| {
            let prefix = Ipv4Net::new_assert(address, length).trunc();
            let shard = self.shards.get(&prefix.network().octets()[0])?;
            tables.iter().find_map(|table| {
                shard
                    .get(&(*table, prefix))?
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

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, metric: u32, ifindex: u32) -> Route {
        Route {
            table: Table::Main,
            prefix: prefix.parse().unwrap(),
            kind: RouteKind::Unicast,
            metric,
            tos: 0,
            gateway: None,
            ifindex: Some(ifindex),
            source: None,
            special: None,
        }
    }

    fn winner(table: &RouteTable, address: [u8; 4]) -> Option<u32> {
        table.lookup(address.into()).and_then(|route| route.ifindex)
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_lowest_metric() {
        let table: RouteTable = [
            route("10.0.0.0/8", 5, 1),
            route("10.1.0.0/16", 9, 2),
            route("10.1.0.0/16", 7, 3),
        ]
        .into_iter()
        .collect();
        assert_eq!(winner(&table, [10, 1, 2, 3]), Some(3));
        assert_eq!(winner(&table, [10, 2, 2, 3]), Some(1));
        assert_eq!(winner(&table, [11, 2, 2, 3]), None);
    }

    #[test]
    fn a_replacement_leaves_one_route_and_an_append_two() {
        let mut table = RouteTable::default();
        table.add(route("10.0.0.0/8", 0, 1), Placement::First);
        assert!(table.add(route("10.0.0.0/8", 0, 2), Placement::Replace));
        assert_eq!(table.len(), 1);
        assert_eq!(winner(&table, [10, 0, 0, 1]), Some(2));
        assert!(table.add(route("10.0.0.0/8", 0, 3), Placement::Last));
        assert_eq!((table.len(), winner(&table, [10, 0, 0, 1])), (2, Some(2)));
        assert!(table.add(route("10.0.0.0/8", 0, 4), Placement::First));
        assert_eq!((table.len(), winner(&table, [10, 0, 0, 1])), (3, Some(4)));
    }

    #[test]
    fn adding_a_route_twice_or_removing_a_stranger_changes_nothing() {
        let mut table = RouteTable::default();
        assert!(table.add(route("10.0.0.0/8", 0, 1), Placement::First));
        assert!(!table.add(route("10.0.0.0/8", 0, 1), Placement::First));
        assert!(!table.add(route("10.0.0.0/8", 0, 1), Placement::Replace));
        assert!(!table.remove(&route("10.0.0.0/8", 0, 2)));
        assert!(table.remove(&route("10.0.0.0/8", 0, 1)));
        assert_eq!(table, RouteTable::default());
    }

    #[test]
    fn a_route_that_wants_a_type_of_service_is_not_everybodys() {
        let mut picky = route("10.0.0.0/8", 0, 1);
        picky.tos = 0x10;
        let table: RouteTable = [picky, route("0.0.0.0/0", 0, 2)].into_iter().collect();
        assert_eq!(winner(&table, [10, 0, 0, 1]), Some(2));
    }

    #[test]
    fn the_default_table_counts_only_where_main_has_nothing() {
        let mut fallback = route("10.1.0.0/16", 0, 9);
        fallback.table = Table::Default;
        let table: RouteTable = [fallback.clone(), route("10.0.0.0/8", 0, 1)]
            .into_iter()
            .collect();
        assert_eq!(winner(&table, [10, 1, 0, 1]), Some(1));
        let table: RouteTable = [fallback].into_iter().collect();
        assert_eq!(winner(&table, [10, 1, 0, 1]), Some(9));
    }

    #[test]
    fn a_change_leaves_the_snapshots_alone_and_copies_one_shard() {
        let table: RouteTable = [route("10.0.0.0/8", 0, 1), route("11.0.0.0/8", 0, 1)]
            .into_iter()
            .collect();
        let mut changed = table.clone();
        changed.add(route("10.3.0.0/16", 0, 2), Placement::First);
        assert_eq!(winner(&table, [10, 3, 0, 1]), Some(1));
        assert_eq!(winner(&changed, [10, 3, 0, 1]), Some(2));
        assert!(Arc::ptr_eq(&table.shards[&11], &changed.shards[&11]));
        assert!(!Arc::ptr_eq(&table.shards[&10], &changed.shards[&10]));
    }

    #[test]
    fn changes_among_a_hundred_thousand_routes_are_cheap() {
        let many = (0..100_000_u32).map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            let mut route = route("0.0.0.0/0", 0, 1);
            route.prefix = Ipv4Net::new_assert(Ipv4Addr::new(c, b, a, 0), 24);
            route
        });
        let mut table: RouteTable = many.collect();
        let start = std::time::Instant::now();
        for n in 0..=255 {
            let snapshot = table.clone();
            table.add(route(&format!("{n}.9.9.0/28"), 0, 2), Placement::First);
            drop(snapshot);
        }
        println!(
            "256 changes, each after a snapshot of 100,000 routes: {:?}",
            start.elapsed()
        );
        assert_eq!(table.len(), 100_256);
    }
}
