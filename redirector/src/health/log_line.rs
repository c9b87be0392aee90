//! The line that is logged when the health of a node changes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Change, Outcome};
use crate::units::took;

/// A change of a node's health; its `Display` is the line for the log.
#[derive(Clone, Debug)]
pub struct ChangeLine<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Where it was checked.
    pub address: SocketAddr,
    /// The pool's name.
    pub pool: &'a str,
    /// Kind of the last check.
    pub check: &'static str,
    /// What it saw.
    pub outcome: &'a Outcome,
    /// How long it took.
    pub took: Duration,
    /// What it changed.
    pub change: Change,
    /// Share of checks that left the node up, in percent.
    pub availability: f64,
}

impl fmt::Display for ChangeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            address,
            pool,
            check,
            outcome,
            change,
            availability,
            ..
        } = self;
        let took = took(self.took);
        let Change { from, to } = change;
        write!(
            f,
            "node {node} ({address}) of pool {pool}: check {check} ({took}, {outcome}), \
             state {from} -> {to}, availability {availability:.2}%"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;

    #[test]
    fn the_line_says_who_what_and_why() {
        let line = ChangeLine {
            node: "p2",
            address: "10.0.1.3:1080".parse().unwrap(),
            pool: "socksservers",
            check: "tcp",
            outcome: &Outcome::Refused,
            took: Duration::from_millis(3),
            change: Change {
                from: Health::Up,
                to: Health::Down,
            },
            availability: 99.318,
        };
        assert_eq!(
            line.to_string(),
            "node p2 (10.0.1.3:1080) of pool socksservers: check tcp (3ms, tcp connect refused), \
             state up -> down, availability 99.32%"
        );
    }
}
