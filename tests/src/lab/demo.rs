//! What the redirector does, shown with real traffic. Every line that is printed has been checked; the
//! first claim that does not hold ends the demonstration with an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::agent::{Agent, AgentConfig, node_name};
use super::plan::{
    MAX_NODES, SHARED, SOCKS_PORT, TARGET, Topology, VIP, node_inside, node_outside,
};
use super::transfer::Report;
use super::{Lab, LabOptions, Transfer, interrupt, leftovers, wait_until};

/// Clients that take part.
const CLIENTS: usize = 12;
/// The nodes are checked every second and given 300 ms to answer: a dead one is found in less.
const FAILOVER_LIMIT: Duration = Duration::from_secs(2);
/// The longest pause that a connection which nothing happened to may have.
const QUIET_GAP: Duration = Duration::from_millis(500);

/// Runs the demonstration with `nodes` nodes; with `stay` the lab is then kept until ctrl-c.
///
/// # Errors
/// When the lab or the agent does not come up, or a claim does not hold.
pub fn run(topology: Topology, nodes: usize, stay: bool) -> Result<()> {
    ensure!(
        (2..=MAX_NODES).contains(&nodes),
        "failover takes 2 to {MAX_NODES} nodes, not {nodes}"
    );
    let mut lab = Lab::new(
        topology,
        LabOptions {
            nodes,
            ..LabOptions::default()
        },
    )?;
    let identity = lab.identity().to_owned();
    introduce(&lab);

    heading("The redirector starts in the relay");
    let mut agent = Agent::start(&lab, &AgentConfig::new(topology, nodes).to_toml())?;
    for node in 0..nodes {
        agent.wait_for_health(node, true, Duration::from_secs(5))?;
    }
    println!(
        "  attached to {}; all {nodes} nodes are up",
        topology.interfaces().join(" and ")
    );

    let homes = clients_fetch(&lab)?;
    show_client_address(&lab, &homes)?;
    node_dies_and_returns(&mut lab, &agent, &homes)?;

    if stay {
        explain_how_to_use(&lab, &agent);
        interrupt::wait();
    }
    heading("The end");
    let status = agent.stop()?;
    ensure!(
        status.success(),
        "the redirector ended with {status}; its log:\n{}",
        agent.log()
    );
    let residue = agent.residue(&lab)?;
    ensure!(residue.is_empty(), "the redirector has left {residue:?}");
    println!(
        "  the redirector ended with exit code 0; no XDP program, no pinned map, no socket is left"
    );
    drop(agent);
    drop(lab);
    let left = leftovers::of(&identity)?;
    ensure!(left.is_empty(), "the lab has left {left:?}");
    println!("  the lab is gone: no namespace, no process, no file is left");
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn introduce(lab: &Lab) {
    heading("The lab, in network namespaces of this machine");
    let arms = match lab.topology() {
        Topology::TwoArmed => "two-armed: clients and nodes at different interfaces of the relay",
        Topology::OneArmed => "one-armed: clients and nodes at the same interface of the relay",
    };
    println!("  topology  {arms}");
    println!("  relay     IP-SHARED {SHARED}");
    for node in 0..lab.node_count() {
        let (inside, outside) = (node_inside(node), node_outside(node));
        println!(
            "  {:<9} IP-DANTE {inside}:{SOCKS_PORT}, IP-DANTEEXT {outside}",
            node_name(node)
        );
    }
    println!("  target    {TARGET}, reached by the nodes only");
    println!("  SOCKS     {}", lab.server());
}

/// Every client with the node that serves it.
type Homes = BTreeMap<Ipv4Addr, usize>;

fn clients_fetch(lab: &Lab) -> Result<Homes> {
    heading(&format!(
        "{CLIENTS} clients fetch http://{TARGET}/ through SOCKS at {SHARED}"
    ));
    let mut homes = Homes::new();
    for client in lab.clients().into_iter().take(CLIENTS) {
        let page = lab
            .fetch(client, SHARED)
            .with_context(|| format!("{client} can't fetch the page"))?;
        let session = lab.connect(client, SHARED)?;
        let seen = format!("you are {}:", session.node_seen_by_target);
        ensure!(
            page.contains(&seen),
            "{client} met two nodes in a row: `{page}`, then node {}",
            session.node
        );
        println!(
            "  {:<15} {} says \"{page}\"",
            client.to_string(),
            node_name(session.node)
        );
        homes.insert(client, session.node);
    }
    let used: BTreeSet<_> = homes.values().collect();
    ensure!(used.len() > 1, "one node serves all {CLIENTS} clients");
    println!(
        "  {} of {} nodes serve them; each client met the same node twice",
        used.len(),
        lab.node_count()
    );
    Ok(homes)
}

fn show_client_address(lab: &Lab, homes: &Homes) -> Result<()> {
    heading("The node sees the client's own address and port");
    let client = *homes.keys().next_back().context("no clients")?;
    let session = lab.connect(client, SHARED)?;
    let line = lab.dante_line_about(&session)?;
    println!("  client    {}", session.client);
    println!("  {:<9} {line}", node_name(session.node));
    Ok(())
}

fn node_dies_and_returns(lab: &mut Lab, agent: &Agent, homes: &Homes) -> Result<()> {
    let (&victim_client, &victim) = homes.iter().next().context("no clients")?;
    let name = node_name(victim);
    heading("Long-lived transfers start, one for each client");
    let mut transfers = Vec::new();
    for client in homes.keys() {
        transfers.push(Transfer::start(lab.connect(*client, SHARED)?)?);
    }
    std::thread::sleep(Duration::from_secs(1));
    require_flow(&transfers, "before anything happened")?;
    println!("  {} transfers run", transfers.len());

    heading(&format!("The host of {name} dies without a word"));
    let died = Instant::now();
    lab.kill_node(victim)?;
    let session = wait_until("another node to take over", FAILOVER_LIMIT, || {
        lab.connect_within(victim_client, SHARED, Duration::from_millis(250))
    })?;
    let took = died.elapsed();
    ensure!(
        session.node != victim,
        "{name} is dead and serves {victim_client}"
    );
    ensure!(
        took < FAILOVER_LIMIT,
        "it took {} ms until another node took over",
        took.as_millis()
    );
    println!(
        "  {} ms later {victim_client} connects and is served by {}",
        took.as_millis(),
        node_name(session.node)
    );
    let mut moved = vec![Transfer::start(session)?];
    for (client, _) in homes.iter().skip(1).filter(|(_, home)| **home == victim) {
        let session = lab.connect(*client, SHARED)?;
        ensure!(session.node != victim, "{name} is dead and serves {client}");
        moved.push(Transfer::start(session)?);
    }
    println!(
        "  all {} clients of {name} are served by other nodes",
        moved.len()
    );
    agent.wait_for_health(victim, false, Duration::from_secs(1))?;

    let (dead, mut living): (Vec<_>, Vec<_>) = transfers
        .into_iter()
        .partition(|transfer| transfer.node() == victim);
    println!("  {} connections died with {name}", dead.len());
    drop(dead);
    let (bytes, gap) = require_flow(&living, "although their nodes are alive")?;
    println!(
        "  {} connections of other nodes went on: {bytes} bytes, no byte lost, longest pause {} ms",
        living.len(),
        gap.as_millis()
    );

    heading(&format!("{name} comes back"));
    living.append(&mut moved);
    for transfer in &living {
        transfer.forget_gap();
    }
    let back = Instant::now();
    lab.revive_node(victim)?;
    let session = wait_until(
        "the node to serve its client again",
        Duration::from_secs(5),
        || {
            let session = lab.connect(victim_client, SHARED)?;
            ensure!(
                session.node == victim,
                "{victim_client} is still served by {}",
                node_name(session.node)
            );
            Ok(session)
        },
    )?;
    println!(
        "  {} ms later a new connection of {victim_client} is served by {name}",
        back.elapsed().as_millis()
    );
    drop(session);
    std::thread::sleep(Duration::from_secs(2));
    let (bytes, gap) = require_flow(&living, "when a node came back")?;
    println!(
        "  nothing moved: all {} connections go on where they were, {bytes} bytes, longest pause {} ms",
        living.len(),
        gap.as_millis()
    );
    Ok(())
}

/// Requires that all transfers are whole and have not paused; returns all bytes and the longest pause.
fn require_flow(transfers: &[Transfer], when: &str) -> Result<(u64, Duration)> {
    let reports: Vec<Report> = transfers.iter().map(Transfer::report).collect();
    for report in &reports {
        if let Some(why) = &report.broken {
            anyhow::bail!(
                "a transfer of {} broke {when}: {why}",
                node_name(report.node)
            );
        }
        ensure!(
            report.bytes > 0,
            "a transfer of {} moved nothing {when}",
            node_name(report.node)
        );
        ensure!(
            report.max_gap < QUIET_GAP,
            "a transfer of {} paused for {} ms {when}",
            node_name(report.node),
            report.max_gap.as_millis()
        );
    }
    let gap = reports
        .iter()
        .map(|report| report.max_gap)
        .max()
        .unwrap_or_default();
    Ok((reports.iter().map(|report| report.bytes).sum(), gap))
}

fn explain_how_to_use(lab: &Lab, agent: &Agent) {
    let program = agent.program().display();
    let socket = agent.socket().display();
    heading("The lab stays; ctrl-c ends it");
    for (host, client) in [(lab.client_host(), 0), (lab.far_host(), 1)] {
        let client = lab.clients()[client];
        println!(
            "  ip netns exec {} curl --interface {client} --socks5 {VIP}:{SOCKS_PORT} http://{TARGET}/",
            host.name()
        );
    }
    println!("  {program} show nodes --socket {socket}");
    println!("  {program} show counters --socket {socket}");
    println!(
        "  {program} explain --client {} --socket {socket}",
        lab.clients()[0]
    );
    println!("  ip netns exec {} ip link", lab.relay().name());
}
