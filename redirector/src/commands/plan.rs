//! `plan`: what a change would do.

use std::path::Path;

use anyhow::Context as _;
use redirector::config::Config;
use redirector::control::plan::Proposal;
use redirector::control::{Operation, Request, Response};
use redirector::engine::OperatorState;
use redirector::health::Material;
use redirector::show;

use super::{call, print, unexpected};
use crate::cli::{Plan, Planned};

pub(crate) fn plan(options: &Plan) -> anyhow::Result<()> {
    let (proposal, json, socket) = match (&options.action, &options.file) {
        (Some(action), _) => {
            let (state, named) = match action {
                Planned::Enable(named) => (OperatorState::Enabled, named),
                Planned::Disable(named) => (OperatorState::Disabled, named),
                Planned::Drain(named) => (OperatorState::Draining, named),
            };
            let operation = Operation {
                kind: named.kind.into(),
                names: named.named.names.clone(),
                state,
                deadline: None,
            };
            let named = &named.named;
            (Proposal::Operation(operation), named.json, &named.socket)
        }
        (None, Some(file)) => (configuration(file)?, options.json, &options.socket),
        (None, None) => anyhow::bail!("name a configuration file, or what is to be drained"),
    };
    let response = call(&socket.path, &Request::Plan(proposal))?;
    let Response::Plan(plan) = response else {
        return unexpected(&response);
    };
    print(&if json {
        format!("{}\n", serde_json::to_string_pretty(&plan)?)
    } else {
        show::plan(&plan)
    })
}

/// The agent is sent the text, and everything that files are read for is read here: it must not open for its operator
/// what he may not open himself, nor wait for a file that never ends. Mistakes are told here.
fn configuration(file: &Path) -> anyhow::Result<Proposal> {
    let config = Config::load(file)?;
    Material::read(&config)?;
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the configuration file {}", file.display()))?;
    Ok(Proposal::Configuration {
        name: file.display().to_string(),
        text,
    })
}
