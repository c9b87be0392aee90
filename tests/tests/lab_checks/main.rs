//! Checks against real Dante: what each takes for a fault, what it calls it, and what Dante logs of it.
#![cfg(feature = "lab")]

mod hosts;
mod log_noise;
mod server;
mod services;
mod socks;

use std::time::Duration;

use anyhow::Result;
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::{Lab, LabOptions, Topology};

/// For a few checks, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(8);

fn small() -> LabOptions {
    LabOptions {
        nodes: 2,
        on_link_clients: 8,
        far_clients: 0,
        ..LabOptions::default()
    }
}

/// A configuration whose nodes are checked like this, often, and with time to answer.
fn checked(config: &AgentConfig, checks: &str) -> String {
    let config = AgentConfig {
        interval: "1500ms".to_owned(),
        ..config.clone()
    };
    let text = config.to_toml();
    let text = text.replace("timeout = \"300ms\"", "timeout = \"1s\"");
    text.replace("check = \"tcp\"", checks)
}

/// A lab of two nodes and its agent.
fn bring_up(options: LabOptions, checks: &str) -> Result<(Lab, Agent)> {
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = Agent::start(&lab, &checked(&config, checks))?;
    Ok((lab, agent))
}
