//! From a name on the command line to what it names.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Subject;
use crate::config::{Config, HostName, nearest};

/// What kind of thing a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A node: by its name, `POOL/NAME`, its host's name, or its address.
    Node,
    /// A pool.
    Pool,
    /// A redirect.
    Redirect,
}

impl Kind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pool => "pool",
            Self::Redirect => "redirect",
        }
    }
}

/// Why a name names nothing, or not one thing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownName {
    /// Nothing has this name.
    #[error("there is no {kind} `{name}`; {hint}", kind = kind.word())]
    Nothing {
        /// What was looked for.
        kind: Kind,
        /// The name.
        name: String,
        /// What there is.
        hint: String,
    },
    /// Several nodes have it.
    #[error("`{name}` may be {}; say which, as POOL/NAME", candidates.join(" or "))]
    Several {
        /// The name.
        name: String,
        /// Names that are clear.
        candidates: Vec<String>,
    },
}

/// Names listed in an error at most.
const LISTED: usize = 12;

/// Finds what `name` names in a configuration.
///
/// # Errors
/// [`UnknownName`], with what there is instead.
pub fn find(config: &Config, kind: Kind, name: &str) -> Result<Subject, UnknownName> {
    match kind {
        Kind::Node => find_node(config, name),
        Kind::Pool => {
            let names = config.pools.iter().map(|pool| pool.name.as_str());
            named(kind, name, names).map(|pool| Subject::Pool { pool })
        }
        Kind::Redirect => {
            let names = config.redirects.iter().map(|r| r.name.as_str());
            named(kind, name, names).map(|redirect| Subject::Redirect { redirect })
        }
    }
}

fn named<'a>(
    kind: Kind,
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
) -> Result<String, UnknownName> {
    let all = names.clone();
    names
        .find(|known| *known == name)
        .map(str::to_owned)
        .ok_or_else(|| nothing(kind, name, all))
}

fn find_node(config: &Config, name: &str) -> Result<Subject, UnknownName> {
    let address: Option<IpAddr> = name.parse().ok();
    let mut matching = Vec::new();
    for pool in &config.pools {
        for node in &pool.nodes {
            let full = format!("{}/{}", pool.name, node.name);
            let is_there = address.is_some_and(|address| node.is_at(address));
            let host = node.host.as_ref().map(HostName::as_str);
            if full == name || node.name == name || is_there || host == Some(name) {
                matching.push((pool, node, full));
            }
        }
    }
    // The whole name is never in doubt, whatever other nodes are called.
    if let Some(exact) = matching.iter().position(|(_, _, full)| full == name) {
        matching = vec![matching.swap_remove(exact)];
    }
    match matching.as_slice() {
        [(pool, node, _)] => Ok(Subject::Node {
            pool: pool.name.clone(),
            node: node.name.clone(),
        }),
        [] => {
            let nodes = |pool: &crate::config::Pool| -> Vec<String> {
                let names = pool.nodes.iter();
                names.map(|n| format!("{}/{}", pool.name, n.name)).collect()
            };
            let full: Vec<String> = config.pools.iter().flat_map(nodes).collect();
            let short = config.pools.iter().flat_map(|pool| &pool.nodes);
            let all: Vec<&str> = full
                .iter()
                .map(String::as_str)
                .chain(short.map(|node| node.name.as_str()))
                .collect();
            let hint = nearest(name, all).map_or_else(|| listed(&full), did_you_mean);
            Err(UnknownName::Nothing {
                kind: Kind::Node,
                name: name.to_owned(),
                hint,
            })
        }
        several => Err(UnknownName::Several {
            name: name.to_owned(),
            candidates: several.iter().map(|(_, _, full)| full.clone()).collect(),
        }),
    }
}

fn nothing<'a>(kind: Kind, name: &str, all: impl Iterator<Item = &'a str> + Clone) -> UnknownName {
    let hint = nearest(name, all.clone()).map_or_else(
        || listed(&all.map(str::to_owned).collect::<Vec<_>>()),
        did_you_mean,
    );
    UnknownName::Nothing {
        kind,
        name: name.to_owned(),
        hint,
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => format!("there is {shown}"),
        more => format!("there is {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = r#"
interfaces = ["eth0"]
[pool.main]
nodes = ["10.0.1.2", { address = "10.0.1.3", name = "p2" }]
[pool.spare]
nodes = [{ address = "10.0.1.9", name = "p9" }, { address = "10.0.1.3", name = "p2" }]
[redirect.socks]
listen = ["10.0.0.1:1080"]
forward-to = { pool = "main", port = 1080 }
"#;
        Config::parse("test", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn node(name: &str) -> Result<(String, String), String> {
        match find(&config(), Kind::Node, name) {
            Ok(Subject::Node { pool, node }) => Ok((pool, node)),
            Ok(other) => panic!("{other}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_node_is_found_by_name_whole_name_or_address() {
        for (name, pool, found) in [
            ("p9", "spare", "p9"),
            ("10.0.1.9", "spare", "p9"),
            ("10.0.1.2", "main", "10.0.1.2"),
            ("main/10.0.1.2", "main", "10.0.1.2"),
            ("spare/p2", "spare", "p2"),
        ] {
            assert_eq!(
                node(name),
                Ok((pool.to_owned(), found.to_owned())),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_that_two_nodes_have_is_not_guessed() {
        for name in ["p2", "10.0.1.3"] {
            assert_eq!(
                node(name),
                Err(format!(
                    "`{name}` may be main/p2 or spare/p2; say which, as POOL/NAME"
                ))
            );
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_or_with_all() {
        assert_eq!(
            node("p8"),
            Err("there is no node `p8`; did you mean `p2`?".to_owned())
        );
        assert_eq!(
            node("elsewhere"),
            Err(
                "there is no node `elsewhere`; there is main/10.0.1.2, main/p2, spare/p9, spare/p2"
                    .to_owned()
            )
        );
        let error = |kind, name| find(&config(), kind, name).unwrap_err().to_string();
        assert_eq!(
            error(Kind::Pool, "mian"),
            "there is no pool `mian`; did you mean `main`?"
        );
        assert_eq!(
            error(Kind::Redirect, "web"),
            "there is no redirect `web`; there is socks"
        );
    }
}
