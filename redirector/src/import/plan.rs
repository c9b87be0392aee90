//! What is to be printed: the same in our words.

use std::net::IpAddr;
use std::time::Duration;

use super::sources::{At, Place};

/// Everything.
pub(super) struct Plan {
    /// The interfaces that the file names; relayd(8) has no list of them.
    pub(super) interfaces: Vec<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) hash_key: Option<String>,
    pub(super) session_timeout: Option<Duration>,
    pub(super) pools: Vec<Pool>,
    pub(super) redirects: Vec<Redirect>,
    /// About the whole file.
    pub(super) remarks: Vec<Remark>,
}

/// A comment.
#[derive(Clone)]
pub(super) struct Remark {
    pub(super) at: Place,
    pub(super) text: String,
}

pub(super) struct Pool {
    pub(super) name: String,
    pub(super) at: Place,
    pub(super) nodes: Vec<Node>,
    /// The value of `check`, in TOML.
    pub(super) check: String,
    /// Where it is not the relay's.
    pub(super) interval: Option<Duration>,
    /// Where it is not the relay's.
    pub(super) timeout: Option<Duration>,
    pub(super) fall: u32,
    pub(super) remarks: Vec<Remark>,
}

pub(super) struct Node {
    pub(super) address: IpAddr,
    /// Where the file has a name in place of the address.
    pub(super) name: Option<String>,
    /// Where it is not the pool's.
    pub(super) fall: Option<u32>,
    /// Of its checks' packets.
    pub(super) ttl: Option<u32>,
    /// relayd(8)'s number of the host whose state it has.
    pub(super) parent: Option<At<u32>>,
    /// The same as `POOL/NODE`.
    pub(super) parent_name: Option<String>,
}

impl Node {
    /// What the node is called.
    pub(super) fn name(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.address.to_string())
    }
}

pub(super) struct Redirect {
    pub(super) name: String,
    pub(super) at: Place,
    pub(super) listen: Vec<String>,
    pub(super) protocol: &'static str,
    /// `route-to` in place of `forward-to`.
    pub(super) routes: bool,
    pub(super) pool: String,
    pub(super) port: Option<u16>,
    pub(super) mode: &'static str,
    pub(super) backup: Option<String>,
    pub(super) remarks: Vec<Remark>,
    /// Printed as a comment: it must not be served, and a remark says why.
    pub(super) off: bool,
}
