//! The agent's life: what comes and goes around it, and what it leaves to the next one.
//!
//! | file | holds |
//! |---|---|
//! | `interfaces.rs` | interfaces that go and come back |
//! | `soak.rs` | many reloads and restarts under steady transfers |
//! | `supervisor.rs` | what a service manager is told |
//! | `upgrade.rs` | from one version of the maps' layouts to another, and back |
//! | `upgrade/leftovers.rs` | what unfinished ones leave |
//! | `two_agents.rs` | a second agent for the same relay |
//!
//! `cargo test -p redirector-tests --features lab --test lab_lifecycle` as root.
#![cfg(feature = "lab")]

mod interfaces;
mod soak;
mod supervisor;
mod two_agents;
mod upgrade;

use std::time::Duration;

use anyhow::Result;
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::{Lab, LabOptions, Topology};

/// For anything that the agent does by itself, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(10);

const NODES: usize = 2;

/// A small lab and its agent, with every node up.
fn bring_up(topology: Topology) -> Result<(Lab, Agent, AgentConfig)> {
    let options = LabOptions {
        nodes: NODES,
        on_link_clients: 8,
        far_clients: 2,
        ..LabOptions::default()
    };
    let lab = Lab::new(topology, options)?;
    let config = AgentConfig::new(topology, NODES);
    let agent = Agent::start(&lab, &config.to_toml())?;
    agent.wait_for_all(&config, SOON)?;
    Ok((lab, agent, config))
}
