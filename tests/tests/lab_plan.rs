//! What a change would do is said before it is made, and nothing is changed by saying it; what has changed is said after.
#![cfg(feature = "lab")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector::control::plan::Proposal;
use redirector::control::{Client, Request, Response};
use redirector_common::abi::MAX_BACKENDS;
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::following::Following;
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, maps, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

struct Running {
    lab: Lab,
    agent: Agent,
    config: AgentConfig,
}

impl Running {
    /// A lab of three nodes, of which the first `used` are in the pool.
    fn new(used: usize) -> Result<Self> {
        let options = LabOptions {
            nodes: 3,
            ..LabOptions::default()
        };
        let lab = Lab::new(Topology::TwoArmed, options)?;
        let config = AgentConfig::new(Topology::TwoArmed, used);
        let agent = Agent::start(&lab, &config.to_toml())?;
        agent.wait_for_all(&config, SOON)?;
        Ok(Self { lab, agent, config })
    }

    fn plan(&self, arguments: &[&str]) -> Result<Value> {
        let text = self
            .agent
            .cli(&[&["plan"], arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).context(text)
    }

    /// Slots by node, without nodes that have none.
    fn slots(&self) -> Result<BTreeMap<String, i64>> {
        let nodes = self.agent.show("nodes")?;
        let nodes = nodes.as_array().context("no list")?.iter();
        let slots =
            nodes.map(|node| Some((node["name"].as_str()?.to_owned(), node["slots"].as_i64()?)));
        let slots: Option<BTreeMap<_, _>> = slots.collect();
        let mut slots = slots.context("no slots")?;
        slots.retain(|_, slots| *slots != 0);
        Ok(slots)
    }

    fn digest(&self) -> Result<Value> {
        Ok(self.agent.show("redirects")?[0]["digest"].clone())
    }

    /// Everything that a plan must leave alone: what is shown, and the maps as bytes.
    fn everything(&self) -> Result<(Value, Value, Vec<u8>)> {
        let backends = maps::backends(&self.agent)?;
        let mut bytes = Vec::new();
        for id in 0..MAX_BACKENDS {
            bytes.extend(backends.get(&id, 0)?);
        }
        bytes.extend(maps::slot_table(&self.agent, 0)?);
        let redirects = self.agent.show("redirects")?;
        Ok((self.digest()?, redirects[0]["generation"].clone(), bytes))
    }

    fn served_by(&self) -> Result<BTreeMap<Ipv4Addr, usize>> {
        let clients = self.lab.clients().into_iter().take(24);
        clients
            .map(|client| Ok((client, self.lab.connect(client, SHARED)?.node)))
            .collect()
    }

    /// Has it planned, sees that nothing has changed and that nothing was told; gives the plan.
    fn planned(&self, arguments: &[&str]) -> Result<Value> {
        let mut monitor = Following::start(&self.agent, &["monitor", "--json", "--recent", "1"])?;
        monitor.line(SOON)?;
        let before = self.everything()?;
        let plan = self.plan(arguments)?;
        ensure!(
            self.everything()? == before,
            "planning has changed something"
        );
        self.agent.cli(&["log", "verbose"])?;
        let told: Value = serde_json::from_str(&monitor.line(SOON)?)?;
        ensure!(told["event"] == "log", "planning was told of: {told}");
        ensure!(plan["redirects"][0]["digest"] == before.0, "{plan}");
        Ok(plan)
    }

    /// The slots are as the plan said that they would be.
    fn require_done(&self, plan: &Value, mut slots: BTreeMap<String, i64>) -> Result<()> {
        let plan = &plan["redirects"][0];
        for one in plan["moves"].as_array().context("no moves")? {
            let count = one["slots"].as_i64().context("no slots")?;
            let name = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            *slots.entry(name("from")).or_default() -= count;
            *slots.entry(name("to")).or_default() += count;
        }
        slots.retain(|_, slots| *slots != 0);
        wait_until("the slots to be as planned", SOON, || {
            let now = self.slots()?;
            ensure!(now == slots, "{now:?}, and planned was {slots:?}");
            let digest = self.digest()?;
            ensure!(digest == plan["digest_then"], "{digest}: {plan}");
            Ok(())
        })
    }
}

#[test]
fn a_drain_moves_exactly_what_was_planned_and_planning_it_changes_nothing() -> Result<()> {
    let running = Running::new(3)?;
    let homes = running.served_by()?;
    let node = *homes.values().next().context("no client")?;
    let name = node_name(node);
    let slots = running.slots()?;
    let plan = running.planned(&["drain", &name])?;
    let moved = &plan["redirects"][0]["moved"];
    ensure!(moved.as_i64() == slots.get(&name).copied(), "{plan}");
    ensure!(plan["differences"][0]["to"] == "draining", "{plan}");
    ensure!(running.served_by()? == homes, "a client has moved");
    running.agent.cli(&["node", "drain", &name])?;
    running.require_done(&plan, slots)?;
    for (client, served) in running.served_by()? {
        let home = homes[&client];
        ensure!(
            served != node && (home == node || home == served),
            "{client}"
        );
    }
    Ok(())
}

/// Connections are recorded while a slot is split, which it is after a drain.
#[test]
fn disabling_ends_as_many_recorded_connections_as_was_planned() -> Result<()> {
    let running = Running::new(3)?;
    let clients: Vec<_> = running.lab.clients().into_iter().take(24).collect();
    let transfers: Vec<Transfer> = clients
        .iter()
        .map(|client| Transfer::start(running.lab.connect(*client, SHARED)?))
        .collect::<Result<_>>()?;
    let node = transfers.first().context("no transfer")?.node();
    let name = node_name(node);
    let on_node = transfers.iter().filter(|t| t.node() == node).count() as u64;
    running.agent.cli(&["node", "drain", &name])?;
    wait_until("the live connections to be seen", SOON, || {
        let live = running.agent.node(&name)?["live"].as_u64();
        ensure!(live == Some(on_node), "{live:?} of {on_node}");
        Ok(())
    })?;
    let plan = running.planned(&["disable", &name])?;
    ensure!(plan["redirects"][0]["connections_end"] == on_node, "{plan}");
    let spared = running.planned(&["enable", &name])?;
    ensure!(spared["redirects"][0]["connections_end"] == 0, "{spared}");
    ensure!(
        transfers.iter().all(|t| !t.is_broken()),
        "planning broke one"
    );
    running.agent.cli(&["node", "disable", &name])?;
    wait_until("the planned connections to end", SOON, || {
        let broken = transfers.iter().filter(|t| t.is_broken());
        ensure!(broken.count() as u64 == on_node, "not all have ended");
        Ok(())
    })?;
    let others = transfers.iter().filter(|t| t.node() != node);
    for transfer in others {
        ensure!(!transfer.is_broken(), "{:?}", transfer.report());
    }
    Ok(())
}

#[test]
fn a_reload_moves_what_was_planned_and_says_what_has_changed() -> Result<()> {
    let running = Running::new(2)?;
    let slots = running.slots()?;
    let next = AgentConfig {
        nodes: vec![(0, 1), (1, 2), (2, 1)],
        ..running.config.clone()
    };
    let file =
        std::env::temp_dir().join(format!("redirector-plan-{}.toml", running.lab.identity()));
    std::fs::write(&file, next.to_toml())?;
    let planned = running.planned(&[&file.display().to_string()]);
    std::fs::remove_file(&file)?;
    let plan = planned?;
    let note = plan["notes"][0].as_str().unwrap_or_default();
    ensure!(note.contains("node-2"), "{plan}");

    let mut monitor = Following::start(&running.agent, &["monitor", "--json", "--recent", "1"])?;
    monitor.line(SOON)?;
    running.agent.write_config(&next.to_toml())?;
    let said = running.agent.cli(&["reload"])?;
    println!("{said}");
    let mut lines = said.lines();
    ensure!(
        lines
            .next()
            .is_some_and(|line| line.ends_with("is in force")),
        "{said}"
    );
    ensure!(
        lines.eq([
            "node socksservers/node-2: added",
            "node socksservers/node-1: weight 1 -> 2"
        ]),
        "{said}"
    );
    let told = monitor.event(SOON, |event| event["event"] == "reloaded")?;
    ensure!(told["differences"] == plan["differences"], "{told}");
    running.require_done(&plan, slots)?;

    let again = running.agent.cli(&["reload"])?;
    ensure!(
        again.lines().count() == 1 && again.contains("says the same as before"),
        "{again}"
    );
    let told = monitor.event(SOON, |event| event["event"] == "reloaded")?;
    ensure!(told["differences"] == Value::Array(Vec::new()), "{told}");
    Ok(())
}

#[test]
fn what_a_reload_would_refuse_is_refused_as_a_plan_and_neither_changes_anything() -> Result<()> {
    let running = Running::new(2)?;
    let before = running.everything()?;
    let text = running.config.to_toml();
    let file =
        std::env::temp_dir().join(format!("redirector-wrong-{}.toml", running.lab.identity()));
    let mut refused = Vec::new();
    for (wrong, word) in [
        (
            text.replace("the key of the lab", "another key"),
            "hash-key",
        ),
        (text.replace("weight = 1", "weight = 0"), "weight"),
        (text.replace("10.0.1.2\"", "10.0.1.1\""), "own"),
        (text.replace("\"nodes\"]", "\"wlan7\"]"), "wlan7"),
    ] {
        std::fs::write(&file, &wrong)?;
        refused.push((
            word,
            running
                .agent
                .cli_output(&["plan", &file.display().to_string()])?,
        ));
        running.agent.write_config(&wrong)?;
        refused.push((word, running.agent.cli_output(&["reload"])?));
    }
    std::fs::remove_file(&file)?;
    for (word, output) in refused {
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && text.contains(word),
            "{word}: {text}"
        );
        ensure!(output.stdout.is_empty(), "{word}");
    }
    ensure!(running.everything()? == before, "something has changed");
    Ok(())
}

