//! What an operator says while traffic runs.
#![cfg(feature = "lab")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::following::Following;
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, require_unbroken, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// A lab of three nodes, and which of them serves each client.
struct Running {
    lab: Lab,
    agent: Agent,
    config: AgentConfig,
    homes: BTreeMap<Ipv4Addr, usize>,
}

impl Running {
    fn new() -> Result<Self> {
        let lab = Lab::new(
            Topology::TwoArmed,
            LabOptions {
                nodes: 3,
                ..LabOptions::default()
            },
        )?;
        let config = AgentConfig::new(Topology::TwoArmed, 3);
        let agent = Agent::start(&lab, &config.to_toml())?;
        agent.wait_for_all(&config, SOON)?;
        let mut homes = BTreeMap::new();
        for client in lab.clients().into_iter().take(24) {
            homes.insert(client, lab.connect(client, SHARED)?.node);
        }
        Ok(Self {
            lab,
            agent,
            config,
            homes,
        })
    }

    /// A node that serves somebody.
    fn busy_node(&self) -> Result<usize> {
        self.homes.values().next().copied().context("no client")
    }

    fn transfers(&self) -> Result<Vec<Transfer>> {
        let clients = self.homes.keys();
        clients
            .map(|client| Transfer::start(self.lab.connect(*client, SHARED)?))
            .collect()
    }

    /// Where each client's new connections go.
    fn served_by(&self) -> Result<BTreeMap<Ipv4Addr, usize>> {
        let clients = self.homes.keys();
        clients
            .map(|client| Ok((*client, self.lab.connect(*client, SHARED)?.node)))
            .collect()
    }

    /// How many live connections the agent sees on a node.
    fn live(&self, node: usize) -> Result<u64> {
        let nodes = self.agent.show("nodes")?;
        let name = node_name(node);
        let nodes = nodes.as_array().context("no list")?;
        nodes
            .iter()
            .find(|entry| entry["name"] == name.as_str())
            .and_then(|entry| entry["live"].as_u64())
            .with_context(|| format!("no live count of {name}"))
    }

    fn operator_of(&self, node: usize) -> Result<String> {
        let nodes = self.agent.show("nodes")?;
        let name = node_name(node);
        let nodes = nodes.as_array().context("no list")?;
        let entry = nodes.iter().find(|entry| entry["name"] == name.as_str());
        let state = entry.and_then(|entry| entry["operator"].as_str());
        Ok(state.context("no state")?.to_owned())
    }

    /// Clients of a drained or disabled node are served by the others, and nobody else has moved.
    fn require_avoided(&self, node: usize) -> Result<()> {
        for (client, served) in self.served_by()? {
            let home = self.homes[&client];
            ensure!(served != node, "{client} got node {node}");
            ensure!(home == node || served == home, "{client} is a bystander");
        }
        Ok(())
    }
}

/// A drained node's connections go on without a break and end by themselves; the wait ends with the last of them.
#[test]
fn a_node_is_drained_under_steady_transfers_without_a_broken_one() -> Result<()> {
    let running = Running::new()?;
    let node = running.busy_node()?;
    let transfers = running.transfers()?;
    let on_node = transfers.iter().filter(|t| t.node() == node).count() as u64;
    let mut waiting = Following::start(
        &running.agent,
        &["node", "drain", &node_name(node), "--wait", "--quiet", "3s"],
    )?;
    let first = waiting.line(SOON)?;
    ensure!(first.contains("enabled -> draining"), "it said {first:?}");
    wait_until("the live connections to be seen", SOON, || {
        let live = running.live(node)?;
        ensure!(live == on_node, "{live} of {on_node}");
        Ok(())
    })?;
    println!(
        "{on_node} of {} transfers are on the drained node",
        transfers.len()
    );
    running.require_avoided(node)?;
    std::thread::sleep(Duration::from_secs(2));
    require_unbroken(&transfers)?;
    ensure!(
        waiting.is_running()?,
        "it does not wait for {on_node} live connections"
    );
    let (ending, staying): (Vec<_>, Vec<_>) = transfers
        .into_iter()
        .partition(|transfer| transfer.node() == node);
    for transfer in ending {
        let report = transfer.finish();
        ensure!(report.broken.is_none(), "{report:?}");
    }
    wait_until("no live connection to be left", SOON, || {
        let live = running.live(node)?;
        ensure!(live == 0, "{live}");
        Ok(())
    })?;
    waiting.wait_for_success(Duration::from_secs(20))?;
    require_unbroken(&staying)?;
    running.agent.cli(&["node", "enable", &node_name(node)])?;
    ensure!(
        running.served_by()? == running.homes,
        "all are at home again"
    );
    require_unbroken(&staying)
}

