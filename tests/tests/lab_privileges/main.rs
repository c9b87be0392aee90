//! What the running agent may do, whom it runs as, who may speak with it, and what it never tells.
//!
//! | file | holds |
//! |---|---|
//! | `account.rs` | running as another user |
//! | `capabilities.rs` | what each thread has |
//! | `secrets.rs` | passwords, tokens and keys are nowhere to be read |
//! | `socket.rs` | who may use the control socket |
//!
//! `cargo test -p redirector-tests --features lab --test lab_privileges` as root.
#![cfg(feature = "lab")]

mod account;
mod capabilities;
mod secrets;
mod socket;

use std::time::Duration;

use redirector_tests::lab::LabOptions;
use redirector_tests::lab::agent::AgentConfig;

/// For anything that the agent does by itself, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(10);

fn small() -> LabOptions {
    LabOptions {
        nodes: 2,
        on_link_clients: 8,
        far_clients: 0,
        ..LabOptions::default()
    }
}

/// The file of `config` with these sections before its first one, and with these checks.
fn written(config: &AgentConfig, sections: &str, checks: &str) -> String {
    let text = config.to_toml();
    let text = text.replace("timeout = \"300ms\"", "timeout = \"1s\"");
    let text = text.replace("check = \"tcp\"", checks);
    text.replace("[health]", &format!("{sections}\n[health]"))
}
