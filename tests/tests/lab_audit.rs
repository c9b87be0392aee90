//! An entry of the kernel's maps that somebody else has changed is found, and mended by a reload.
#![cfg(feature = "lab")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_common::abi::Slot;
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::{Lab, LabOptions, Topology, maps};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

fn start() -> Result<(Lab, Agent)> {
    let options = LabOptions {
        nodes: 2,
        ..LabOptions::default()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = Agent::start(&lab, &config.to_toml())?;
    agent.wait_for_all(&config, SOON)?;
    Ok((lab, agent))
}

fn require_clean(agent: &Agent) -> Result<()> {
    agent.cli(&["audit"]).map(drop)
}

/// The only difference that an audit finds, with which it fails.
fn difference(agent: &Agent) -> Result<Value> {
    let output = agent.cli_output(&["audit", "--json"])?;
    ensure!(output.status.code() == Some(1), "{:?}", output.status);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(error.contains("1 difference"), "{error}");
    let audit: Value = serde_json::from_slice(&output.stdout)?;
    let found = audit["differences"].as_array().context("no list")?;
    ensure!(found.len() == 1, "{audit}");
    let text = agent.cli_output(&["audit"])?.stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    for key in ["map", "entry", "computed", "kernel"] {
        let said = found[0][key].as_str().context(key)?;
        ensure!(text.contains(said), "{said} is missing in {text}");
    }
    println!("{}", text.lines().next().unwrap_or_default());
    Ok(found[0].clone())
}

#[test]
fn a_slot_that_was_changed_behind_the_agent_is_named_with_both_values_and_a_reload_mends_it()
-> Result<()> {
    const SLOT: usize = 4711;
    let (_lab, agent) = start()?;
    require_clean(&agent)?;
    let ids: Vec<u64> = [0, 1]
        .iter()
        .map(|node| {
            agent.node(&node_name(*node))?["id"]
                .as_u64()
                .context("no id")
        })
        .collect::<Result<_>>()?;
    let good = maps::slot_table(&agent, 0)?;
    let mut bytes = good.clone();
    // Key, counters and so on come before the slots.
    let at = good.len() - size_of::<Slot>() * 65_536 + size_of::<Slot>() * SLOT;
    let slot = &mut bytes[at..at + size_of::<Slot>()];
    let now = u16::from_ne_bytes([slot[0], slot[1]]);
    let (mine, other) = if u64::from(now) == ids[0] {
        (0, 1)
    } else {
        (1, 0)
    };
    let wrong = Slot::settled_on(u16::try_from(ids[other])?);
    slot.copy_from_slice(&[wrong.now.to_ne_bytes(), wrong.was.to_ne_bytes()].concat());
    maps::set_slot_table(&agent, 0, &bytes)?;
    let found = difference(&agent)?;
    ensure!(found["map"] == "slots of socksbalance (IPv4)", "{found}");
    ensure!(found["entry"] == format!("slot {SLOT}"), "{found}");
    let said = |node| format!("now {0}, was {0}, settled", node_name(node));
    ensure!(found["computed"] == said(mine), "{found}");
    ensure!(found["kernel"] == said(other), "{found}");
    agent.cli(&["reload"])?;
    require_clean(&agent)?;
    ensure!(
        agent.log().contains("were not as they should be"),
        "{}",
        agent.log()
    );
    let mended = maps::slot_table(&agent, 0)?;
    ensure!(mended == good, "the table is another than before");
    Ok(())
}

#[test]
fn a_backend_that_was_changed_behind_the_agent_is_named_and_mended() -> Result<()> {
    let (lab, agent) = start()?;
    require_clean(&agent)?;
    let id = agent.node(&node_name(0))?["id"].as_u64().context("no id")?;
    let id = u32::try_from(id)?;
    let mut map = maps::backends(&agent)?;
    let good = map.get(&id, 0)?;
    let mut bytes = good;
    // The last byte of the node's port.
    let port = good
        .windows(2)
        .position(|two| two == 1080_u16.to_be_bytes())
        .context("no port")?;
    bytes[port + 1] ^= 1;
    map.set(id, bytes, 0)?;
    let found = difference(&agent)?;
    ensure!(
        found["map"] == "backends" && found["entry"] == id.to_string().as_str(),
        "{found}"
    );
    ensure!(found["computed"] != found["kernel"], "{found}");
    agent.cli(&["reload"])?;
    require_clean(&agent)?;
    ensure!(map.get(&id, 0)? == good, "it is not mended");
    drop(lab);
    Ok(())
}

#[test]
fn an_entry_that_should_not_be_there_is_named_and_taken_away() -> Result<()> {
    let (_lab, agent) = start()?;
    let mut map = maps::backends(&agent)?;
    let first = map.get(&1, 0)?;
    map.set(777, first, 0)?;
    let output = agent.cli_output(&["audit"])?;
    ensure!(output.status.code() == Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.contains("backends, 777: ") && text.contains("ought to be nothing"),
        "{text}"
    );
    agent.cli(&["reload"])?;
    require_clean(&agent)?;
    ensure!(map.get(&777, 0)?.iter().all(|byte| *byte == 0));
    Ok(())
}
