//! The redirector's agent, run in the relay and spoken to by its command line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::netns::Netns;
use super::plan::Family;
use super::programs::{object, program};
use super::workspace::Workspace;
use super::{Lab, wait_until};

mod config;
mod doctor;
mod residue;
mod version;

use residue::collect_files;

pub use config::{AgentConfig, node_name, node_name_in};
pub use version::Version;

/// The longest that an agent may take to answer: where the machine is emulated, most of it is the verifier's.
pub const START_LIMIT: Duration = Duration::from_secs(90);

/// The agent of a lab's relay; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    object: Option<PathBuf>,
    namespace: String,
    config: PathBuf,
    socket: PathBuf,
    pins: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
    wrapper: Vec<String>,
    /// More arguments of `redirector run`.
    more: Vec<String>,
    start_limit: Duration,
    child: Option<Child>,
}

impl Agent {
    /// Starts it with this configuration and waits until it answers on its control socket.
    ///
    /// # Errors
    /// When there is no program, or it ends, or does not answer within [`START_LIMIT`]; the error holds its log.
    pub fn start(lab: &Lab, config: &str) -> Result<Self> {
        let mut agent = Self::prepare(lab, config)?;
        agent.start_again()?;
        Ok(agent)
    }

    /// Everything but the start.
    ///
    /// # Errors
    /// When there is no program or the configuration can't be written.
    pub fn prepare(lab: &Lab, config: &str) -> Result<Self> {
        Self::prepare_in(lab.relay(), &lab.workspace, config)
    }

    /// The same in a relay that is no lab's.
    ///
    /// # Errors
    /// Like [`Agent::prepare`].
    pub(crate) fn prepare_in(relay: &Netns, workspace: &Workspace, config: &str) -> Result<Self> {
        let agent = Self {
            program: program()?,
            object: object(),
            namespace: relay.name().to_owned(),
            config: workspace.file("redirector.toml"),
            socket: workspace.file("control.sock"),
            pins: workspace.bpf().join("redirector"),
            log: workspace.file("redirector.log"),
            environment: Vec::new(),
            wrapper: Vec::new(),
            more: Vec::new(),
            start_limit: START_LIMIT,
            child: None,
        };
        agent.write_config(config)?;
        Ok(agent)
    }

    /// The same with copies of program and object that every user can read, wherever the tree was cloned to.
    ///
    /// # Errors
    /// When they can't be copied.
    pub fn readable_by_all(mut self, lab: &Lab) -> Result<Self> {
        let copy = |from: &Path, name: &str| {
            let to = lab.workspace.file(name);
            fs::copy(from, &to)
                .with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
            anyhow::Ok(to)
        };
        self.program = copy(&self.program, "redirector")?;
        if let Some(object) = &self.object {
            self.object = Some(copy(object, "redirector.o")?);
        }
        Ok(self)
    }

    /// The same with its control socket elsewhere.
    #[must_use]
    pub fn with_socket(mut self, socket: PathBuf) -> Self {
        self.socket = socket;
        self
    }

    /// The same with a variable in its environment.
    #[must_use]
    pub fn with_variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// The same with so long to answer after a start, in place of [`START_LIMIT`].
    #[must_use]
    pub fn within(mut self, start_limit: Duration) -> Self {
        self.start_limit = start_limit;
        self
    }

    /// The same started by another command, such as `setpriv`.
    #[must_use]
    pub fn wrapped_in(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The program and arguments of `redirector run`, in the relay.
    pub fn run_command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        command.args(&self.wrapper);
        command.arg(&self.program).args(self.run_arguments());
        command.envs(self.environment.iter().copied());
        command
    }

