//! From facts to findings. Nothing here looks at the host.

mod host;
mod interface;
mod name;
mod node;
mod peer;
mod shared;
mod source;
#[cfg(test)]
mod tests;

use super::facts::{Agent, Facts};
use super::finding::Finding;

/// Judges everything, from the ground up: what is found wrong first may be why something later is.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    host::judge(facts, &mut findings);
    for interface in &facts.interfaces {
        interface::judge(facts, interface, &mut findings);
    }
    host::forwarding(facts, &mut findings);
    for address in &facts.shared {
        shared::judge(facts, address, &mut findings);
    }
    for name in &facts.names {
        name::judge(name, &mut findings);
    }
    for source in &facts.sources {
        source::judge(source, &mut findings);
    }
    for peer in &facts.peers {
        peer::judge(peer, &mut findings);
    }
    for node in &facts.nodes {
        node::judge(facts, node, &mut findings);
    }
    findings
}

/// The mode that an agent runs in on an interface.
fn running_mode<'a>(facts: &'a Facts, interface: &str) -> Option<&'a str> {
    match &facts.agent {
        Agent::Running(modes) => modes.get(interface).map(String::as_str),
        Agent::Absent | Agent::Mute(_) => None,
    }
}
