//! How long nodes take to answer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::metrics::{Samples, http_section};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::socks::connect_from;
use redirector_tests::lab::{Lab, LabOptions, Topology};

const SOON: Duration = Duration::from_secs(20);
const NODES: usize = 2;
/// Connections of each of 64 clients, of all of which one in 16 is timed.
const CONNECTIONS: usize = 10;
/// A bit more than a SYN-ACK: whatever else the node says to its clients makes it wait.
const SLOW_LINK: &str = "tbf rate 32kbit burst 160 limit 1000000";

/// Connects again and again from every client, each time when the last connection has begun.
fn connect_all(lab: &Lab) -> Result<()> {
    for client in lab.clients() {
        lab.host_of_client(client).run(|| {
            for _ in 0..CONNECTIONS {
                connect_from(client, SHARED, SOON)?;
            }
            anyhow::Ok(())
        })??;
    }
    Ok(())
}

/// How many answers of a node were timed, and how long they have taken together.
fn timed(samples: &Samples, node: usize) -> Result<(f64, f64)> {
    let name = "redirector_node_answer_duration_seconds";
    let labels = format!("pool=\"socksservers\",node=\"{}\"", node_name(node));
    let of = |part: &str| samples.number(&format!("{name}_{part}{{{labels}}}"));
    Ok((of("count")?, of("sum")?))
}

/// The mean of each node's answers while all clients connect.
fn means(lab: &Lab) -> Result<Vec<f64>> {
    let before = Samples::read(lab.relay())?;
    connect_all(lab)?;
    let after = Samples::read(lab.relay())?;
    let means = (0..NODES).map(|node| {
        let (count, sum) = timed(&before, node)?;
        let (more, longer) = timed(&after, node)?;
        let answers = more - count;
        ensure!(answers >= 3.0, "node {node}: {answers} answers were timed");
        println!(
            "node {node}: {answers} answers, {:.3} ms",
            1e3 * (longer - sum) / answers
        );
        Ok((longer - sum) / answers)
    });
    means.collect()
}

#[test]
fn a_node_behind_a_slow_link_has_slow_answers_and_the_other_has_not() -> Result<()> {
    let topology = Topology::TwoArmed;
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let lab = Lab::new(topology, options)?;
    let config = AgentConfig {
        interval: "5s".to_owned(),
        ..AgentConfig::new(topology, NODES)
    };
    let agent = Agent::start(&lab, &(config.to_toml() + &http_section()))?;
    agent.wait_for_all(&config, SOON)?;

    // The twin: both are fast while both links are.
    let fast = means(&lab)?;
    ensure!(fast.iter().all(|mean| *mean < 0.004), "{fast:?}");

    let slow = lab.node_host(1)?;
    slow.exec(&format!("tc qdisc add dev inside root {SLOW_LINK}"))?;
    let means = means(&lab)?;
    ensure!(means[1] > 0.010, "the slow node: {means:?}");
    ensure!(means[0] < 0.004, "the other: {means:?}");
    let shown = |node| -> Result<u64> {
        let shown = agent.node(&node_name(node))?;
        shown["answers"]["p99_us"].as_u64().context("none timed")
    };
    let (other, slow) = (shown(0)?, shown(1)?);
    println!("99 % are shown to be answered within {other} and {slow} us");
    ensure!(slow > other, "{slow} us against {other} us");
    Ok(())
}
