//! Nodes that have a name in place of an address: they are where the name server says, and whatever it says or does not say,
//! no connection breaks.
#![cfg(feature = "lab")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::following::Following;
use redirector_tests::lab::name_server::{Manner, NameServer};
use redirector_tests::lab::plan::{Family, ROUTER, SHARED, node_inside};
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

/// `dns.interval` in these labs.
const INTERVAL: Duration = Duration::from_secs(1);

/// The names of the first two nodes.
const NAMES: [&str; 2] = ["dante-0.lab", "dante-1.lab"];

fn at_router() -> SocketAddr {
    (ROUTER, 53).into()
}

fn at(node: usize) -> IpAddr {
    node_inside(node).into()
}

/// The configuration of a lab with names in place of the addresses of its first `named` nodes.
fn named(config: &AgentConfig, named: usize, servers: &str) -> String {
    let mut text = config.to_toml();
    for (node, name) in NAMES.iter().enumerate().take(named) {
        text = text.replace(&format!("\"{}\"", at(node)), &format!("\"{name}\""));
    }
    format!("{text}\n[dns]\ninterval = \"1s\"\ntimeout = \"500ms\"\n{servers}\n")
}

fn servers() -> String {
    format!("servers = [\"{}\"]", at_router())
}

struct Running {
    lab: Lab,
    agent: Agent,
    server: Option<NameServer>,
    text: String,
}

impl Running {
    /// Three nodes, of which the first `nodes` are in the pool by name.
    fn new(topology: Topology, nodes: usize) -> Result<Self> {
        let mut running = Self::prepare(topology, nodes, &servers())?;
        running.agent.start_again()?;
        running.wait_for_all(nodes)?;
        Ok(running)
    }

    fn prepare(topology: Topology, nodes: usize, servers: &str) -> Result<Self> {
        let options = LabOptions {
            nodes: 3,
            on_link_clients: 12,
            far_clients: 12,
            ..LabOptions::default()
        };
        let lab = Lab::new(topology, options)?;
        let server = NameServer::start(lab.router(), at_router())?;
        for (node, name) in NAMES.into_iter().enumerate() {
            server.set(name, &[at(node)]);
        }
        let text = named(&AgentConfig::new(topology, nodes), nodes, servers);
        let agent = Agent::prepare(&lab, &text)?;
        Ok(Self {
            lab,
            agent,
            server: Some(server),
            text,
        })
    }

    fn server(&self) -> Result<&NameServer> {
        self.server.as_ref().context("the name server is dead")
    }

    fn wait_for_all(&self, nodes: usize) -> Result<()> {
        for node in 0..nodes {
            let up = self.agent.wait_for_health(node, true, SOON);
            up.with_context(|| self.agent.log())?;
        }
        Ok(())
    }

    /// The node that new connections of each client come to.
    fn served_by(&self) -> Result<BTreeMap<Ipv4Addr, usize>> {
        let clients = self.lab.clients().into_iter();
        clients
            .map(|client| {
                let session = self.lab.connect(client, SHARED);
                let session = session.with_context(|| self.agent.log())?;
                Ok((client, session.node))
            })
            .collect()
    }

    fn transfers(&self) -> Result<Vec<Transfer>> {
        let clients = self.lab.clients().into_iter();
        clients
            .map(|client| Transfer::start(self.lab.connect(client, SHARED)?))
            .collect()
    }

    /// Where `show` says that a node is.
    fn address(&self, node: usize) -> Result<Value> {
        Ok(self.agent.node(&format!("node-{node}"))?["address"].clone())
    }

    fn wait_for_address(&self, node: usize, address: IpAddr) -> Result<()> {
        let wanted = SocketAddr::new(address, SHARED.port()).to_string();
        wait_until(&format!("node {node} to be at {address}"), SOON, || {
            let now = self.address(node)?;
            ensure!(
                now == wanted.as_str(),
                "it is at {now}; {}",
                self.agent.log()
            );
            Ok(())
        })
    }

    fn digest(&self) -> Result<Value> {
        Ok(self.agent.show("redirects")?[0]["digest"].clone())
    }

    fn lookup(&self, node: usize) -> Result<Value> {
        Ok(self.agent.node(&format!("node-{node}"))?["name_lookup"].clone())
    }

