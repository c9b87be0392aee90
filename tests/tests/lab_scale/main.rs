//! 256 nodes in a pool that 64 redirects share: changes are made at once, and in between the agent takes next to nothing.
#![cfg(feature = "lab")]

mod relay;
mod scrape;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::wait_until;

use relay::{NODES, Scale, node};

const REDIRECTS: u16 = 64;

/// What there is to be met.
const CHANGED_WITHIN: Duration = Duration::from_millis(200);
const IDLE_PERCENT: f64 = 1.0;
const MEMORY_MIB: f64 = 64.0;

fn millis(durations: &[Duration]) -> String {
    let texts = durations.iter().map(|took| took.as_millis().to_string());
    texts.collect::<Vec<_>>().join(", ")
}

fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// What an agent that has nothing to do takes, in percent of a core.
fn idle(scale: &Scale, window: Duration) -> Result<f64> {
    let mut percents = Vec::new();
    for _ in 0..3 {
        let before = scale.cpu()?;
        sleep(window);
        let took = scale.cpu()?.saturating_sub(before);
        percents.push(100.0 * took.as_secs_f64() / window.as_secs_f64());
    }
    println!(
        "idle: {percents:.2?} % of a core, {:.1} MiB",
        scale.memory()?
    );
    let log = scale.agent.log();
    ensure!(!log.contains("up -> down"), "checks have failed:\n{log}");
    // Whoever else uses the machine makes the same work take longer, never less.
    Ok(percents.iter().copied().fold(f64::INFINITY, f64::min))
}

#[test]
fn an_idle_agent_of_64_redirects_to_256_nodes_takes_a_percent_of_a_core_and_64_mebibytes_at_most()
-> Result<()> {
    const WINDOW: Duration = Duration::from_secs(10);
    let scale = Scale::bring_up(REDIRECTS)?;
    for redirect in 0..REDIRECTS {
        wait_until("the redirects to serve", Duration::from_secs(5), || {
            scale.serves(redirect)
        })?;
    }
    // From the second check on the nodes take turns.
    sleep(Duration::from_secs(6));
    let memory = scale.memory()?;
    let least = idle(&scale, WINDOW)?;
    ensure!(least <= IDLE_PERCENT, "{least} % of a core");
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    Ok(())
}

/// One redirect, so that what is left is the checks.
#[test]
fn an_idle_agent_of_one_redirect_to_1000_nodes_takes_a_few_percent_of_a_core() -> Result<()> {
    const NODES: u16 = 1000;
    const PERCENT: f64 = 10.0;
    let start = Instant::now();
    let scale = Scale::behind_a_router(1, NODES)?;
    println!("all {NODES} nodes up after {:.1?}", start.elapsed());
    wait_until("the redirect to serve", Duration::from_secs(5), || {
        scale.serves(0)
    })?;
    // From the second check on the nodes take turns.
    sleep(Duration::from_secs(6));
    let least = idle(&scale, Duration::from_secs(5))?;
    let memory = scale.memory()?;
    ensure!(least <= PERCENT, "{least} % of a core");
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    Ok(())
}

#[test]
fn what_an_operator_says_of_a_node_or_of_all_is_in_the_tables_of_64_redirects_within_200_ms()
-> Result<()> {
    const ROUNDS: usize = 7;
    let scale = Scale::bring_up(REDIRECTS)?;
    let all: Vec<u16> = (0..NODES)
        .map(|number| scale.backend(node(number)))
        .collect::<Result<_>>()?;
    for (kind, name, backends) in [("node", "n7", &all[7..=7]), ("pool", "all", &all[..])] {
        let (mut obeyed, mut spent) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (verb, take) in [("disable", false), ("enable", true)] {
                let before = scale.spent()?;
                obeyed.push(scale.obeyed_after(&[kind, verb, name], backends, take)?);
                spent.push(scale.spent()?.saturating_sub(before));
            }
        }
        println!(
            "{kind}: in all tables after {} ms, of which the agent has worked {} ms",
            millis(&obeyed),
            millis(&spent)
        );
        for (what, took) in [
            ("obeyed after", median(&obeyed)),
            ("worked for", median(&spent)),
        ] {
            ensure!(took <= CHANGED_WITHIN, "{kind}: {what} {took:?}");
        }
    }
    wait_until("the last redirect to serve", Duration::from_secs(5), || {
        scale.serves(REDIRECTS - 1)
    })?;
    let memory = scale.memory()?;
    println!("{memory:.1} MiB after all of that");
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    Ok(())
}

#[test]
fn of_256_nodes_the_dead_one_is_left_within_a_second_of_its_clients_asking() -> Result<()> {
    const ROUNDS: u16 = 5;
    let scale = Scale::bring_up(REDIRECTS)?;
    let client = scale.lab.clients()[0].to_string();
    let host = scale.lab.node_host(0)?;
    let mut left = Vec::new();
    for redirect in 0..ROUNDS {
        let explained = scale
            .agent
            .cli(&["explain", "--client", &client, "--json"])?;
        let explained: serde_json::Value = serde_json::from_str(&explained)?;
        let name = explained["redirects"][0]["now"]
            .as_str()
            .context("nobody")?;
        let number: u16 = name.trim_start_matches('n').parse()?;
        // In the table that the other addresses are in, before them.
        let dies = format!("blackhole {} table local", node(number));
        host.ip(&format!("route add {dies}"))?;
        let died = Instant::now();
        wait_until("another node to serve", Duration::from_secs(4), || {
            scale.serves(redirect)
        })?;
        left.push(died.elapsed());
        host.ip(&format!("route del {dies}"))?;
        scale.wait_for_log("down -> up", redirect + 1, Duration::from_secs(12))?;
    }
    println!("left after {} ms", millis(&left));
    let median = median(&left);
    ensure!(median < Duration::from_secs(1), "the median is {median:?}");
    Ok(())
}
