//! What the data path counts of nodes' packets, by node and summed up.

use super::families::{Family, Rows};
use super::text::{Head, Kind, Unit};

/// A counter of traffic: of each redirect, each pool and each node. A node has one however many redirects reach it.
macro_rules! traffic {
    ($families:ident, $name:literal, $help:literal, $unit:expr, $of:expr) => {
        pub(super) const $families: [Family; 3] = {
            const ALL: &str = concat!($help, ", by way of whatever redirect reaches them");
            const fn of(name: &'static str, help: &'static str, rows: Rows) -> Family {
                Family {
                    head: Head {
                        name,
                        help,
                        unit: $unit,
                        kind: Kind::Counter,
                    },
                    rows,
                }
            }
            [
                of(
                    concat!("redirect_", $name),
                    ALL,
                    Rows::TrafficOfRedirect($of),
                ),
                of(concat!("pool_", $name), ALL, Rows::TrafficOfPool($of)),
                of(concat!("node_", $name), ALL, Rows::TrafficOfNode($of)),
            ]
        };
    };
}

traffic!(
    FORWARD_PACKETS,
    "forward_packets",
    "Packets sent to nodes",
    None,
    |t| t.forward_packets
);
traffic!(
    FORWARD_BYTES,
    "forward",
    "Bytes sent to nodes, from the Ethernet header on",
    Some(Unit::Bytes),
    |t| t.forward_bytes
);
traffic!(
    REPLY_PACKETS,
    "reply_packets",
    "Packets that nodes answered",
    None,
    |t| t.reply_packets
);
traffic!(
    REPLY_BYTES,
    "reply",
    "Bytes that nodes answered, from the Ethernet header on",
    Some(Unit::Bytes),
    |t| t.reply_bytes
);
traffic!(
    ATTEMPTS,
    "connection_attempts",
    "SYNs sent to nodes, those sent again included",
    None,
    |t| t.syns
);
traffic!(
    ACCEPTED,
    "connections_accepted",
    "SYN-ACKs of nodes, those sent again included",
    None,
    |t| t.syn_acks
);
traffic!(
    RESETS,
    "resets",
    "Resets by nodes: attempts that they refused and connections that they gave up",
    None,
    |t| t.resets
);