    /// Waits until the name server has been asked for every name since now, and its answers have been taken.
    fn wait_for_look_ups(&self) -> Result<()> {
        let server = self.server()?;
        let before = server.asked();
        wait_until("the names to be looked up", SOON, || {
            ensure!(server.asked() >= before + 2 * NAMES.len(), "not yet");
            Ok(())
        })?;
        self.agent.show("nodes").map(drop)
    }
}

fn require_whole(transfers: &[Transfer], when: &str) -> Result<()> {
    let before: Vec<u64> = transfers.iter().map(|one| one.report().bytes).collect();
    wait_until("every transfer to go on", SOON, || {
        for (transfer, before) in transfers.iter().zip(&before) {
            let report = transfer.report();
            ensure!(report.broken.is_none(), "{when}: {report:?}");
            ensure!(report.bytes > *before, "{when}: {report:?}");
        }
        Ok(())
    })
}

#[test]
fn a_node_that_moves_keeps_its_connections_and_gets_new_ones_at_its_new_address_within_the_interval()
-> Result<()> {
    for topology in Topology::ALL {
        let running = Running::new(topology, 2)?;
        let homes = running.served_by()?;
        let transfers = running.transfers()?;
        let (digest, slots) = (
            running.digest()?,
            running.agent.node("node-0")?["slots"].clone(),
        );
        let mut monitor = Following::start(&running.agent, &["monitor", "--json"])?;

        let moved = Instant::now();
        running.server()?.set(NAMES[0], &[at(2)]);
        running.wait_for_address(0, at(2))?;
        running.agent.wait_for_health(0, true, SOON)?;
        let took = moved.elapsed();
        println!("{topology:?}: the new address is in use {took:?} after the change");
        ensure!(took < INTERVAL + Duration::from_millis(1500), "{took:?}");

        for (client, node) in running.served_by()? {
            let expected = if homes[&client] == 0 { 2 } else { 1 };
            ensure!(
                node == expected,
                "{client} of {} is at {node}",
                homes[&client]
            );
        }
        require_whole(&transfers, "after the move")?;
        for transfer in &transfers {
            ensure!(transfer.report().node < 2, "a transfer has moved");
        }
        assert_eq!(running.agent.node("node-0")?["slots"], slots);
        assert_eq!(running.digest()?, digest, "a table is of names");
        let told = monitor.event(SOON, |event| event["event"] == "resolved")?;
        assert_eq!(told["host"], NAMES[0]);
        assert_eq!(told["before"][0], at(0).to_string());
        assert_eq!(told["addresses"][0], at(2).to_string());

        // And back, while connections live on both.
        running.server()?.set(NAMES[0], &[at(0)]);
        running.wait_for_address(0, at(0))?;
        running.agent.wait_for_health(0, true, SOON)?;
        assert_eq!(running.served_by()?, homes);
        require_whole(&transfers, "after the way back")?;
        running.agent.cli(&["audit"])?;
        for transfer in transfers {
            let report = transfer.stop();
            ensure!(report.broken.is_none(), "{report:?}");
        }
    }
    Ok(())
}

#[test]
fn clients_of_a_pool_of_one_node_are_served_without_a_break_while_it_moves() -> Result<()> {
    let running = Running::new(Topology::TwoArmed, 1)?;
    let client = running.lab.clients()[0];
    for turn in 0..6 {
        let to = if turn % 2 == 0 { 2 } else { 0 };
        running.server()?.set(NAMES[0], &[at(to)]);
        let end = Instant::now() + SOON;
        loop {
            let session = running
                .lab
                .connect_within(client, SHARED, Duration::from_secs(2));
            let session = session.with_context(|| format!("{turn}: {}", running.agent.log()))?;
            if session.node == to {
                break;
            }
            ensure!(Instant::now() < end, "it does not move");
        }
    }
    Ok(())
}

