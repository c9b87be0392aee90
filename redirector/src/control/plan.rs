//! What a change would do, before it is made.

use serde::{Deserialize, Serialize};

use super::protocol::Operation;
use crate::config::Difference;

/// A change that is thought of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proposal", rename_all = "kebab-case")]
pub enum Proposal {
    /// Another configuration.
    Configuration {
        /// How reports call it.
        name: String,
        /// Its text.
        text: String,
    },
    /// Something is enabled, disabled or drained.
    Operation(Operation),
}

/// What it would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What differs in the configuration, or in what the operator has said.
    pub differences: Vec<Difference>,
    /// What becomes of each redirect.
    pub redirects: Vec<RedirectPlan>,
    /// What one may not expect, for people.
    pub notes: Vec<String>,
}

/// What becomes of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectPlan {
    /// Its name.
    pub redirect: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// All slots of its table.
    pub slots: u32,
    /// Slots whose new connections would go elsewhere.
    pub moved: u32,
    /// From where to where.
    pub moves: Vec<Move>,
    /// Recorded live connections that would stay where they are.
    pub connections_stay: u64,
    /// Recorded live connections that would end.
    pub connections_end: u64,
    /// Digest of its table now; none where there is no such redirect yet.
    pub digest: Option<String>,
    /// Digest of its table then; none where there is no such redirect any more.
    pub digest_then: Option<String>,
}

/// Slots that would go from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The node that has them; none where none has.
    pub from: Option<String>,
    /// The node that would have them.
    pub to: Option<String>,
    /// How many.
    pub slots: u32,
}
