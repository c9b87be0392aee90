//! What the operator has said about nodes, pools and redirects.
//!
//! | state | new connections | established ones |
//! |---|---|---|
//! | enabled | as health and weights allow | stay |
//! | draining | none | stay until they end |
//! | disabled | none | reset at once, as those of a dead node are; their packets go to the slot's new node, whose reset tells the client |
//!
//! A node is as restricted as the strictest of what was said about itself, its pool, and the redirect that
//! reaches it. What relayctl(8) calls `host disable` keeps established connections, and is draining here.

mod find;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use find::{Kind, UnknownName, find};

use crate::config::Config;

/// What the operator wants, from least to most restricted.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorState {
    /// Clients, as its health allows.
    #[default]
    Enabled,
    /// No new connections; established ones stay.
    Draining,
    /// Nothing; established connections are reset.
    Disabled,
}

impl fmt::Display for OperatorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        })
    }
}

/// What something was said about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Subject {
    /// A node in one pool.
    Node {
        /// The pool's name.
        pool: String,
        /// The node's name.
        node: String,
    },
    /// Every node of a pool, by whichever redirect.
    Pool {
        /// Its name.
        pool: String,
    },
    /// A redirect with all its nodes, as far as clients come by it.
    Redirect {
        /// Its name.
        redirect: String,
    },
}

impl Subject {
    /// Whether it is, or holds, a node that a redirect reaches in a pool.
    pub fn covers(&self, redirect: &str, pool: &str, node: &str) -> bool {
        match self {
            Self::Node { pool: p, node: n } => p == pool && n == node,
            Self::Pool { pool: p } => p == pool,
            Self::Redirect { redirect: r } => r == redirect,
        }
    }

    /// Whether a configuration has it.
    pub fn is_in(&self, config: &Config) -> bool {
        match self {
            Self::Node { pool, node } => config
                .pools
                .iter()
                .any(|p| p.name == *pool && p.nodes.iter().any(|n| n.name == *node)),
            Self::Pool { pool } => config.pools.iter().any(|p| p.name == *pool),
            Self::Redirect { redirect } => config.redirects.iter().any(|r| r.name == *redirect),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { pool, node } => write!(f, "node {pool}/{node}"),
            Self::Pool { pool } => write!(f, "pool {pool}"),
            Self::Redirect { redirect } => write!(f, "redirect {redirect}"),
        }
    }
}

/// Something that is not simply enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// About what.
    #[serde(flatten)]
    pub subject: Subject,
    /// What it is to be.
    pub state: OperatorState,
    /// When it was said, seconds since 1970.
    pub at: u64,
    /// When a draining one becomes disabled, seconds since 1970; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// All that the operator has said and that still holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    said: BTreeMap<Subject, Said>,
}

impl Operator {
    /// Takes what was said; about one subject the last word holds. Gives what it was before.
    pub fn say(&mut self, said: Said) -> OperatorState {
        let before = if said.state == OperatorState::Enabled {
            self.said.remove(&said.subject)
        } else {
            self.said.insert(said.subject.clone(), said)
        };
        before.map_or(OperatorState::Enabled, |said| said.state)
    }

    /// What was said about a subject, unless it is enabled.
    pub fn about(&self, subject: &Subject) -> Option<&Said> {
        self.said.get(subject)
    }

    /// What was said about a subject itself.
    pub fn state(&self, subject: &Subject) -> OperatorState {
        self.about(subject)
            .map_or(OperatorState::Enabled, |said| said.state)
    }

    /// The strictest of what holds for a node as a redirect reaches it.
    pub fn of_node(&self, redirect: &str, pool: &str, node: &str) -> OperatorState {
        let said = self.said.values();
        said.filter(|said| said.subject.covers(redirect, pool, node))
            .map(|said| said.state)
            .max()
            .unwrap_or_default()
    }

    /// What was said about a redirect itself.
    pub fn of_redirect(&self, name: &str) -> OperatorState {
        let said = self.said.values().find(
            |said| matches!(&said.subject, Subject::Redirect { redirect } if redirect == name),
        );
        said.map_or(OperatorState::Enabled, |said| said.state)
    }

