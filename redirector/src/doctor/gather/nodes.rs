//! Each node: the way to it, one check, and one ping that it must answer through this relay.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use ipnet::IpNet;

use super::answers;
use super::subject::{self, Subject};
use crate::doctor::facts::{Answers, Checked, Cure, NoWay, Node, Way};
use crate::health::probe;
use crate::net::resolve::{Unresolved, resolve, source_for, way_to};
use crate::net::routes::RouteKind;
use crate::net::view::NetView;

/// How long a node may take to answer a ping.
const PING: Duration = Duration::from_millis(700);

/// A check's shortest time here: the host may be busier than usual, being looked at.
const SHORTEST_CHECK: Duration = Duration::from_millis(500);

pub(super) async fn look(subject: &Subject, view: &NetView, allowed: &BTreeSet<u32>) -> Vec<Node> {
    join_all(subject.nodes.iter().map(|node| one(node, view, allowed))).await
}

async fn one(node: &subject::Node, view: &NetView, allowed: &BTreeSet<u32>) -> Node {
    let address = node.address.ip();
    let way = match resolve(view, address, allowed) {
        Ok(_) => Ok(way(view, address, allowed)),
        Err(why) => Err(NoWay {
            cure: cure(&why),
            why: why.to_string(),
        }),
    };
    let reached = way.is_ok();
    let check = async {
        if !reached {
            None
        } else if let Some((kind, outcome, up)) = &node.last {
            let [kind, outcome] = [kind, outcome].map(Clone::clone);
            let passed = Some(*up);
            Some(Checked {
                kind,
                outcome,
                passed,
            })
        } else if node.address.port() == 0 {
            None
        } else {
            Some(check(node).await)
        }
    };
    let answers = async {
        match (&way, node.shared) {
            (Ok(way), Some(shared)) if !node.answers_directly => {
                ping(view, address, shared, way).await
            }
            _ => Answers::Unknown("it is not looked at".to_owned()),
        }
    };
    let (check, answers) = tokio::join!(check, answers);
    Node {
        pool: node.pool.clone(),
        name: node.name.clone(),
        address,
        answers_directly: node.answers_directly,
        check,
        answers,
        talk: node.talk,
        way,
    }
}

fn way(view: &NetView, address: IpAddr, allowed: &BTreeSet<u32>) -> Way {
    let Ok(way) = way_to(view, address, allowed) else {
        return Way::default();
    };
    Way {
        interface: view.link_name(way.ifindex),
        neighbour: Some(way.neighbour),
        own: source_for(view, address),
    }
}

/// What mends a missing way.
fn cure(why: &Unresolved) -> Cure {
    match why {
        Unresolved::LinkDown { .. } => Cure::Interface,
        Unresolved::NeighbourUnknown { .. } => Cure::There,
        Unresolved::NotUnicast {
            destination,
            prefix,
            kind,
        } => {
            let kind = match kind {
                RouteKind::Blackhole => "blackhole ",
                RouteKind::Unreachable => "unreachable ",
                RouteKind::Prohibit => "prohibit ",
                RouteKind::Throw => "throw ",
                RouteKind::Unicast
                | RouteKind::Local
                | RouteKind::Broadcast
                | RouteKind::Multicast => {
                    return Cure::Here(format!("ip route get {destination}"));
                }
            };
            Cure::Here(format!("ip route del {kind}{prefix}"))
        }
        Unresolved::NoRoute(destination) | Unresolved::Special { destination, .. } => {
            Cure::Here(format!(
                "ip route add {} via GATEWAY dev INTERFACE",
                IpNet::from(*destination)
            ))
        }
        Unresolved::NotAttached { interface, .. } => Cure::Here(format!(
            "sed -i 's/^interfaces = \\[/&\"{interface}\", /' FILE"
        )),
        Unresolved::LinkLocal(_) | Unresolved::NotEthernet { .. } => {
            Cure::Here("ip address show".to_owned())
        }
    }
}

async fn check(node: &subject::Node) -> Checked {
    let (outcome, _) = probe::tcp(node.address, node.timeout.max(SHORTEST_CHECK)).await;
    Checked {
        kind: "tcp".to_owned(),
        outcome: outcome.to_string(),
        passed: outcome.success(),
    }
}

/// Pings a node from the shared address; where nothing comes back, from the relay's own, too.
async fn ping(view: &NetView, address: IpAddr, shared: IpAddr, way: &Way) -> Answers {
    if !view.is_own(shared) {
        return Answers::Unknown(format!(
            "it cannot be told while {shared} is not an address of this host"
        ));
    }
    let from = |source: IpAddr| async move {
        let ping = tokio::task::spawn_blocking(move || answers::ping(source, address, PING));
        ping.await.map_err(std::io::Error::other).flatten()
    };
    match from(shared).await {
        Err(error) => Answers::Unknown(format!("it cannot be pinged from here: {error}")),
        Ok(Some(ifindex)) => match view.link_name(ifindex) {
            name if name == way.interface => Answers::ByItsInterface,
            other => Answers::By(other),
        },
        Ok(None) => match way.own.filter(|own| *own != shared) {
            None => Answers::Unknown("it does not answer pings".to_owned()),
            Some(own) => match from(own).await {
                Ok(Some(_)) => Answers::Lost { own },
                Ok(None) | Err(_) => Answers::Unknown("it does not answer pings".to_owned()),
            },
        },
    }
}
