//! A node that stops answering is left long before its next check, and only a failed check makes it left.
#![cfg(feature = "lab")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::flood::Flood;
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, wait_until};

const NODES: usize = 3;

/// Longer than an interval of five seconds with a check of one second.
const RECOVERED: Duration = Duration::from_secs(12);

/// A relay that checks its nodes so seldom, with the timeout of a check as it is when nobody sets it.
fn bring_up(interval: &str) -> Result<(Lab, Agent)> {
    let topology = Topology::TwoArmed;
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let lab = Lab::new(topology, options)?;
    let config = AgentConfig {
        interval: interval.to_owned(),
        timeout: "1s".to_owned(),
        ..AgentConfig::new(topology, NODES)
    };
    let agent = Agent::start(&lab, &config.to_toml())?;
    agent.wait_for_all(&config, RECOVERED)?;
    Ok((lab, agent))
}

/// A client whose new connections node 0 has.
fn client_of_node_0(lab: &Lab) -> Result<Ipv4Addr> {
    for client in lab.clients() {
        if lab.connect(client, SHARED)?.node == 0 {
            return Ok(client);
        }
    }
    anyhow::bail!("node 0 has no client")
}

/// How long after `died` a client of node 0 is served by another node. It tries all the time, which is the traffic.
fn left_after(lab: &Lab, client: Ipv4Addr, died: Instant, limit: Duration) -> Result<Duration> {
    while died.elapsed() < limit {
        if let Ok(session) = lab.connect_within(client, SHARED, Duration::from_millis(100))
            && session.node != 0
        {
            return Ok(died.elapsed());
        }
    }
    anyhow::bail!("node 0 still has {client} after {limit:?}")
}

#[test]
fn under_traffic_a_dead_node_is_left_within_a_second_whatever_the_interval_of_the_checks()
-> Result<()> {
    const RUNS: usize = 11;
    let (mut lab, agent) = bring_up("5s")?;
    let client = client_of_node_0(&lab)?;
    let mut took = Vec::new();
    for run in 1..=RUNS {
        lab.kill_node(0)?;
        let left = left_after(&lab, client, Instant::now(), Duration::from_secs(10))?;
        println!("run {run}: left after {} ms", left.as_millis());
        took.push(left);
        lab.revive_node(0)?;
        agent.wait_for_health(0, true, RECOVERED)?;
        wait_until("the client to be at home", RECOVERED, || {
            let node = lab.connect(client, SHARED)?.node;
            ensure!(node == 0, "it is at {node}");
            Ok(())
        })?;
    }
    took.sort();
    let median = took[RUNS / 2];
    println!(
        "median {} ms, {} to {} ms, of {RUNS} runs",
        median.as_millis(),
        took[0].as_millis(),
        took[RUNS - 1].as_millis()
    );
    ensure!(median < Duration::from_secs(1), "the median is {median:?}");
    Ok(())
}

#[test]
fn a_dead_node_that_nobody_asks_is_left_to_its_checks_and_the_first_packet_betrays_it() -> Result<()>
{
    let (mut lab, agent) = bring_up("300s")?;
    let client = client_of_node_0(&lab)?;
    lab.kill_node(0)?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(agent.is_up(0)?, "nobody can know");
    left_after(&lab, client, Instant::now(), Duration::from_secs(5))?;
    ensure!(!agent.is_up(0)?, "{}", agent.log());
    Ok(())
}

#[test]
fn a_node_whose_dante_is_gone_is_left_as_soon_as_it_refuses_somebody() -> Result<()> {
    let (mut lab, agent) = bring_up("300s")?;
    let client = client_of_node_0(&lab)?;
    lab.kill_dante(0);
    let left = left_after(&lab, client, Instant::now(), Duration::from_secs(5))?;
    println!("left after {} ms", left.as_millis());
    ensure!(!agent.is_up(0)?, "{}", agent.log());
    Ok(())
}

/// The nodes can't answer the flood at all, so they look as dead as can be to whoever counts packets.
#[test]
fn a_flood_of_syns_that_get_no_answer_takes_no_healthy_node_down() -> Result<()> {
    let (lab, agent) = bring_up("5s")?;
    for node in 0..NODES {
        lab.node_host(node)?
            .ip("route add blackhole 198.18.0.0/15")?;
    }
    let flood = Flood::start(lab.router(), SHARED, 40_000, 4_000)?;
    let until = Instant::now() + Duration::from_secs(9);
    let clients = lab.clients();
    let mut served = 0;
    for client in clients.iter().cycle() {
        if Instant::now() > until {
            break;
        }
        lab.connect(*client, SHARED)
            .with_context(|| format!("{client} under the flood"))?;
        served += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "{} SYNs of a flood were sent, {served} clients served",
        flood.finish()?
    );
    let log = agent.log();
    ensure!(!log.contains("up -> down"), "a node was taken down:\n{log}");
    for node in 0..NODES {
        ensure!(agent.is_up(node)?, "{} is down", node_name(node));
    }
    let checks = log.matches("checking it now").count();
    println!("{checks} checks for the flood's sake");
    ensure!(
        checks >= NODES,
        "the flood raised no doubt, so it proves nothing:\n{log}"
    );
    ensure!(
        checks < 40 * NODES,
        "the flood made the agent check all the time"
    );
    Ok(())
}
