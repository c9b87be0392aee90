//! The metrics of other relays.

use super::families::Rows;
use super::families::{Family, counter, gauge, number, put, small, truth};
use super::text::{Samples, Unit, Value, label};
use crate::control::status::{PeerState, PeerStatus};
use crate::http::Snapshot;

/// A sample of each peer.
fn of_peers(
    out: &mut Samples<'_>,
    snapshot: &Snapshot,
    read: impl Fn(&PeerStatus) -> Option<Value>,
) {
    for peer in &snapshot.status.peers {
        put(out, &[&[label("peer", &peer.name)]], read(peer));
    }
}

pub(super) const OF_PEERS: &[Family] = &[
    gauge(
        "peer_up",
        "1 if the state of another relay was heard last time",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| truth(peer.state == PeerState::Up))),
    ),
    gauge(
        "peer_age",
        "How long ago the state was asked for that is known of another relay",
        Rows::Own(|out, s, _| {
            of_peers(out, s, |peer| {
                peer.age_ms.map(|age| Value::Real(age as f64 / 1e3))
            });
        }),
    )
    .in_unit(Unit::Seconds),
    gauge(
        "peer_behind",
        "1 if another relay has carried clients last, so that what it knows of older connections counts",
        Rows::Own(|out, s, _| {
            of_peers(out, s, |peer| {
                truth(peer.standing.as_deref() == Some("behind"))
            });
        }),
    ),
    gauge(
        "peer_differing_redirects",
        "Redirects whose new connections another relay sends elsewhere",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| small(peer.differing.len()))),
    ),
    gauge(
        "peer_unknown_nodes",
        "Nodes of another relay that are not known here; their connections are left out",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| small(peer.unknown_nodes.len()))),
    ),
    gauge(
        "peer_conflicts",
        "Slots of which both relays, while both carry clients, know another thing",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| number(peer.conflicts))),
    ),
    counter(
        "peer_exchanges",
        "How often the state of another relay was taken",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| number(peer.exchanges))),
    ),
    counter(
        "peer_flows_taken",
        "Recorded connections that were taken over from another relay",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| number(peer.flows_taken))),
    ),
    counter(
        "peer_slots_taken",
        "Slots of which another relay knew where older connections live",
        Rows::Own(|out, s, _| of_peers(out, s, |peer| number(peer.slots_taken))),
    ),
];
