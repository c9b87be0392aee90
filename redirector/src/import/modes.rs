//! relayd(8)'s ways to choose a host in our words.

use super::written::Mode;

/// The value of `mode`, and what to say about it. `routed`: the redirect has `route to`.
pub(super) fn translate(mode: Mode, sticky: bool, routed: bool) -> (&'static str, Option<String>) {
    if sticky && mode != Mode::SourceHash {
        let text = format!(
            "`mode {mode}` with `sticky-address`: source-hash keeps a client at its node, too"
        );
        return ("source-hash", Some(text));
    }
    match mode {
        Mode::Random => ("random", None),
        Mode::RoundRobin | Mode::LeastStates if routed => (
            "random",
            Some(format!(
                "`mode {mode}` has no counterpart with route-to; connections are given to nodes at random"
            )),
        ),
        Mode::RoundRobin => ("round-robin", None),
        Mode::LeastStates => ("least-states", None),
        Mode::SourceHash => ("source-hash", None),
    }
}
