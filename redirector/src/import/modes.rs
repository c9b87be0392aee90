//! relayd(8)'s ways to choose a host in our words.

use super::written::Mode;

/// The value of `mode`, and what to say about it.
pub(super) fn translate(mode: Mode, sticky: bool) -> (&'static str, Option<String>) {
    let remark = match (mode, sticky) {
        (Mode::SourceHash, _) => None,
        (mode, true) => Some(format!(
            "`mode {mode}` with `sticky-address`: source-hash keeps a client at its node, too"
        )),
        (mode, false) => Some(format!(
            "`mode {mode}` has no counterpart in this version; with source-hash the client's address decides"
        )),
    };
    ("source-hash", remark)
}
