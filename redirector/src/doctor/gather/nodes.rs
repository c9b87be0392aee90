//! Each node: the way to it, one check, and one ping that it must answer through this relay.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use ipnet::IpNet;

use super::subject::Subject;
use super::{answers, checks};
use crate::doctor::facts::{Answers, Cure, NoWay, Node, Way};
use crate::net::resolve::{Unresolved, resolve, source_for, way_to};
use crate::net::routes::RouteKind;
use crate::net::view::NetView;

/// How long a node may take to answer a ping.
const PING: Duration = Duration::from_millis(700);

pub(super) async fn look(subject: &Subject, view: &NetView, allowed: &BTreeSet<u32>) -> Vec<Node> {
    let ways: Vec<_> = subject
        .nodes
        .iter()
        .map(|node| find_way(view, node.address, allowed))
        .collect();
    let reached = subject.nodes.iter().zip(&ways);
    let reached = reached.filter(|(_, way)| way.is_ok()).map(|(node, _)| node);
    let pings = subject
        .nodes
        .iter()
        .zip(&ways)
        .map(|(node, way)| async move {
            match (way, node.shared) {
                (Ok(way), Some(shared)) if !node.answers_directly => {
                    ping(view, node.address, shared, way).await
                }
                _ => Answers::Unknown("it is not looked at".to_owned()),
            }
        });
    let (checked, answers) = tokio::join!(checks::run(subject, reached), join_all(pings));
    let nodes = subject.nodes.iter().zip(ways).zip(answers);
    nodes
        .map(|((node, way), answers)| Node {
            pool: node.pool.clone(),
            name: node.name.clone(),
            address: node.address,
            answers_directly: node.answers_directly,
            check: checks::of(subject, node, &checked, way.is_ok()),
            answers,
            talk: node.talk,
            way,
        })
        .collect()
}

fn find_way(view: &NetView, address: IpAddr, allowed: &BTreeSet<u32>) -> Result<Way, NoWay> {
    match resolve(view, address, allowed) {
        Ok(_) => Ok(way(view, address, allowed)),
        Err(why) => Err(NoWay {
            cure: cure(&why),
            why: why.to_string(),
        }),
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

/// Pings a node from the shared address; where nothing comes back, from the relay's own, too.
async fn ping(view: &NetView, address: IpAddr, shared: IpAddr, way: &Way) -> Answers {
    if !view.is_own(shared) {
        return Answers::Unknown(format!(
            "it cannot be told while {shared} is not an address of this host"
        ));
    }
    let from = |source: IpAddr| async move {
        let ping = tokio::task::spawn_blocking(move || answers::ping(source, address, PING));
        ping.await.map_err(std::io::Error::other)?
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
