//! Who names the nodes of pools.

use std::time::Duration;

use super::table::{Align, Table};
use super::{NONE, rough};
use crate::control::status::{SourceStatus, Status};

/// One line for each pool that has a source; nothing where there is none.
pub(super) fn sources(status: &Status) -> String {
    let mut table = Table::new(&[
        ("Pool", Align::Left),
        ("Source", Align::Left),
        ("Nodes", Align::Right),
        ("Confirmed", Align::Right),
        ("Last error", Align::Left),
    ]);
    for source in &status.sources {
        table.row([
            &source.pool,
            &source.source,
            &source.nodes.to_string(),
            &confirmed(source, status.at),
            &trouble(source, status.at),
        ]);
    }
    if status.sources.is_empty() {
        return String::new();
    }
    table.to_string()
}

/// Why the nodes may be others, and for how long.
fn trouble(source: &SourceStatus, now: u64) -> String {
    match (&source.error, source.since) {
        (None, _) => NONE.to_owned(),
        (Some(error), None) => error.clone(),
        (Some(error), Some(since)) => {
            let age = Duration::from_secs(now.saturating_sub(since));
            format!("{error} (for {})", rough(age))
        }
    }
}

/// A cluster that is watched says something only when something changes.
fn confirmed(source: &SourceStatus, now: u64) -> String {
    match (source.at, &source.error) {
        (None, _) => "never".to_owned(),
        (Some(_), None) if source.kind == "kubernetes" => "watched".to_owned(),
        (Some(at), _) => {
            let age = Duration::from_secs(now.saturating_sub(at));
            format!("{} ago", rough(age))
        }
    }
}
