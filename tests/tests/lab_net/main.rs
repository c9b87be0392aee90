//! The agent's view of the network against a real kernel: a relay in a network namespace of its own,
//! with a client's side and a node's side.
//!
//! | file | holds |
//! |---|---|
//! | `lab.rs` | the namespaces |
//! | `changes.rs` | what changes in the kernel shows in the view |
//! | `agreement.rs` | the trie and the kernel say the same |
//! | `main.rs` | neighbours that are asked for, and a flood of changes |
//!
//! `cargo test -p redirector-tests --features lab --test lab_net` as root.
#![cfg(feature = "lab")]

mod agreement;
mod changes;
mod lab;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use redirector::{
    family::Family,
    net::{
        monitor::Monitor,
        resolve::resolve,
        solicit::Solicitor,
        view::{NeighbourState, NetView},
    },
};
use redirector_common::abi::NextHop;
use tokio::sync::watch;

use crate::lab::{Lab, NODE_MAC};

const PATIENCE: Duration = Duration::from_secs(10);
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2));
const NODE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2));

/// The same network in one family.
struct Net {
    family: Family,
    own: &'static str,
    node: IpAddr,
    /// How the node is named as a gateway.
    gateway: &'static str,
    /// A network behind it, and a host of it.
    far: (&'static str, &'static str),
    /// Addresses of the node's network that nobody has.
    nobody: [&'static str; 3],
}

const NETS: [Net; 2] = [
    Net {
        family: Family::V4,
        own: "10.0.1.1",
        node: NODE,
        gateway: "10.0.1.2",
        far: ("192.0.2.0/24", "192.0.2.7"),
        nobody: ["10.0.1.77", "10.0.1.98", "10.0.1.99"],
    },
    Net {
        family: Family::V6,
        own: "2001:db8:1::1",
        node: NODE6,
        gateway: "fe80::2",
        far: ("2001:db8:2::/48", "2001:db8:2::7"),
        nobody: ["2001:db8:1::77", "2001:db8:1::98", "2001:db8:1::99"],
    },
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

type Views = watch::Receiver<Arc<NetView>>;

/// Waits for a view that satisfies a condition.
async fn until(
    views: &mut Views,
    what: &str,
    condition: impl Fn(&NetView) -> bool,
) -> Arc<NetView> {
    let newest = views.clone();
    let found = tokio::time::timeout(PATIENCE, views.wait_for(|view| condition(view))).await;
    let Ok(found) = found else {
        let view = newest.borrow();
        let (links, neighbours) = (&view.links, &view.neighbours);
        panic!(
            "no view in which {what}: {links:?} {neighbours:?} {} routes",
            view.routes.len()
        )
    };
    found.expect("the monitor lives").clone()
}

fn index(view: &NetView, name: &str) -> u32 {
    view.link_by_name(name)
        .unwrap_or_else(|| panic!("no {name} in {view:#?}"))
        .0
}

fn allowed(view: &NetView) -> BTreeSet<u32> {
    BTreeSet::from([index(view, "eth0")])
}

fn hop(view: &NetView) -> NextHop {
    NextHop {
        destination: [2, 0, 0, 0, 0, 2],
        source: [2, 0, 0, 0, 0, 1],
        ifindex: index(view, "eth0"),
        mtu: 1500,
        ..NextHop::default()
    }
}

#[test]
fn a_solicited_neighbour_is_resolved_and_kept_until_it_is_let_go() {
    for net in &NETS {
        solicit_and_keep(net);
    }
}

fn solicit_and_keep(net: &Net) {
    let lab = Lab::new();
    let node = net.node;
    let [fixed, stranger, nobody] = net.nobody.map(ip);
    lab.ip(&format!(
        "neigh add {fixed} lladdr {NODE_MAC} dev eth0 nud permanent"
    ));
    lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        until(&mut views, "eth0 is usable", |view| {
            view.link_by_name("eth0")
                .is_some_and(|(_, link)| link.usable())
        })
        .await;
        let eth0 = index(&views.borrow(), "eth0");
        let solicitor = Solicitor::open(monitor.views()).unwrap();

        solicitor.solicit(eth0, node).await.unwrap();
        let view = until(&mut views, "the node is resolved", |view| {
            resolve(view, node, &allowed(view)).is_ok()
        })
        .await;
        assert_eq!(resolve(&view, node, &allowed(&view)), Ok(hop(&view)));
        assert!(!view.neighbours[&(eth0, node)].managed);

        solicitor.keep(eth0, node).await.unwrap();
        until(&mut views, "it is kept", |view| {
            view.neighbours[&(eth0, node)].managed
        })
        .await;
        solicitor.solicit(eth0, node).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(
            views.borrow().neighbours[&(eth0, node)].managed,
            "asking once ends no keeping"
        );
        solicitor.unmanage(eth0, node).await.unwrap();
        until(&mut views, "it is let go", |view| {
            !view.neighbours[&(eth0, node)].managed
        })
        .await;

        solicitor.keep(eth0, nobody).await.unwrap();
        until(&mut views, "nobody answers", |view| {
            view.neighbours
                .get(&(eth0, nobody))
                .is_some_and(|known| known.state == NeighbourState::Failed)
        })
        .await;
        assert!(resolve(&views.borrow(), nobody, &allowed(&views.borrow())).is_err());
        solicitor.unmanage(eth0, nobody).await.unwrap();
        solicitor.unmanage(eth0, stranger).await.unwrap();
        assert!(solicitor.solicit(4711, node).await.is_err());

        solicitor.keep(eth0, fixed).await.unwrap();
        assert!(lab.ip(&format!("neigh show {fixed}")).contains("PERMANENT"));
    });
}

#[test]
fn a_flood_of_changes_that_overruns_the_socket_is_caught_up_with() {
    let lab = Lab::new();
    let line = |n: u32| {
        let [_, high, middle, low] = n.to_be_bytes();
        format!("route add 20.{high}.{middle}.{low}/32 via 10.0.1.2\n")
    };
    let flood = (0..60_000).map(line).collect::<Vec<_>>().concat();
    let routes = lab.inside(async {
        let monitor = Monitor::start().await.unwrap();
        let mut views = monitor.views();
        let count = |view: &NetView| {
            let routes = view.routes.iter();
            routes.filter(|route| route.family() == Family::V4).count()
        };
        let before = count(&views.borrow_and_update());
        // The runtime's only thread waits here, so that nobody reads the notifications.
        lab.batch(&flood);
        lab.batch("route del 20.0.0.1/32\nroute add 20.255.0.1/32 via 10.0.1.2\n");
        let flooded = Instant::now();
        let last = ip("20.255.0.1");
        let complete = |view: &NetView| {
            count(view) == before + 60_000
                && view.routes.lookup(last).is_some()
                && view.routes.lookup(ip("20.0.0.1")).is_none()
        };
        let view = until(&mut views, "all routes are there", complete).await;
        println!("60,000 routes caught up with in {:?}", flooded.elapsed());

        let changed = Instant::now();
        lab.ip("route add 20.255.0.2/32 via 10.0.1.2");
        let next = ip("20.255.0.2");
        until(&mut views, "one more is there", |view| {
            view.routes.lookup(next).is_some()
        })
        .await;
        println!(
            "one more shows {:?} after `ip route add` was started",
            changed.elapsed()
        );
        count(&view)
    });
    assert!(routes >= 60_000);
}
