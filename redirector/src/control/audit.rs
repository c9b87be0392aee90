//! What an audit of the kernel's maps finds.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The kernel's maps against what ought to be in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Entries that were compared, by map.
    pub compared: Vec<Compared>,
    /// The first entries that differ.
    pub differences: Vec<Difference>,
    /// How many differ.
    pub differing: u64,
    /// Digest of each table, computed and in the kernel.
    pub digests: Vec<TableDigest>,
}

/// Differences that are listed at most.
const LISTED: usize = 1000;

impl Audit {
    /// Notes an entry that is not as it should be.
    pub fn differs(&mut self, difference: Difference) {
        self.differing += 1;
        if self.differences.len() < LISTED {
            self.differences.push(difference);
        }
    }
}

/// How many entries of a map were compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The map.
    pub map: String,
    /// Its entries, those that should not be there included.
    pub entries: u64,
}

/// An entry that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The map.
    pub map: String,
    /// The entry.
    pub entry: String,
    /// What ought to be there; none where nothing should.
    pub computed: Option<String>,
    /// What is there; none where nothing is.
    pub kernel: Option<String>,
}

/// By what two relays compare their tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// The redirect.
    pub redirect: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Of the table as computed.
    pub computed: String,
    /// Of the kernel's; none where it has no table.
    pub kernel: Option<String>,
}

/// Which recorded connections are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFilter {
    /// Most that are given.
    pub limit: usize,
    /// Those on this node, by its name, POOL/NAME or address.
    pub node: Option<String>,
    /// Those of this client.
    pub client: Option<IpAddr>,
}

/// Recorded connections, those that spoke last first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// As many as were asked for.
    pub sessions: Vec<Session>,
    /// How many match.
    pub matching: u64,
    /// How many there are.
    pub recorded: u64,
}

/// A recorded connection or a UDP association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `tcp`, `udp`, or `associate` for a UDP association, whose control connection is given.
    pub kind: String,
    /// The client's socket.
    pub client: std::net::SocketAddr,
    /// The redirect.
    pub redirect: String,
    /// Where the client connected to.
    pub listen: String,
    /// Name of the node.
    pub node: String,
    /// `established`, `closing`, `closed` or `reset`; for an association the port of the node that it has.
    pub state: String,
    /// Seconds since a packet of it was seen; for an association since it was opened.
    pub idle: u32,
}