#[test]
fn whatever_a_name_server_says_or_keeps_to_itself_nothing_moves() -> Result<()> {
    let mut running = Running::new(Topology::TwoArmed, 2)?;
    let homes = running.served_by()?;
    let transfers = running.transfers()?;
    let digest = running.digest()?;
    for manner in Manner::USELESS {
        running.server()?.behave(manner);
        let why = wait_until(&format!("{manner:?} to be said"), SOON, || {
            let lookup = running.lookup(0)?;
            let error = lookup["error"].as_str().context("no error")?;
            Ok(error.to_owned())
        })?;
        println!("{manner:?}: {why}");
        running.wait_for_look_ups()?;
        assert_eq!(running.served_by()?, homes, "{manner:?}");
        require_whole(&transfers, &format!("{manner:?}"))?;
        assert_eq!(running.digest()?, digest, "{manner:?}");
        let table = running.agent.cli(&["show", "nodes"])?;
        ensure!(table.contains(&why), "{table}");
        running.server()?.behave(Manner::Honest);
        wait_until("the error to be over", SOON, || {
            let lookup = running.lookup(0)?;
            ensure!(lookup["error"].is_null(), "{lookup}");
            Ok(())
        })?;
    }
    // Nobody listens there any more.
    running.server = None;
    wait_until("its death to be seen", SOON, || {
        ensure!(!running.lookup(1)?["error"].is_null(), "not yet");
        Ok(())
    })?;
    assert_eq!(running.served_by()?, homes);
    require_whole(&transfers, "the name server is dead")?;
    running.agent.reload(&running.text)?;
    assert_eq!(running.served_by()?, homes, "a reload forgets no address");
    require_whole(&transfers, "after a reload")?;
    let log = running.agent.log();
    let said = log
        .matches("cannot be looked up, and is taken to be")
        .count();
    ensure!(
        said <= NAMES.len() * (Manner::USELESS.len() + 1),
        "{said} times: {log}"
    );
    Ok(())
}

#[test]
fn answers_in_another_order_each_time_move_nothing() -> Result<()> {
    let running = Running::prepare(Topology::TwoArmed, 1, &servers())?;
    let server = running.server()?;
    server.behave(Manner::Shuffling);
    server.set(NAMES[0], &[at(2), at(0), at(1)]);
    let mut running = running;
    running.agent.start_again()?;
    running.wait_for_all(1)?;
    running.wait_for_address(0, at(0))?;
    let generation = running.agent.show("redirects")?[0]["generation"].clone();
    for _ in 0..4 {
        let before = running.server()?.asked();
        wait_until("more look-ups", SOON, || {
            ensure!(running.server()?.asked() > before, "not yet");
            Ok(())
        })?;
        running.wait_for_address(0, at(0))?;
    }
    assert_eq!(
        running.agent.show("redirects")?[0]["generation"],
        generation
    );
    // It goes only when its address is not among the answers any more.
    running.server()?.set(NAMES[0], &[at(2), at(1)]);
    running.wait_for_address(0, at(1))
}

#[test]
fn a_restart_without_a_name_server_loses_nothing() -> Result<()> {
    let mut running = Running::new(Topology::TwoArmed, 2)?;
    running.server()?.set(NAMES[0], &[at(2)]);
    running.wait_for_address(0, at(2))?;
    running.agent.wait_for_health(0, true, SOON)?;
    let homes = running.served_by()?;
    let transfers = running.transfers()?;
    let digest = running.digest()?;
    running.server = None;
    for kill in [true, false] {
        if kill {
            running.agent.kill()?;
        } else {
            running.agent.cli(&["stop"])?;
            running.agent.wait_for_end()?;
        }
        running.agent.start_again()?;
        running.wait_for_address(0, at(2))?;
        running.wait_for_all(2)?;
        assert_eq!(running.served_by()?, homes, "killed: {kill}");
        require_whole(&transfers, "after a restart")?;
        assert_eq!(running.digest()?, digest);
    }
    running.agent.cli(&["audit"])?;
    running.agent.cli(&["stop", "--detach"])?;
    running.agent.wait_for_end()?;
    let kept = running.agent.socket().with_extension("names.json");
    ensure!(!kept.exists(), "nothing is left behind");
    Ok(())
}

#[test]
fn a_name_that_was_never_found_is_a_node_that_is_down_until_it_is_found() -> Result<()> {
    let mut running = Running::prepare(Topology::TwoArmed, 2, &servers())?;
    running.server()?.set(NAMES[1], &[]);
    running.agent.start_again()?;
    running.agent.wait_for_health(0, true, SOON)?;
    let node = running.agent.node("node-1")?;
    ensure!(
        node["health"] == "down" && node["address"].is_null(),
        "{node}"
    );
    ensure!(
        node["name_lookup"]["error"] == "it has no A record",
        "{node}"
    );
    assert!(running.served_by()?.values().all(|node| *node == 0));
    let table = running.agent.cli(&["show", "nodes"])?;
    ensure!(table.contains("unresolved"), "{table}");
    // What is said of it before it is found holds then, too.
    running.agent.cli(&["node", "drain", NAMES[1]])?;
    running.server()?.set(NAMES[1], &[at(1)]);
    running.agent.wait_for_health(1, true, SOON)?;
    assert!(running.served_by()?.values().all(|node| *node == 0));
    running.agent.cli(&["node", "enable", NAMES[1]])?;
    let served = running.served_by()?;
    ensure!(served.values().any(|node| *node == 1), "{served:?}");
    Ok(())
}

