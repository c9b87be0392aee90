//! What `show summary` says of other relays.

use std::time::Duration;

use super::NONE;
use super::table::{Align, Table};
use crate::control::Status;
use crate::control::status::{PeerState, PeerStatus};
use crate::units::{Counted, bytes, rough, took};

/// One line for each peer, and what is wrong with one below it.
pub(super) fn peers(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Peer", Align::Left),
        ("Address", Align::Left),
        ("Status", Align::Left),
        ("Heard", Align::Right),
        ("This relay is", Align::Left),
        ("Slots taken", Align::Right),
        ("Flows taken", Align::Right),
        ("Size", Align::Right),
    ]);
    for peer in &status.peers {
        table.row([
            &peer.name,
            &peer.address.to_string(),
            &peer.state.to_string(),
            &peer.age_ms.map_or_else(|| NONE.to_owned(), ago),
            peer.standing.as_deref().unwrap_or(NONE),
            &peer.slots_taken.to_string(),
            &peer.flows_taken.to_string(),
            &bytes(peer.bytes),
        ]);
    }
    let mut text = table.to_string();
    for peer in &status.peers {
        for remark in remarks(peer) {
            text.push_str(&format!("peer {}: {remark}\n", peer.name));
        }
    }
    text
}

fn ago(millis: u64) -> String {
    let age = Duration::from_millis(millis);
    if age < Duration::from_secs(10) {
        format!("{} ago", took(age))
    } else {
        format!("{} ago", rough(age))
    }
}

fn remarks(peer: &PeerStatus) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(error) = peer.error.as_ref().filter(|_| peer.state != PeerState::Up) {
        remarks.push(error.clone());
    }
    if !peer.unknown_nodes.is_empty() {
        let nodes: Vec<String> = peer.unknown_nodes.iter().map(ToString::to_string).collect();
        remarks.push(format!(
            "it has {} that this relay does not know, and their connections are left out: {}",
            Counted(nodes.len(), "node"),
            nodes.join(", ")
        ));
    }
    if !peer.differing.is_empty() {
        remarks.push(format!(
            "it sends new connections elsewhere: {}",
            peer.differing.join(", ")
        ));
    }
    if peer.conflicts > 0 {
        remarks.push(format!(
            "both relays carry clients, and know another thing of the older connections of {} slots",
            peer.conflicts
        ));
    }
    if peer.flows_left_out > 0 {
        remarks.push(format!(
            "there was no room for {} recorded connections; raise flows.max",
            peer.flows_left_out
        ));
    }
    remarks
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::show::summary;
    use crate::show::tests::status;

    use super::*;

    pub(crate) fn peer() -> PeerStatus {
        PeerStatus {
            name: "b".to_owned(),
            address: "10.9.0.2:9180".parse().unwrap(),
            state: PeerState::Up,
            error: None,
            cause: None,
            awaited: false,
            age_ms: Some(412),
            interval_ms: 1000,
            took_ms: 3,
            bytes: 140_000,
            standing: Some("behind".to_owned()),
            exchanges: 9,
            slots_taken: 12,
            flows_taken: 34,
            flows_left_out: 0,
            unknown_nodes: Vec::new(),
            conflicts: 0,
            differing: Vec::new(),
        }
    }

    #[test]
    fn a_peer_that_is_heard_takes_one_line() {
        let mut status = status();
        assert!(!summary(&status).contains("Peer"));
        status.peers = vec![peer()];
        let text = summary(&status);
        let line = text.lines().last().unwrap();
        for word in [
            "b ",
            "10.9.0.2:9180",
            "up",
            "412ms ago",
            "behind",
            "12",
            "34",
            "136.7 KiB",
        ] {
            assert!(line.contains(word), "{word} in {line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_peer_is_said_below() {
        let mut status = status();
        status.peers = vec![PeerStatus {
            state: PeerState::Refused,
            error: Some("its hash-key is another one".to_owned()),
            unknown_nodes: vec!["10.0.1.9:1080".parse().unwrap()],
            differing: vec!["socksbalance".to_owned()],
            conflicts: 5,
            flows_left_out: 6,
            ..peer()
        }];
        let text = summary(&status);
        for remark in [
            "peer b: its hash-key is another one",
            "1 node that this relay does not know, and their connections are left out: 10.0.1.9:1080",
            "elsewhere: socksbalance",
            "older connections of 5 slots",
            "no room for 6 recorded",
        ] {
            assert!(text.contains(remark), "{remark} in {text}");
        }
    }

    #[test]
    fn a_relay_that_knows_nothing_yet_is_not_ready_before_its_peer_was_heard() {
        let mut status = status();
        let before = status.not_serving();
        status.peers = vec![peer()];
        assert_eq!(status.not_serving(), before);
        status.peers[0].awaited = true;
        assert!(
            status
                .not_serving()
                .iter()
                .any(|reason| reason.contains("peer b was not heard yet"))
        );
    }
}
