//! The package for Debian in a clean Debian: `cargo xtask test --deploy`.
#![cfg(feature = "deploy")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::AgentConfig;
use redirector_tests::lab::guest::Guest;
use redirector_tests::lab::loss::{lost, require_whole};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const NODES: usize = 2;
const CONFIG: &str = "etc/redirector/redirector.toml";
/// What a package brings.
const FILES: [&str; 8] = [
    "usr/sbin/redirector",
    "usr/lib/systemd/system/redirector.service",
    "usr/lib/sysusers.d/redirector.conf",
    "usr/lib/tmpfiles.d/redirector.conf",
    "usr/share/man/man1/redirector.1.gz",
    "usr/share/bash-completion/completions/redirector",
    "usr/share/doc/redirector/copyright",
    CONFIG,
];

fn given(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).with_context(|| {
        format!("no {variable}; `cargo xtask test --deploy` makes what it names")
    })?;
    Ok(PathBuf::from(path))
}

struct Installed {
    guest: Guest,
    lab: Lab,
    config: AgentConfig,
}

impl Installed {
    fn new() -> Result<Self> {
        let options = LabOptions {
            nodes: NODES,
            ..LabOptions::default()
        };
        let lab = Lab::new(Topology::TwoArmed, options)?;
        Ok(Self {
            guest: Guest::boot(&lab, &given("REDIRECTOR_DEBIAN")?)?,
            config: AgentConfig::new(Topology::TwoArmed, NODES),
            lab,
        })
    }

    fn show(&self, what: &str) -> Result<Value> {
        let text = self
            .guest
            .output(&format!("redirector show {what} --json"))?;
        serde_json::from_str(&text).with_context(|| format!("`show {what}` is no JSON: {text}"))
    }

    fn wait_for_nodes(&self) -> Result<()> {
        wait_until("all nodes to be up", SOON, || {
            let nodes = self.show("nodes")?;
            let list = nodes.as_array().context("no list")?;
            let up = list.iter().filter(|node| node["health"] == "up").count();
            ensure!(up == NODES, "{up} are up: {nodes}");
            Ok(())
        })
    }

    fn process(&self) -> Result<String> {
        let said = self
            .guest
            .output("systemctl show --property MainPID redirector")?;
        Ok(said.trim().to_owned())
    }

    fn transfers(&self) -> Result<Vec<Transfer>> {
        let clients = self.lab.clients().into_iter();
        clients
            .map(|client| Transfer::start(self.lab.connect(client, SHARED)?))
            .collect()
    }

    /// The relay's interfaces that run a program.
    fn attached(&self) -> Result<usize> {
        let links = self.lab.relay().ip("-o link show")?;
        Ok(links.lines().filter(|line| line.contains("xdp")).count())
    }
}

#[test]
fn a_package_is_installed_serves_is_upgraded_without_loss_and_goes_without_residue() -> Result<()> {
    let installed = Installed::new()?;
    let guest = &installed.guest;
    let before = guest.residue()?;

    guest.install(&given("REDIRECTOR_PACKAGE")?)?;
    let with_it = guest.residue()?;
    for file in FILES {
        ensure!(with_it.contains(file), "{file} is missing");
    }
    // Nobody has configured it yet.
    ensure!(
        guest.output("systemctl is-active redirector").is_err(),
        "it runs"
    );
    guest.output("redirector check-config /etc/redirector/redirector.toml")?;

    guest.rewrite(CONFIG, &installed.config.to_toml())?;
    guest.output("systemctl start redirector")?;
    installed.wait_for_nodes()?;
    ensure!(
        installed.attached()? == 2,
        "both interfaces run the program"
    );
    let transfers = installed.transfers()?;
    let lost_before = lost(&installed.lab)?;
    let process = installed.process()?;

    guest.install(&given("REDIRECTOR_NEXT_PACKAGE")?)?;
    installed.wait_for_nodes()?;
    ensure!(
        installed.process()? != process,
        "the old agent runs: {process}"
    );
    let version = guest.output("dpkg-query --show redirector")?;
    ensure!(version.contains("next"), "{version}");
    let text = fs::read_to_string(guest.path(CONFIG))?;
    ensure!(
        text == installed.config.to_toml(),
        "the configuration is another"
    );
    require_whole(&installed.lab, &transfers, lost_before, "after the upgrade")?;

    guest.output("dpkg --remove redirector")?;
    ensure!(
        installed.attached()? == 0,
        "interfaces still run the program"
    );
    let pins = guest.output("ls /sys/fs/bpf /run | grep redirector || true")?;
    ensure!(pins.is_empty(), "there is still {pins}");
    let left: Vec<_> = guest.residue()?.difference(&before).cloned().collect();
    ensure!(
        left.iter().any(|file| file == CONFIG),
        "a removal keeps what was configured: {left:?}"
    );
    // What says that nothing was lost says so no longer.
    std::thread::sleep(Duration::from_secs(2));
    ensure!(
        require_whole(&installed.lab, &transfers, lost_before, "removed").is_err(),
        "packets pass without a program"
    );

    guest.output("dpkg --purge redirector")?;
    let left: Vec<_> = guest.residue()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "after the purge there is {left:?}");
    Ok(())
}
