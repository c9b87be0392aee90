//! Which nodes of a pool take the clients: priorities, and nodes that come up slowly.

use super::*;

/// Two nodes of a priority above two others.
fn tiers(pool: &str) -> Relay {
    let node = |last: u8, priority: u32| {
        format!("{{ address = \"10.0.1.{last}\", priority = {priority} }}")
    };
    let nodes = [node(1, 200), node(2, 200), node(3, 100), node(4, 100)].join(", ");
    let text = format!(
        "interfaces = [\"eth0\"]\n[pool.a]\nnodes = [{nodes}]\n{pool}\n[redirect.r]\n\
         listen = [\"10.0.0.1:1080\"]\nforward-to = {{ pool = \"a\", port = 1080 }}\n"
    );
    relay(Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}")))
}

/// The last octets of the nodes that get new connections.
fn taking(relay: &Relay) -> Vec<u8> {
    let owned = relay.redirects()[&0].book.owned();
    let nodes = owned.into_keys().filter(|backend| *backend != 0);
    let mut octets: Vec<u8> = nodes
        .map(|backend| match address_of(relay, backend).ip() {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => 0,
        })
        .collect();
    octets.sort_unstable();
    octets
}

#[test]
fn clients_go_to_the_highest_priority_that_has_enough_nodes_and_come_back_to_it() {
    let mut relay = tiers("min-active = 2");
    assert_eq!(taking(&relay), [1, 2]);
    assert_eq!(relay.redirects()[&0].tier, Some(200));
    check(&mut relay, "10.0.1.1", false);
    assert_eq!(taking(&relay), [3, 4]);
    check(&mut relay, "10.0.1.1", true);
    assert_eq!(taking(&relay), [1, 2]);
}

#[test]
fn without_failback_clients_stay_where_they_are_until_there_are_too_few_nodes() {
    let mut relay = tiers("failback = \"never\"");
    check(&mut relay, "10.0.1.1", false);
    assert_eq!(taking(&relay), [2], "one is enough");
    check(&mut relay, "10.0.1.2", false);
    assert_eq!(taking(&relay), [3, 4]);
    check(&mut relay, "10.0.1.1", true);
    check(&mut relay, "10.0.1.2", true);
    assert_eq!(taking(&relay), [3, 4]);
    check(&mut relay, "10.0.1.3", false);
    check(&mut relay, "10.0.1.4", false);
    assert_eq!(taking(&relay), [1, 2]);
}

#[test]
fn established_connections_stay_when_another_priority_takes_over() {
    let mut relay = tiers("");
    let before = slots(&relay, "r");
    check(&mut relay, "10.0.1.1", false);
    check(&mut relay, "10.0.1.2", false);
    for (before, after) in before.iter().zip(slots(&relay, "r")) {
        assert!(after.is_split() && after.unrecorded() == before.now);
    }
}

#[test]
fn a_node_that_comes_back_slowly_has_its_whole_share_at_the_end() {
    let mut relay = tiers("slow-start = \"32s\"");
    let share = |relay: &Relay| {
        let owned = relay.redirects()[&0].book.owned();
        let first = owned.into_iter().find(|(backend, _)| {
            *backend != 0 && address_of(relay, *backend).ip() == IpAddr::from([10, 0, 1, 1])
        });
        first.map_or(0, |(_, slots)| slots)
    };
    let whole = share(&relay);
    check(&mut relay, "10.0.1.1", false);
    assert_eq!(share(&relay), 0);
    check(&mut relay, "10.0.1.1", true);
    let mut shares = vec![share(&relay)];
    assert!(
        shares[0] > 0 && shares[0] < whole / 5,
        "{shares:?} of {whole}"
    );
    for epoch in 1..=32 {
        relay.advance(epoch);
        shares.push(share(&relay));
    }
    assert!(shares.is_sorted() && shares[16] < whole, "{shares:?}");
    assert_eq!(shares[32], whole);
    // All connections that were on the other node are still looked for there.
    let second = slots(&relay, "r");
    let split = second.iter().filter(|slot| slot.is_split()).count();
    assert!(split >= usize::try_from(whole).unwrap());
}
