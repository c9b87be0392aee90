//! What happens in a running agent, as `monitor` tells it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::OperatorState;
use crate::config::Difference;
use crate::engine::Subject;
use crate::health::Health;
use crate::units::{Counted, took, utc};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, milliseconds since 1970.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happening {
    /// The agent is at work.
    Started {
        /// Its version.
        version: String,
        /// Its process.
        pid: u32,
    },
    /// The agent ends.
    Stopping {
        /// Whether it takes the data path off the interfaces.
        detach: bool,
    },
    /// Checks have changed what is believed about a node.
    Health {
        /// Its pool.
        pool: String,
        /// Its name.
        node: String,
        /// Where it was checked.
        address: SocketAddr,
        /// What was believed before.
        from: Health,
        /// What is believed now.
        to: Health,
        /// Kind of the last check.
        check: String,
        /// What it saw, in one word for machines.
        cause: String,
        /// What it saw, for people.
        outcome: String,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// Something was enabled, disabled or drained.
    Operator {
        /// What.
        subject: Subject,
        /// What it was before.
        from: OperatorState,
        /// What it is now.
        to: OperatorState,
        /// Why: `operator`, `deadline`, or `gone` where the configuration no longer has it.
        cause: String,
    },
    /// Another configuration is in force.
    Reloaded {
        /// Counts the configurations.
        generation: u64,
        /// What differs from the one before.
        #[serde(default)]
        differences: Vec<Difference>,
    },
    /// A configuration was refused; nothing has changed.
    Refused {
        /// Why.
        reason: String,
    },
    /// The data path is attached to an interface.
    Attached {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: String,
    },
    /// The data path was taken off an interface.
    Detached {
        /// The interface.
        interface: String,
    },
    /// Packets reach a node by another way than before.
    NextHop {
        /// The node's name.
        node: String,
        /// Its socket; port 0 where clients' ports are kept.
        address: SocketAddr,
        /// The interface.
        interface: String,
        /// Link-layer address of the neighbour.
        mac: String,
    },
    /// A node that clients speak with does not answer them any more.
    Silent {
        /// The node's name.
        node: String,
        /// Its socket.
        address: SocketAddr,
    },
    /// A node is given up: its connections are reset.
    Dead {
        /// The node's name.
        node: String,
        /// Its socket.
        address: SocketAddr,
    },
    /// A node that was given up is not any more.
    Alive {
        /// The node's name.
        node: String,
        /// Its socket.
        address: SocketAddr,
    },
    /// A redirect has another table.
    Table {
        /// The redirect.
        redirect: String,
        /// `IPv4` or `IPv6`.
        family: String,
        /// Counts its tables.
        generation: u32,
        /// Slots whose connections may live on several nodes.
        split_slots: u32,
        /// Digest of where it sends new connections.
        digest: String,
    },
    /// Connections could not be recorded.
    FlowTableFull {
        /// Packets of such connections since this was last told.
        packets: u64,
    },
    /// A node's name stands for other addresses than before, or can be looked up again.
    Resolved {
        /// The name.
        host: String,
        /// What it stood for before.
        before: Vec<IpAddr>,
        /// What it stands for.
        addresses: Vec<IpAddr>,
    },
    /// A node's name cannot be looked up any more.
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        reason: String,
        /// What it is taken to stand for still.
        addresses: Vec<IpAddr>,
    },
    /// An address of a node's name is another's now, by a later answer.
    Ousted {
        /// The name that has lost it.
        host: String,
        /// The name whose answer has it.
        by: String,
        /// What the first one is taken to stand for still.
        addresses: Vec<IpAddr>,
    },
    /// A pool's source names other nodes than before, tells something else of them, or can be gone by again.
    Discovered {
        /// The pool.
        pool: String,
        /// Names of nodes that are new.
        added: Vec<String>,
        /// Names of nodes that are not named any more.
        removed: Vec<String>,
        /// Nodes of which something else is said, with their readiness.
        changed: Vec<String>,
        /// How many nodes the pool has now.
        nodes: usize,
    },
    /// A pool's source cannot be gone by any more.
    Undiscovered {
        /// The pool.
        pool: String,
        /// Why.
        reason: String,
        /// How many nodes the pool has still.
        nodes: usize,
    },
    /// The agent's log tells more, or less.
    Log {
        /// `brief` or `verbose`.
        level: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", utc(self.at), self.what)
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { version, pid } => write!(f, "agent {version} (pid {pid}) is at work"),
            Self::Stopping { detach: true } => write!(f, "agent ends and detaches"),
            Self::Stopping { detach: false } => {
                write!(f, "agent ends; the data path goes on forwarding")
            }
            Self::Health {
                pool,
                node,
                address,
                from,
                to,
                check,
                outcome,
                took_us,
                ..
            } => {
                let took = took(Duration::from_micros(*took_us));
                write!(
                    f,
                    "node {pool}/{node} ({address}): {from} -> {to}, check {check} ({took}, {outcome})"
                )
            }
            Self::Operator {
                subject,
                from,
                to,
                cause,
            } => write!(f, "{subject}: {from} -> {to} ({cause})"),
            Self::Reloaded {
                generation,
                differences,
            } => {
                write!(f, "configuration {generation} is in force")?;
                if differences.is_empty() {
                    return f.write_str(", which says the same");
                }
                for (number, difference) in differences.iter().enumerate() {
                    let before = if number == 0 { ": " } else { "; " };
                    write!(f, "{before}{difference}")?;
                }
                Ok(())
            }
            Self::Refused { reason } => {
                let first = reason.lines().next().unwrap_or_default();
                write!(f, "configuration refused, nothing has changed: {first}")
            }
            Self::Attached { interface, mode } => {
                write!(f, "interface {interface}: attached in {mode} mode")
            }
            Self::Detached { interface } => write!(f, "interface {interface}: detached"),
            Self::NextHop {
                node,
                address,
                interface,
                mac,
            } => write!(f, "node {node} ({address}): next hop {mac} on {interface}"),
            Self::Silent { node, address } => {
                write!(f, "node {node} ({address}) does not answer clients")
            }
            Self::Dead { node, address } => {
                write!(
                    f,
                    "node {node} ({address}) is given up: its connections are reset"
                )
            }
            Self::Alive { node, address } => {
                write!(f, "node {node} ({address}) is not given up any more")
            }
            Self::Table {
                redirect,
                family,
                generation,
                split_slots,
                digest,
            } => write!(
                f,
                "redirect {redirect} ({family}): table {generation}, {split_slots} slots split, digest \
                 {digest}"
            ),
            Self::FlowTableFull { packets } => write!(
                f,
                "the flow table is full: {} of connections that are not recorded",
                Counted(usize::try_from(*packets).unwrap_or(usize::MAX), "packet")
            ),
            Self::Resolved {
                host,
                before,
                addresses,
            } if before == addresses => {
                write!(f, "name {host}: {} again", Listed(addresses))
            }
            Self::Resolved {
                host,
                before,
                addresses,
            } => write!(
                f,
                "name {host}: {} -> {}",
                Listed(before),
                Listed(addresses)
            ),
            Self::Unresolved {
                host,
                reason,
                addresses,
            } => write!(
                f,
                "name {host}: cannot be looked up, {} as before ({reason})",
                Listed(addresses)
            ),
            Self::Ousted {
                host,
                by,
                addresses,
            } => write!(
                f,
                "name {host}: its address is {by}'s now; {}",
                Listed(addresses)
            ),
            Self::Discovered {
                pool,
                added,
                removed,
                changed,
                nodes,
            } => {
                write!(f, "pool {pool}: {} by its source", Counted(*nodes, "node"))?;
                for (word, names) in [("added", added), ("removed", removed), ("changed", changed)]
                {
                    if !names.is_empty() {
                        write!(f, "; {word} {}", names.join(", "))?;
                    }
                }
                Ok(())
            }
            Self::Undiscovered {
                pool,
                reason,
                nodes,
            } => write!(
                f,
                "pool {pool}: its source cannot be gone by, {} as before ({reason})",
                Counted(*nodes, "node")
            ),
            Self::Log { level } => write!(f, "the log is {level}"),
        }
    }
}

/// Addresses as a list for people.
struct Listed<'a>(&'a [IpAddr]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unresolved");
        }
        for (number, address) in self.0.iter().enumerate() {
            let before = if number == 0 { "" } else { " and " };
            write!(f, "{before}{address}")?;
        }
        Ok(())
    }
}