/// A file that never ends would keep the agent from everything else, and one that only the agent may read would be told of.
#[test]
fn the_agent_opens_no_file_that_a_plan_names_and_the_command_reads_it_instead() -> Result<()> {
    let running = Running::new(2)?;
    let text = running.config.to_toml();
    let naming = |password: &Path| {
        let check = format!(
            "check = {{ type = \"socks5\", username = \"u\", password-file = \"{}\" }}",
            password.display()
        );
        text.replace("check = \"tcp\"", &check)
    };
    let endless = running.lab.workspace_file("endless");
    nix::unistd::mkfifo(&endless, nix::sys::stat::Mode::S_IRWXU)?;
    let proposal = Proposal::Configuration {
        name: "hostile".to_owned(),
        text: naming(&endless),
    };
    let asked = Instant::now();
    let answer = Client::connect(running.agent.socket())?.call(&Request::Plan(proposal))?;
    ensure!(matches!(answer, Response::Plan(_)), "{answer:?}");
    ensure!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
    let file = running.lab.workspace_file("plan.toml");
    let missing = running.lab.workspace_file("no-password");
    std::fs::write(&file, naming(&missing))?;
    let output = running
        .agent
        .cli_output(&["plan", &file.display().to_string()])?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && told.contains(&missing.display().to_string()),
        "{told}"
    );
    Ok(())
}

#[test]
fn a_plan_is_made_while_an_interface_is_away_as_a_reload_is_taken() -> Result<()> {
    let running = Running::new(2)?;
    let file = running.lab.workspace_file("plan.toml");
    std::fs::write(&file, running.config.to_toml())?;
    let plan = |running: &Running| {
        let plan = running.plan(&[&file.display().to_string()])?;
        ensure!(plan["differences"] == Value::Array(Vec::new()), "{plan}");
        Ok(())
    };
    plan(&running)?;
    running.lab.unplug("nodes")?;
    wait_until("the agent to miss the interface", SOON, || {
        let shown = running.agent.cli(&["show", "redirects"])?;
        ensure!(shown.contains("nodes (absent)"), "{shown}");
        Ok(())
    })?;
    plan(&running)?;
    running.agent.cli(&["reload"]).map(drop)
}
