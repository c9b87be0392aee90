//! `redirector doctor` beside an agent.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Agent;

impl Agent {
    /// Runs the doctor in the relay, with the agent's socket and pins; `with_config` has it go by the agent's file as well.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn doctor(&self, with_config: bool) -> Result<Output> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        command.arg(&self.program).args(["doctor", "--json"]);
        command.arg("--socket").arg(&self.socket);
        command.arg("--pin-dir").arg(&self.pins);
        if with_config {
            command.arg("--config").arg(&self.config);
        }
        command.output().context("can't start the doctor")
    }

    /// What it finds by checks whose names begin like this.
    ///
    /// # Errors
    /// Like [`Agent::doctor`], and when it finds nothing by any of them, good or bad.
    pub fn doctor_findings(&self, check: &str, with_config: bool) -> Result<Vec<Value>> {
        let output = self.doctor(with_config)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&text).with_context(|| text.into_owned())?;
        let all = report["findings"].as_array().context("no findings")?;
        let named = all.iter().filter(|finding| {
            let name = finding["check"].as_str();
            name.is_some_and(|name| name.starts_with(check))
        });
        let found: Vec<Value> = named.cloned().collect();
        ensure!(!found.is_empty(), "nothing of {check}: {report:#}");
        Ok(found)
    }
}
