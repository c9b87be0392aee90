//! What an operator sees is what is: the page follows the nodes.
#![cfg(feature = "lab")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_common::verdict::{Event, Verdict};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::browser::Browser;
use redirector_tests::lab::{Lab, LabOptions, Topology, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const NODES: usize = 3;
const PAGE: &str = "127.0.0.1:9180";

/// A configuration with the page, and more that is to be said of it.
fn with_page(config: &AgentConfig, more: &str) -> String {
    format!("{}\n[http]\nlisten = \"{PAGE}\"\n{more}", config.to_toml())
}

/// What the agent's server answers, in the relay.
fn ask(lab: &Lab, line: &str) -> Result<String> {
    let answer = lab.relay().run(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(PAGE)?;
        stream.set_read_timeout(Some(SOON))?;
        let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    answer.with_context(|| format!("no answer to {line}"))
}

fn bring_up(config: &AgentConfig) -> Result<(Lab, Agent)> {
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let agent = Agent::start(&lab, &with_page(config, ""))?;
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

/// A reload that can't have its HTTP server is refused before anything has changed, not when half of it is done.
#[test]
fn a_reload_without_its_token_changes_nothing_and_one_with_it_leaves_the_page_where_it_is()
-> Result<()> {
    let config = AgentConfig::new(Topology::TwoArmed, NODES);
    let (lab, agent) = bring_up(&config)?;
    let generation = || Ok::<_, anyhow::Error>(agent.show("summary")?["generation"].clone());
    let before = generation()?;
    let token = lab.workspace_file("token");
    let fewer = AgentConfig::new(Topology::TwoArmed, NODES - 1);
    let wanted = with_page(&fewer, &format!("token-file = \"{}\"\n", token.display()));
    let refused = agent.reload(&wanted).err().context("it is accepted")?;
    ensure!(
        format!("{refused:#}").contains("token file: cannot read"),
        "{refused:#}"
    );
    ensure!(generation()? == before, "something has changed");
    ensure!(agent.node(&node_name(NODES - 1)).is_ok(), "a node is gone");
    let drain = format!(
        "POST /api/v1/pools/socksservers/nodes/{}/drain",
        node_name(0)
    );
    ensure!(
        ask(&lab, &drain)?.starts_with("HTTP/1.1 403"),
        "actions are off"
    );

    fs::write(&token, "0123456789abcdef\n")?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    agent.reload(&wanted)?;
    ensure!(agent.node(&node_name(NODES - 1)).is_err(), "the node stays");
    ensure!(
        ask(&lab, &drain)?.starts_with("HTTP/1.1 401"),
        "it has no token"
    );
    let page = ask(&lab, "GET /")?;
    ensure!(page.starts_with("HTTP/1.1 200"), "{page}");
    Ok(())
}

#[test]
fn the_page_shows_a_node_that_dies_within_two_seconds_without_a_reload() -> Result<()> {
    let mut config = AgentConfig::new(Topology::TwoArmed, NODES);
    config.interval = "500ms".to_owned();
    let (mut lab, _agent) = bring_up(&config)?;
    let mut browser = Browser::start(lab.relay(), &lab.workspace_file(""))?;
    browser.open(&format!("http://{PAGE}/"))?;
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
