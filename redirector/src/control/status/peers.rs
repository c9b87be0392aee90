//! What an agent knows of other relays.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Another relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatus {
    /// Its name here.
    pub name: String,
    /// Where it is asked.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// How that goes.
    pub state: PeerState,
    /// Why nothing was heard, if so.
    pub error: Option<String>,
    /// What has to be mended then.
    pub cause: Option<PeerCause>,
    /// Whether this relay has nothing to go on from before it has heard of it, or that it is down.
    pub awaited: bool,
    /// Milliseconds since what is known of it was asked for; none if nothing is.
    pub age_ms: Option<u64>,
    /// Time between two exchanges, milliseconds, as configured.
    #[serde(default)]
    pub interval_ms: u64,
    /// How long the last answer took, milliseconds.
    pub took_ms: u64,
    /// Size of the last answer.
    pub bytes: u64,
    /// `behind`: it has carried clients last, and what it knows of older connections counts; `ahead`: this relay has;
    /// `level`: both do, or neither ever has.
    pub standing: Option<String>,
    /// How often its state was taken.
    pub exchanges: u64,
    /// Slots whose older connections it knew to be elsewhere, or to be on several nodes.
    pub slots_taken: u64,
    /// Recorded connections that were taken over.
    pub flows_taken: u64,
    /// Recorded connections of the last answer that there was no room for.
    pub flows_left_out: u64,
    /// Nodes that it has and this relay does not know; their connections are left out.
    #[schema(value_type = Vec<String>)]
    pub unknown_nodes: Vec<SocketAddr>,
    /// Slots of which each relay knows another thing.
    pub conflicts: u64,
    /// Redirects whose new connections it sends elsewhere.
    pub differing: Vec<String>,
}

/// What was heard of a peer last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Nothing yet.
    #[default]
    Asked,
    /// Its state.
    Up,
    /// Nothing: it is away or does not answer.
    Down,
    /// Something that can't be used.
    Refused,
}

/// Why nothing is heard of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerCause {
    /// Nobody is there, or he does not speak.
    Away,
    /// It does not answer in time.
    Late,
    /// It has no use for the token.
    Token,
    /// Its `hash-key` is another one.
    Key,
    /// What answers is no relay of this version.
    Unusable,
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Asked => "asked",
            Self::Up => "up",
            Self::Down => "down",
            Self::Refused => "refused",
        })
    }
}