/// The clients learn it at once, and nobody else notices.
#[test]
fn a_disabled_node_resets_its_connections_and_an_enabled_one_serves_again() -> Result<()> {
    let running = Running::new()?;
    let node = running.busy_node()?;
    let transfers = running.transfers()?;
    running.agent.cli(&["node", "disable", &node_name(node)])?;
    wait_until(
        "the connections of the disabled node to be reset",
        SOON,
        || {
            for transfer in transfers.iter().filter(|transfer| transfer.node() == node) {
                ensure!(transfer.is_broken(), "{:?}", transfer.report());
            }
            Ok(())
        },
    )?;
    running.require_avoided(node)?;
    for transfer in transfers.iter().filter(|transfer| transfer.node() != node) {
        ensure!(!transfer.is_broken(), "{:?}", transfer.report());
    }
    ensure!(running.operator_of(node)? == "disabled");
    running.agent.cli(&["node", "enable", &node_name(node)])?;
    ensure!(
        running.served_by()? == running.homes,
        "all are at home again"
    );
    Ok(())
}

#[test]
fn a_drain_with_a_deadline_disables_when_it_has_passed() -> Result<()> {
    let running = Running::new()?;
    let node = running.busy_node()?;
    let transfers = running.transfers()?;
    let begun = Instant::now();
    let name = node_name(node);
    let mut waiting = Following::start(
        &running.agent,
        &["node", "drain", &name, "--deadline", "4s", "--wait"],
    )?;
    std::thread::sleep(Duration::from_secs(1));
    require_unbroken(&transfers)?;
    waiting.wait_for_success(Duration::from_secs(20))?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_secs(3), "it ended after {took:?}");
    ensure!(running.operator_of(node)? == "disabled");
    wait_until("what was left to be reset", SOON, || {
        let left = transfers
            .iter()
            .filter(|t| t.node() == node && !t.is_broken());
        ensure!(left.count() == 0, "some live on");
        Ok(())
    })
}

/// Reload, kill and restart, clean stop and restart; only `stop --detach` and `enable` forget.
#[test]
fn what_the_operator_said_outlives_reloads_and_restarts() -> Result<()> {
    let mut running = Running::new()?;
    let node = running.busy_node()?;
    running.agent.cli(&["node", "drain", &node_name(node)])?;
    running.agent.reload(&running.config.to_toml())?;
    running.require_avoided(node)?;
    running.agent.kill()?;
    running.require_avoided(node).context("without an agent")?;
    running.agent.start_again()?;
    running.require_avoided(node).context("after a kill")?;
    running.agent.stop()?;
    running.agent.start_again()?;
    running.agent.wait_for_all(&running.config, SOON)?;
    ensure!(running.operator_of(node)? == "draining");
    running
        .require_avoided(node)
        .context("after a clean stop")?;
    running.agent.cli(&["stop", "--detach"])?;
    running.agent.wait_for_end()?;
    ensure!(running.agent.residue(&running.lab)?.is_empty());
    let kept = running.agent.socket().with_extension("operator.json");
    ensure!(!kept.exists(), "`stop --detach` leaves {}", kept.display());
    running.agent.start_again()?;
    running.agent.wait_for_all(&running.config, SOON)?;
    ensure!(running.operator_of(node)? == "enabled");
    Ok(())
}

