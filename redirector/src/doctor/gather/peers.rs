//! Other relays: what a running agent says of them, and where it says nothing, what they answer just now.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::config::{Config, Peer as Asked};
use crate::control::Status;
use crate::control::status::{PeerCause, PeerState, PeerStatus};
use crate::doctor::facts::{Heard, Peer, Silent};
use crate::http::token_in;
use crate::peer::{Document, fetch, fingerprint};

/// The peers of a configuration, or those of an agent where there is none. `config` has the nodes that names and sources stand for.
pub(super) async fn look(config: Option<&Config>, status: Option<&Status>) -> Vec<Peer> {
    let told = status.map(|status| status.peers.as_slice());
    let told = told.unwrap_or_default();
    let Some(config) = config else {
        return told.iter().map(by_agent).collect();
    };
    let peers = config.peers.iter().map(|peer| async move {
        let same = |one: &&PeerStatus| one.name == peer.name && one.address == peer.address;
        match told.iter().find(same) {
            Some(told) => by_agent(told),
            None => ask(config, peer).await,
        }
    });
    join_all(peers).await
}

fn by_agent(told: &PeerStatus) -> Peer {
    let heard = Heard {
        age: told.age_ms.map(Duration::from_millis),
        took: Duration::from_millis(told.took_ms),
        unknown_nodes: told.unknown_nodes.clone(),
        differing: told.differing.clone(),
        conflicts: told.conflicts,
        left_out: told.flows_left_out,
    };
    let silent = |state| Silent {
        cause: told.cause.unwrap_or(match state {
            PeerState::Refused => PeerCause::Unusable,
            PeerState::Asked | PeerState::Up | PeerState::Down => PeerCause::Away,
        }),
        why: told.error.clone().unwrap_or_default(),
        heard: told.age_ms.map(Duration::from_millis),
    };
    Peer {
        name: told.name.clone(),
        address: told.address,
        interval: Duration::from_millis(told.interval_ms),
        told: match told.state {
            PeerState::Asked => None,
            PeerState::Up => Some(Ok(heard)),
            state @ (PeerState::Down | PeerState::Refused) => Some(Err(silent(state))),
        },
    }
}

async fn ask(config: &Config, peer: &Asked) -> Peer {
    let silent = |cause, why| Silent {
        cause,
        why,
        heard: None,
    };
    let start = Instant::now();
    let told = match token_in(&peer.token_file) {
        Err(error) => Err(silent(PeerCause::Token, error.to_string())),
        Ok(token) => match fetch(peer.address, &token).await {
            Err(error) => Err(silent(error.cause(), error.to_string())),
            Ok(fetched) => compare(config, &fetched.document, start.elapsed())
                .map_err(|why| silent(PeerCause::Key, why)),
        },
    };
    Peer {
        name: peer.name.clone(),
        address: peer.address,
        interval: peer.interval,
        told: Some(told),
    }
}

/// What is another thing there than in a configuration, as far as that can be told without checks.
fn compare(config: &Config, document: &Document, took: Duration) -> Result<Heard, String> {
    let own = config.hash_key.map(fingerprint);
    if own.as_ref().is_some_and(|own| *own != document.key) {
        return Err(format!(
            "its hash-key is another one (fingerprint {}, here {})",
            document.key,
            own.unwrap_or_default()
        ));
    }
    let redirects = document.tables.iter().flat_map(|table| &table.redirects);
    let theirs: BTreeSet<&str> = redirects.map(|redirect| &*redirect.name).collect();
    let ours: BTreeSet<&str> = config.redirects.iter().map(|one| &*one.name).collect();
    let only_of_one = theirs.symmetric_difference(&ours);
    let mut known = BTreeSet::new();
    let mut all_are_placed = true;
    for redirect in &config.redirects {
        for pool in std::iter::once(redirect.pool).chain(redirect.backup) {
            for node in &config.pools[pool].nodes {
                let addresses = node.addresses.iter();
                known.extend(addresses.map(|address| redirect.socket(address)));
                all_are_placed &= !node.addresses.is_empty();
            }
        }
    }
    // One of them may be a node of which nobody knows here where it is.
    let nodes = document.nodes.iter().filter(|_| all_are_placed).copied();
    Ok(Heard {
        age: None,
        took,
        unknown_nodes: nodes.filter(|node| !known.contains(node)).collect(),
        differing: only_of_one.map(|name| (*name).to_owned()).collect(),
        conflicts: 0,
        left_out: 0,
    })
}