    /// What was said about a pool itself.
    pub fn of_pool(&self, name: &str) -> OperatorState {
        let said = self
            .said
            .values()
            .find(|said| matches!(&said.subject, Subject::Pool { pool } if pool == name));
        said.map_or(OperatorState::Enabled, |said| said.state)
    }

    /// Disables what was to be drained until now at the latest, `now` in seconds since 1970. Gives what that is.
    pub fn expire(&mut self, now: u64) -> Vec<Subject> {
        let mut expired = Vec::new();
        for said in self.said.values_mut() {
            let over = said.until.is_some_and(|until| until <= now);
            if over && said.state == OperatorState::Draining {
                said.state = OperatorState::Disabled;
                said.at = now;
                said.until = None;
                expired.push(said.subject.clone());
            }
        }
        expired
    }

    /// What a configuration does not have.
    pub fn strangers_to(&self, config: &Config) -> Vec<Said> {
        let said = self.said.values();
        said.filter(|said| !said.subject.is_in(config))
            .cloned()
            .collect()
    }

    /// Forgets what a configuration does not have.
    pub fn forget_strangers_to(&mut self, config: &Config) {
        self.said.retain(|subject, _| subject.is_in(config));
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = &Said> {
        self.said.values()
    }

    /// Whether everything is enabled.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }
}

impl FromIterator<Said> for Operator {
    fn from_iter<I: IntoIterator<Item = Said>>(all: I) -> Self {
        let mut operator = Self::default();
        for said in all {
            operator.say(said);
        }
        operator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(pool: &str, node: &str) -> Subject {
        Subject::Node {
            pool: pool.to_owned(),
            node: node.to_owned(),
        }
    }

    fn said(subject: Subject, state: OperatorState, until: Option<u64>) -> Said {
        Said {
            subject,
            state,
            at: 100,
            until,
        }
    }

    #[test]
    fn the_strictest_word_about_node_pool_and_redirect_holds() {
        let mut operator = Operator::default();
        operator.say(said(node("p", "a"), OperatorState::Draining, None));
        let pool = Subject::Pool {
            pool: "p".to_owned(),
        };
        operator.say(said(pool.clone(), OperatorState::Disabled, None));
        let redirect = Subject::Redirect {
            redirect: "r".to_owned(),
        };
        operator.say(said(redirect, OperatorState::Draining, None));
        let of = |operator: &Operator, redirect, pool, node| operator.of_node(redirect, pool, node);
        assert_eq!(of(&operator, "x", "p", "a"), OperatorState::Disabled);
        assert_eq!(of(&operator, "r", "q", "a"), OperatorState::Draining);
        assert_eq!(of(&operator, "x", "q", "a"), OperatorState::Enabled);
        let before = operator.say(said(pool, OperatorState::Enabled, None));
        assert_eq!(before, OperatorState::Disabled);
        assert_eq!(of(&operator, "x", "p", "a"), OperatorState::Draining);
        assert_eq!(of(&operator, "x", "p", "b"), OperatorState::Enabled);
    }

    #[test]
    fn what_drains_is_disabled_at_its_deadline_and_not_before() {
        let all = [
            said(node("p", "a"), OperatorState::Draining, Some(200)),
            said(node("p", "b"), OperatorState::Draining, None),
        ];
        let mut operator: Operator = all.into_iter().collect();
        assert_eq!(operator.expire(199), []);
        assert_eq!(operator.expire(200), [node("p", "a")]);
        assert_eq!(operator.expire(10_000), []);
        assert_eq!(operator.state(&node("p", "a")), OperatorState::Disabled);
        assert_eq!(operator.state(&node("p", "b")), OperatorState::Draining);
    }

    #[test]
    fn what_was_said_reads_back_from_its_file_form() {
        let one = said(node("p", "a"), OperatorState::Draining, Some(200));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"node","pool":"p","node":"a","state":"draining","at":100,"until":200}"#
        );
        assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), one);
    }
}