#[test]
fn names_that_are_wrong_change_nothing_and_are_all_reported() -> Result<()> {
    let running = Running::new()?;
    let output =
        running
            .agent
            .cli_output(&["node", "disable", "node-0", "nodee-1", "socksservers/x"])?;
    ensure!(output.status.code() == Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in ["nodee-1", "did you mean", "socksservers/x"] {
        ensure!(text.contains(word), "`{word}` is missing in {text}");
    }
    ensure!(running.operator_of(0)? == "enabled", "all or none");
    Ok(())
}

#[test]
fn the_monitor_sees_a_node_die_an_operator_and_a_reload() -> Result<()> {
    let mut running = Running::new()?;
    let node = running.busy_node()?;
    let mut monitor = Following::start(&running.agent, &["monitor", "--json", "--recent", "3"])?;
    // It has joined when it tells of the past.
    monitor.line(SOON)?;
    let name = node_name(node);
    running.lab.kill_node(node)?;
    let seen = monitor.event(SOON, |event| {
        event["event"] == "health" && event["node"] == name.as_str() && event["to"] == "down"
    })?;
    ensure!(seen["from"] == "up" && seen["at"].is_u64(), "{seen}");
    monitor.event(SOON, |event| event["event"] == "table")?;
    running.lab.revive_node(node)?;
    monitor.event(SOON, |event| {
        event["event"] == "health" && event["to"] == "up"
    })?;
    running.agent.cli(&["pool", "drain", "socksservers"])?;
    monitor.event(SOON, |event| {
        event["event"] == "operator" && event["to"] == "draining"
    })?;
    running.agent.cli(&["pool", "enable", "socksservers"])?;
    running.agent.reload(&running.config.to_toml())?;
    monitor.event(SOON, |event| event["event"] == "reloaded")?;
    running.agent.write_config("interfaces = 1\n")?;
    running
        .agent
        .cli(&["reload"])
        .err()
        .context("it was taken")?;
    monitor.event(SOON, |event| event["event"] == "refused")?;
    running.agent.cli(&["log", "verbose"])?;
    monitor.event(SOON, |event| event["event"] == "log")?;
    running.agent.stop()?;
    monitor.event(SOON, |event| event["event"] == "stopping")?;
    Ok(())
}

/// The interval is an hour, so that nobody else checks.
#[test]
fn a_poll_checks_every_node_now_and_waits_for_what_is_seen() -> Result<()> {
    let mut running = Running::new()?;
    let mut config = running.config.clone();
    config.interval = "1h".to_owned();
    running.agent.reload(&config.to_toml())?;
    let node = running.busy_node()?;
    running.lab.kill_dante(node);
    ensure!(running.agent.is_up(node)?, "nobody has looked yet");
    let text = running.agent.cli(&["poll"])?;
    ensure!(!running.agent.is_up(node)?, "{text}");
    let name = node_name(node);
    let line = text.lines().find(|line| line.contains(&name));
    ensure!(
        line.is_some_and(|line| line.contains("down") && line.contains("refused")),
        "{text}"
    );
    Ok(())
}

#[test]
fn the_log_of_a_running_agent_becomes_verbose_and_brief_again() -> Result<()> {
    let running = Running::new()?;
    // Said at the debug level whenever a client of the control socket goes away amid an answer.
    let provoke = || -> Result<()> {
        let socket = std::os::unix::net::UnixStream::connect(running.agent.socket())?;
        match std::io::Write::write_all(&mut &socket, &vec![b'x'; 300_000]) {
            // The agent reads no more than a request may have, and may hang up before all is written.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    };
    let heard = |log: &str| log.matches("DEBUG").count();
    provoke()?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(heard(&running.agent.log()) == 0, "{}", running.agent.log());
    running.agent.cli(&["log", "verbose"])?;
    wait_until("a line at the debug level", SOON, || {
        provoke()?;
        ensure!(heard(&running.agent.log()) > 0, "none");
        Ok(())
    })?;
    running.agent.cli(&["log", "brief"])?;
    let before = heard(&running.agent.log());
    provoke()?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(heard(&running.agent.log()) == before);
    Ok(())
}
