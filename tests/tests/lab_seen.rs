//! What an operator sees is what is: the page follows the nodes.
#![cfg(feature = "lab")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use redirector_common::verdict::{Event, Verdict};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::browser::Browser;
use redirector_tests::lab::{Lab, LabOptions, Topology, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const NODES: usize = 3;
const PAGE: &str = "http://127.0.0.1:9180/";

fn bring_up(config: &AgentConfig) -> Result<(Lab, Agent)> {
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let config_text = format!(
        "{}\n[http]\nlisten = \"127.0.0.1:9180\"\n",
        config.to_toml()
    );
    let agent = Agent::start(&lab, &config_text)?;
    agent.wait_for_all(config, SOON)?;
    Ok((lab, agent))
}

/// The word that the page has for a node.
fn state_on_page(browser: &mut Browser, node: usize) -> Result<String> {
    let name = node_name(node);
    let script = format!(
        "const line = document.querySelector('tr[data-node=\"{name}\"] .pill');\
         return line ? line.textContent : '';"
    );
    let state = browser.evaluate(&script)?;
    Ok(state.as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_page_shows_a_node_that_dies_within_two_seconds_without_a_reload() -> Result<()> {
    let mut config = AgentConfig::new(Topology::TwoArmed, NODES);
    config.interval = "500ms".to_owned();
    let (mut lab, _agent) = bring_up(&config)?;
    let mut browser = Browser::start(lab.relay(), &lab.workspace_file(""))?;
    browser.open(PAGE)?;
    wait_until("the page to show all nodes up", SOON, || {
        for node in 0..NODES {
            ensure!(
                state_on_page(&mut browser, node)? == "up",
                "node {node} is not"
            );
        }
        Ok(())
    })?;
    browser.evaluate("window.neverReloaded = true;")?;
    let mut times = Vec::new();
    for round in 0..5 {
        let node = round % NODES;
        let died = Instant::now();
        lab.kill_node(node)?;
        wait_until("the page to show the dead node", SOON, || {
            ensure!(
                state_on_page(&mut browser, node)? == "down",
                "it is not down yet"
            );
            Ok(())
        })?;
        times.push(died.elapsed());
        lab.revive_node(node)?;
        wait_until("the page to show the node that is back", SOON, || {
            ensure!(
                state_on_page(&mut browser, node)? == "up",
                "it is not up yet"
            );
            Ok(())
        })?;
    }
    println!("a dead node is on the page after {times:?}");
    times.sort_unstable();
    // Of one time, a machine that is busy with something else may take more.
    assert!(times[times.len() / 2] < Duration::from_secs(2), "{times:?}");
    assert_eq!(
        browser.evaluate("return window.neverReloaded === true;")?,
        Value::Bool(true)
    );
    let counters = browser.evaluate(
        "return [...document.querySelectorAll('tr[data-counter]')].map((row) => row.dataset.counter);",
    )?;
    let names = Verdict::ALL.iter().map(|verdict| verdict.name());
    let names: Vec<&str> = names
        .chain(Event::ALL.iter().map(|event| event.name()))
        .collect();
    assert_eq!(
        counters,
        Value::from(names),
        "the page has a line for every counter"
    );
    assert_eq!(browser.complaints()?, [""; 0]);
    Ok(())
}
