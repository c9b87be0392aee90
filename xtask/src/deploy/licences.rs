//! The licences of all that is built in, and where it comes from.

use std::process::Command;

use anyhow::Result;

use super::{Claim, tools};
use crate::{command, workspace};

/// `.cargo/deny.toml` says what is allowed.
pub(super) fn claims() -> Result<Vec<Claim>> {
    let deny = tools::cargo_deny()?;
    let claim = |what: &str, check: &str| Claim {
        what: what.to_owned(),
        held: command::run(Command::new(&deny).current_dir(workspace::root()).args([
            "--log-level",
            "error",
            "check",
            check,
        ])),
    };
    Ok(vec![
        claim("every crate has a licence that is allowed", "licenses"),
        claim("every crate comes from crates.io", "sources"),
        claim("no crate is asked for in any version", "bans"),
    ])
}