    /// The arguments of `redirector run`.
    pub fn run_arguments(&self) -> Vec<PathBuf> {
        let mut arguments: Vec<PathBuf> =
            vec!["run".into(), "--config".into(), self.config.clone()];
        arguments.extend([
            "--socket".into(),
            self.socket.clone(),
            "--pin-dir".into(),
            self.pins.clone(),
        ]);
        if let Some(object) = &self.object {
            arguments.extend(["--bpf-object".into(), object.clone()]);
        }
        arguments.extend(self.more.iter().map(PathBuf::from));
        arguments
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where the data path is pinned.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file that a map of the data path is pinned to.
    ///
    /// # Errors
    /// When there is none.
    pub fn pinned(&self, map: &str) -> Result<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.pins, &mut files)?;
        let files = files.into_iter().map(PathBuf::from);
        let mut named = files.filter(|file| file.file_name().is_some_and(|name| name == map));
        named
            .next()
            .with_context(|| format!("no map {map} in {}", self.pins.display()))
    }

    /// Starts it after [`Agent::stop`] or [`Agent::kill`] and waits until it answers.
    ///
    /// # Errors
    /// Like [`Agent::start`].
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the agent is running");
        let log = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("can't write {}", path.display()))
        };
        let child = self
            .run_command()
            .stdin(Stdio::null())
            .stdout(log(&self.log)?)
            .stderr(log(&self.log)?)
            .spawn()
            .with_context(|| format!("can't start {}", self.program.display()))?;
        self.child = Some(child);
        let limit = Instant::now() + self.start_limit;
        loop {
            let child = self.child.as_mut().context("the agent is not running")?;
            if let Some(status) = child.try_wait().context("can't ask for the agent's end")? {
                self.child = None;
                bail!(
                    "the agent ended at once ({status}); its log:\n{}",
                    self.log()
                );
            }
            match self.show("summary") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > limit => {
                    return Err(error.context(format!(
                        "the agent does not answer; its log:\n{}",
                        self.log()
                    )));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Replaces the configuration file; the agent does not look at it before a reload.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_config(&self, config: &str) -> Result<()> {
        fs::write(&self.config, config)
            .with_context(|| format!("can't write {}", self.config.display()))
    }

    /// Replaces the configuration file and tells the agent.
    ///
    /// # Errors
    /// When the agent refuses it.
    pub fn reload(&self, config: &str) -> Result<()> {
        self.write_config(config)?;
        self.cli(&["reload"]).map(drop)
    }

    /// Runs `redirector` with `arguments` and `--socket`; returns what it printed.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed to stderr.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let output = self.cli_output(arguments)?;
        ensure!(
            output.status.success(),
            "`redirector {}` failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `redirector` with `arguments` and `--socket`, whatever its exit code.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn cli_output(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.program)
            .args(arguments)
            .arg("--socket")
            .arg(&self.socket)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("can't start {}", self.program.display()))
    }

    /// What `show WHAT --json` prints.
    ///
    /// # Errors
    /// When it fails or is not JSON.
    pub fn show(&self, what: &str) -> Result<Value> {
        let text = self.cli(&["show", what, "--json"])?;
        serde_json::from_str(&text)
            .with_context(|| format!("`show {what} --json` is not JSON: {text}"))
    }

    /// What `show nodes --json` says about the node of this name.
    ///
    /// # Errors
    /// When the agent does not know it.
    pub fn node(&self, name: &str) -> Result<Value> {
        let nodes = self.show("nodes")?;
        find_named(&nodes, name)
            .cloned()
            .with_context(|| format!("`show nodes` does not know {name}: {nodes}"))
    }

    /// The word for why the last check of the node of this name succeeded or failed, and what it saw; empty
    /// before the first one.
    ///
    /// # Errors
    /// When the agent does not know the node.
    pub fn last_check(&self, name: &str) -> Result<(String, String)> {
        let node = self.node(name)?;
        let text = |key: &str| {
            let check = node.get("last_check");
            let text = check.and_then(|check| check.get(key)?.as_str());
            text.unwrap_or_default().to_owned()
        };
        Ok((text("cause"), text("outcome")))
    }

    /// Waits until the last check of the node of this name has this cause; gives what it saw.
    ///
    /// # Errors
    /// When it has another after `limit`.
    pub fn wait_for_cause(&self, name: &str, cause: &str, limit: Duration) -> Result<String> {
        wait_until(&format!("{name} to be {cause}"), limit, || {
            let (seen, story) = self.last_check(name)?;
            ensure!(seen == cause, "it is {seen}: {story}");
            Ok(story)
        })
    }

    /// Whether the agent takes this node to be up.
    ///
    /// # Errors
    /// When it does not know the node.
    pub fn is_up(&self, node: usize) -> Result<bool> {
        self.is_up_in(node, Family::V4)
    }

    /// Whether the agent takes this node to be up in this family.
    ///
    /// # Errors
    /// When it does not know the node.
    pub fn is_up_in(&self, node: usize, family: Family) -> Result<bool> {
        let entry = self.node(&node_name_in(node, family))?;
        let health = ["health", "state", "status"]
            .iter()
            .find_map(|key| entry.get(key)?.as_str())
            .with_context(|| format!("no health in {entry}"))?;
        Ok(health == "up")
    }

    /// Waits until the agent takes all nodes of its configuration to be up.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_for_all(&self, config: &AgentConfig, limit: Duration) -> Result<()> {
        wait_until("all nodes to be up", limit, || {
            for (node, _) in &config.nodes {
                for family in &config.families {
                    let name = node_name_in(*node, *family);
                    ensure!(self.is_up_in(*node, *family)?, "{name} is not");
                }
            }
            Ok(())
        })
    }

    /// What a counter of the data path stands at.
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.show("counters")?;
        find_named(&counters, name)
            .and_then(|counter| counter.get("packets")?.as_u64())
            .with_context(|| format!("`show counters` does not know {name}: {counters}"))
    }

    /// Waits until the agent takes this node to be up, or not.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_for_health(&self, node: usize, up: bool, limit: Duration) -> Result<()> {
        let what = format!(
            "{} to be {}",
            node_name(node),
            if up { "up" } else { "down" }
        );
        wait_until(&what, limit, || {
            ensure!(self.is_up(node)? == up, "it is not");
            Ok(())
        })
    }

    /// Asks it to end (SIGTERM), which detaches and unpins everything, and waits.
    ///
    /// # Errors
    /// When it is not running or does not end within ten seconds.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_ref().context("the agent is not running")?;
        kill(pid(child), Signal::SIGTERM).context("can't signal the agent")?;
        self.wait_for_end()
    }

    /// Waits for the end that it was asked for.
    ///
    /// # Errors
    /// When it is not running or does not end within ten seconds.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the agent is not running")?;
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            if let Some(status) = child.try_wait().context("can't wait for the agent")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        bail!(
            "the agent does not end within 10 s; its log:\n{}",
            self.log()
        )
    }

    /// Kills it (SIGKILL): it can't clean up.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the agent is not running")?;
        child.kill().context("can't kill the agent")?;
        child.wait().context("can't wait for the agent").map(drop)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// The first object, at any depth, whose `name` is this.
fn find_named<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            if fields.get("name").and_then(Value::as_str) == Some(name) {
                return Some(value);
            }
            fields.values().find_map(|field| find_named(field, name))
        }
        Value::Array(items) => items.iter().find_map(|item| find_named(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
