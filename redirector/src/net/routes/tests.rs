use super::*;

fn weighted(prefix: &str, metric: u32, ifindex: u32) -> Route {
    Route {
        metric,
        ..route(prefix, None, ifindex)
    }
}

fn winner(table: &RouteTable, address: impl Into<IpAddr>) -> Option<u32> {
    table.lookup(address.into()).and_then(|route| route.ifindex)
}

#[test]
fn the_longest_prefix_wins_and_then_the_lowest_metric() {
    let table: RouteTable = [
        weighted("10.0.0.0/8", 5, 1),
        weighted("10.1.0.0/16", 9, 2),
        weighted("10.1.0.0/16", 7, 3),
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
    table.add(weighted("10.0.0.0/8", 0, 1), Placement::First);
    assert!(table.add(weighted("10.0.0.0/8", 0, 2), Placement::Replace));
    assert_eq!(table.len(), 1);
    assert_eq!(winner(&table, [10, 0, 0, 1]), Some(2));
    assert!(table.add(weighted("10.0.0.0/8", 0, 3), Placement::Last));
    assert_eq!((table.len(), winner(&table, [10, 0, 0, 1])), (2, Some(2)));
    assert!(table.add(weighted("10.0.0.0/8", 0, 4), Placement::First));
    assert_eq!((table.len(), winner(&table, [10, 0, 0, 1])), (3, Some(4)));
}

#[test]
fn adding_a_route_twice_or_removing_a_stranger_changes_nothing() {
    let mut table = RouteTable::default();
    assert!(table.add(weighted("10.0.0.0/8", 0, 1), Placement::First));
    assert!(!table.add(weighted("10.0.0.0/8", 0, 1), Placement::First));
    assert!(!table.add(weighted("10.0.0.0/8", 0, 1), Placement::Replace));
    assert!(!table.remove(&weighted("10.0.0.0/8", 0, 2)));
    assert!(table.remove(&weighted("10.0.0.0/8", 0, 1)));
    assert_eq!(table, RouteTable::default());
}

#[test]
fn a_route_that_wants_a_type_of_service_is_not_everybodys() {
    let mut picky = weighted("10.0.0.0/8", 0, 1);
    picky.tos = 0x10;
    let table: RouteTable = [picky, weighted("0.0.0.0/0", 0, 2)].into_iter().collect();
    assert_eq!(winner(&table, [10, 0, 0, 1]), Some(2));
}

#[test]
fn the_default_table_counts_only_where_main_has_nothing() {
    let mut fallback = weighted("10.1.0.0/16", 0, 9);
    fallback.table = Table::Default;
    let table: RouteTable = [fallback.clone(), weighted("10.0.0.0/8", 0, 1)]
        .into_iter()
        .collect();
    assert_eq!(winner(&table, [10, 1, 0, 1]), Some(1));
    let table: RouteTable = [fallback].into_iter().collect();
    assert_eq!(winner(&table, [10, 1, 0, 1]), Some(9));
}

#[test]
fn a_change_leaves_the_snapshots_alone_and_copies_one_shard() {
    let table: RouteTable = [weighted("10.0.0.0/8", 0, 1), weighted("11.0.0.0/8", 0, 1)]
        .into_iter()
        .collect();
    let mut changed = table.clone();
    changed.add(weighted("10.3.0.0/16", 0, 2), Placement::First);
    assert_eq!(winner(&table, [10, 3, 0, 1]), Some(1));
    assert_eq!(winner(&changed, [10, 3, 0, 1]), Some(2));
    assert!(Arc::ptr_eq(
        &table.shards[&(Family::V4, 11)],
        &changed.shards[&(Family::V4, 11)]
    ));
    assert!(!Arc::ptr_eq(
        &table.shards[&(Family::V4, 10)],
        &changed.shards[&(Family::V4, 10)]
    ));
}

#[test]
fn changes_among_a_hundred_thousand_routes_are_cheap() {
    let many = (0..100_000_u32).map(|n| {
        let [_, a, b, c] = n.to_be_bytes();
        let mut route = weighted("0.0.0.0/0", 0, 1);
        route.prefix = IpNet::new_assert([c, b, a, 0].into(), 24);
        route
    });
    let mut table: RouteTable = many.collect();
    let start = std::time::Instant::now();
    for n in 0..=255 {
        let snapshot = table.clone();
        table.add(weighted(&format!("{n}.9.9.0/28"), 0, 2), Placement::First);
        drop(snapshot);
    }
    println!(
        "256 changes, each after a snapshot of 100,000 routes: {:?}",
        start.elapsed()
    );
    assert_eq!(table.len(), 100_256);
}

#[test]
fn the_families_do_not_meet() {
    let table: RouteTable = [weighted("0.0.0.0/0", 0, 1), weighted("::/0", 0, 2)]
        .into_iter()
        .collect();
    assert_eq!(winner(&table, [10, 0, 0, 1]), Some(1));
    assert_eq!(winner(&table, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), Some(2));
    let mapped = IpAddr::V6("::ffff:10.0.0.1".parse().unwrap());
    assert_eq!(winner(&table, mapped), Some(2));
}

#[test]
fn ipv6_looks_into_the_table_local_first_whatever_the_lengths() {
    let local = |prefix| Route {
        table: Table::Local,
        ..weighted(prefix, 0, 9)
    };
    let table: RouteTable = [
        local("2001:db8::/32"),
        weighted("2001:db8:1::/48", 0, 1),
        local("10.0.0.0/8"),
        weighted("10.1.0.0/16", 0, 1),
    ]
    .into_iter()
    .collect();
    assert_eq!(winner(&table, [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]), Some(9));
    assert_eq!(
        winner(&table, [10, 1, 0, 1]),
        Some(1),
        "IPv4 takes the longest"
    );
}

#[test]
fn ipv6_routes_spread_over_the_shards_of_one_site_and_of_many() {
    let many = (0..=255).flat_map(|n| {
        [
            weighted(&format!("2001:db8:0:{n:x}::/64"), 0, 1),
            weighted(&format!("2a{n:02x}::/32"), 0, 1),
        ]
    });
    let table: RouteTable = many.collect();
    assert_eq!(table.len(), 512);
    assert!(table.shards.len() == 256, "{}", table.shards.len());
}
