//! The container image, with exactly the capabilities of the manifests: `cargo xtask test --deploy=image`.
#![cfg(feature = "deploy")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use redirector_tests::lab::agent::AgentConfig;
use redirector_tests::lab::loss::{lost, require_whole};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};
use serde_json::Value;

/// How long an agent may take to serve, or to give up.
const LIMIT: Duration = Duration::from_secs(120);
const NODES: usize = 2;

fn given(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| {
        format!("no {variable}; `cargo xtask test --deploy=image` says what it is")
    })
}

/// What the manifests add.
fn capabilities() -> Result<Vec<String>> {
    let text = given("REDIRECTOR_CAPABILITIES")?;
    Ok(text.split(',').map(str::to_owned).collect())
}

fn lab() -> Result<(Lab, AgentConfig)> {
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    Ok((lab, AgentConfig::new(Topology::TwoArmed, NODES)))
}

fn podman(arguments: &[&str]) -> Result<Output> {
    Command::new("podman")
        .args(arguments)
        .output()
        .context("can't start podman")
}

/// A container of the image in a lab's relay; removed when dropped.
struct Container(String);

impl Container {
    fn start(lab: &Lab, config: &AgentConfig, capabilities: &[String]) -> Result<Self> {
        let file = lab.workspace_file("redirector.toml");
        fs::write(&file, config.to_toml())
            .with_context(|| format!("can't write {}", file.display()))?;
        let [bpf, run] = ["bpf", "run"].map(|name| lab.workspace_file(name));
        fs::create_dir_all(&run).with_context(|| format!("can't make {}", run.display()))?;
        let mount = |from: PathBuf, to: &str| format!("--volume={}:{to}", from.display());
        let mut podman = Command::new("podman");
        podman
            .args([
                "run",
                "--detach",
                "--runtime=runc",
                "--cgroup-manager=cgroupfs",
            ])
            .args(["--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096"])
            .args([
                "--cap-drop=ALL",
                "--security-opt=no-new-privileges",
                "--read-only",
            ])
            .arg(format!("--network=ns:/run/netns/{}", lab.relay().name()))
            .args(capabilities.iter().map(|name| format!("--cap-add={name}")))
            .arg(format!(
                "--security-opt=seccomp={}",
                given("REDIRECTOR_SECCOMP")?
            ))
            .arg(mount(file, "/etc/redirector/redirector.toml:ro"))
            .arg(mount(bpf, "/sys/fs/bpf"))
            .arg(mount(run, "/run/redirector"))
            .arg(given("REDIRECTOR_IMAGE")?);
        let output = podman.output().context("can't start podman")?;
        ensure!(
            output.status.success(),
            "podman: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self(name))
    }

    fn runs(&self) -> Result<bool> {
        let said = podman(&["inspect", "--format", "{{.State.Running}}", &self.0])?;
        Ok(String::from_utf8_lossy(&said.stdout).trim() == "true")
    }

    fn log(&self) -> String {
        podman(&["logs", &self.0]).map_or_else(
            |error| error.to_string(),
            |said| String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned(),
        )
    }

    fn wait_for_nodes(&self) -> Result<()> {
        let up = wait_until("all nodes to be up", LIMIT, || {
            let nodes = podman(&[
                "exec",
                &self.0,
                "/usr/sbin/redirector",
                "show",
                "nodes",
                "--json",
            ])?;
            let nodes: Value = serde_json::from_slice(&nodes.stdout).context("no JSON")?;
            let list = nodes.as_array().context("no list")?;
            let up = list.iter().filter(|node| node["health"] == "up").count();
            ensure!(up == NODES, "{up} are up: {nodes}");
            Ok(())
        });
        up.with_context(|| self.log())
    }

    /// As the cluster ends one to start the next.
    fn stop(&self) -> Result<()> {
        let said = podman(&["stop", "--time", "20", &self.0])?;
        ensure!(said.status.success(), "{}", self.log());
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = podman(&["rm", "--force", "--time", "0", &self.0]);
    }
}

#[test]
fn a_container_with_these_capabilities_serves_natively_and_its_successor_goes_on_without_loss()
-> Result<()> {
    let (lab, config) = lab()?;
    let container = Container::start(&lab, &config, &capabilities()?)?;
    container.wait_for_nodes()?;
    for interface in &config.interfaces {
        let link = lab.relay().ip(&format!("-o link show {interface}"))?;
        ensure!(
            link.contains("xdp") && !link.contains("xdpgeneric"),
            "{interface} is not attached in native mode: {link}"
        );
    }
    let clients = lab.clients().into_iter();
    let transfers = clients
        .map(|client| Transfer::start(lab.connect(client, SHARED)?))
        .collect::<Result<Vec<_>>>()?;
    let before = lost(&lab)?;
    container.stop()?;
    require_whole(&lab, &transfers, before, "without a container")?;
    let successor = Container::start(&lab, &config, &capabilities()?)?;
    successor.wait_for_nodes()?;
    require_whole(&lab, &transfers, before, "with the successor")
}

#[test]
fn a_container_without_any_one_of_them_says_which_it_lacks() -> Result<()> {
    let (lab, config) = lab()?;
    let needed = capabilities()?;
    for missing in &needed {
        let others: Vec<_> = needed
            .iter()
            .filter(|one| *one != missing)
            .cloned()
            .collect();
        let container = Container::start(&lab, &config, &others)?;
        wait_until("the container to give up", LIMIT, || {
            if container.runs()? {
                bail!("it goes on without {missing}: {}", container.log());
            }
            Ok(())
        })?;
        let log = container.log();
        let lacks = format!("it lacks CAP_{missing};");
        ensure!(log.contains(&lacks), "it says: {log}");
    }
    Ok(())
}
