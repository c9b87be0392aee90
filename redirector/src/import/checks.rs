//! relayd(8)'s checks in our words.

use super::written::Check;

/// The value of `check` in TOML, and what to say about it.
pub(super) fn translate(check: &Check) -> (String, Option<String>) {
    match check {
        Check::Tcp => ("\"tcp\"".to_owned(), None),
        Check::Icmp | Check::Tls | Check::Http { .. } | Check::Send { .. } | Check::Script(_) => (
            "\"tcp\"".to_owned(),
            Some(format!(
                "`{check}` has no counterpart in this version; the nodes' port is connected to instead"
            )),
        ),
    }
}
