//! What `audit` and `show sessions` print.

use std::fmt::Write as _;
use std::time::Duration;

use super::table::{Align, Table};
use crate::control::audit::{Audit, Sessions};
use crate::units::{Counted, rough};

/// Every difference, what was compared, and the digests.
pub fn audit(audit: &Audit) -> String {
    let mut text = String::new();
    let or_nothing = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    for difference in &audit.differences {
        let _ = writeln!(
            text,
            "{}, {}: {} in the kernel, and ought to be {}",
            difference.map,
            difference.entry,
            or_nothing(&difference.kernel),
            or_nothing(&difference.computed)
        );
    }
    let listed = audit.differences.len() as u64;
    if audit.differing > listed {
        let _ = writeln!(text, "and {} more", audit.differing - listed);
    }
    let mut table = Table::new(&[("Map", Align::Left), ("Compared", Align::Right)]);
    for compared in &audit.compared {
        table.row([&compared.map, &compared.entries.to_string()]);
    }
    let _ = write!(text, "{table}");
    let mut table = Table::new(&[
        ("Redirect", Align::Left),
        ("Family", Align::Left),
        ("Digest", Align::Left),
        ("In the kernel", Align::Left),
    ]);
    for digest in &audit.digests {
        let kernel = match &digest.kernel {
            Some(kernel) if *kernel == digest.computed => "the same",
            Some(kernel) => kernel,
            None => "no table",
        };
        table.row([&digest.redirect, &digest.family, &digest.computed, kernel]);
    }
    let _ = write!(text, "\n{table}");
    text
}

/// A line for each recorded connection.
pub fn sessions(sessions: &Sessions) -> String {
    let mut table = Table::new(&[
        ("Type", Align::Left),
        ("Client", Align::Left),
        ("Redirect", Align::Left),
        ("Listen", Align::Left),
        ("Node", Align::Left),
        ("State", Align::Left),
        ("Idle", Align::Right),
    ]);
    for session in &sessions.sessions {
        table.row([
            &session.kind,
            &session.client.to_string(),
            &session.redirect,
            &session.listen,
            &session.node,
            &session.state,
            &rough(Duration::from_secs(session.idle.into())),
        ]);
    }
    let mut text = table.to_string();
    let shown = sessions.sessions.len() as u64;
    if shown < sessions.matching {
        let _ = writeln!(text, "{shown} of {}; --limit shows more", sessions.matching);
    }
    let recorded = usize::try_from(sessions.recorded).unwrap_or(usize::MAX);
    let _ = writeln!(
        text,
        "\n{} recorded; those of settled slots need no record and are not among them",
        Counted(recorded, "session")
    );
    text
}