#[test]
fn an_address_where_no_node_can_be_is_refused_and_said() -> Result<()> {
    let running = Running::new(Topology::TwoArmed, 2)?;
    let homes = running.served_by()?;
    for (address, why) in [
        (Family::V4.address(*SHARED.ip()), "this relay's own"),
        (at(1), "is in pool `socksservers` twice"),
    ] {
        running.server()?.set(NAMES[0], &[address]);
        wait_until("it to be refused", SOON, || {
            let lookup = running.lookup(0)?;
            let error = lookup["error"].as_str().unwrap_or_default();
            ensure!(error.contains(why), "{lookup}");
            Ok(())
        })?;
        assert_eq!(running.served_by()?, homes, "{address}");
    }
    Ok(())
}

#[test]
fn a_plan_looks_nothing_up_and_a_reload_does() -> Result<()> {
    let running = Running::new(Topology::TwoArmed, 1)?;
    let more = named(&AgentConfig::new(Topology::TwoArmed, 2), 2, &servers());
    let file = running.lab.workspace_file("more.toml");
    std::fs::write(&file, &more)?;
    let file = file.display().to_string();
    running.server()?.behave(Manner::Mute);
    let start = Instant::now();
    let plan = running.agent.cli(&["plan", &file])?;
    ensure!(
        start.elapsed() < Duration::from_millis(450),
        "it has waited"
    );
    let note = format!("unresolved, so without slots here: {}", NAMES[1]);
    ensure!(plan.contains(&note), "{plan}");
    let check = running.agent.program();
    let check = std::process::Command::new(check)
        .args(["check-config", &file])
        .output()?;
    ensure!(check.status.success(), "{check:?}");
    running.server()?.behave(Manner::Honest);
    running.agent.reload(&more)?;
    running.agent.wait_for_health(1, true, SOON)?;
    let served = running.served_by()?;
    ensure!(served.values().any(|node| *node == 1), "{served:?}");
    let plan = running.agent.cli(&["plan", &file])?;
    ensure!(!plan.contains("unresolved"), "{plan}");
    Ok(())
}

#[test]
fn without_servers_in_the_configuration_those_of_the_host_are_asked_with_its_search_list()
-> Result<()> {
    let running = Running::prepare(Topology::TwoArmed, 1, "")?;
    let config = running.lab.workspace_file("system.toml");
    std::fs::write(&config, running.text.replace(NAMES[0], "dante-0"))?;
    let conf = running.lab.workspace_file("resolv.conf");
    std::fs::write(&conf, format!("search nowhere lab\nnameserver {ROUTER}\n"))?;
    // `ip netns exec` gives every command mounts of its own.
    let script = format!(
        "mount --bind {} /etc/resolv.conf && exec {} doctor --json --config {} --socket {}",
        conf.display(),
        running.agent.program().display(),
        config.display(),
        running.agent.socket().display()
    );
    for (manner, level, words) in [
        (Manner::Honest, "ok", format!("it is {}", at(0))),
        (
            Manner::Mute,
            "problem",
            "no name server answered".to_owned(),
        ),
    ] {
        running.server()?.behave(manner);
        let report = running
            .lab
            .relay()
            .command("sh")
            .args(["-c", &script])
            .output()?;
        let text = String::from_utf8_lossy(&report.stdout);
        let report: Value = serde_json::from_str(&text).with_context(|| text.to_string())?;
        let findings = report["findings"].as_array().context("no findings")?;
        let name = findings.iter().find(|one| one["check"] == "name");
        let name = name.context("nothing about the name")?;
        ensure!(name["of"] == "dante-0" && name["level"] == level, "{name}");
        let text = name["text"].as_str().unwrap_or_default();
        ensure!(text.contains(&words), "{name}");
    }
    Ok(())
}
