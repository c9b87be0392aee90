//! What the doctor says of sources.

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::Lab;
use redirector_tests::lab::agent::Agent;
use serde_json::Value;

/// What it finds of sources that is not well, by what a running agent tells.
pub(crate) fn source_findings(lab: &Lab, agent: &Agent) -> Result<Vec<Value>> {
    findings(lab, agent, false)
}

/// The same; `with_config` has it go by the file, so that it asks itself where no agent does.
pub(crate) fn findings(lab: &Lab, agent: &Agent, with_config: bool) -> Result<Vec<Value>> {
    let arguments = agent.run_arguments();
    let (config, others) = (&arguments[1..3], &arguments[3..7]);
    let mut command = lab.relay().command(agent.program());
    command.args(["doctor", "--json"]).args(others);
    if with_config {
        command.args(config);
    }
    let output = command.output().context("can't start the doctor")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).with_context(|| text.into_owned())?;
    let all = report["findings"].as_array().context("no findings")?;
    let of_sources = all.iter().filter(|finding| finding["check"] == "source");
    let found: Vec<Value> = of_sources.cloned().collect();
    ensure!(!found.is_empty(), "nothing of sources: {report:#}");
    Ok(found)
}
