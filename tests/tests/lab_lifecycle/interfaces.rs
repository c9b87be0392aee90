//! Interfaces that go and come back.

use std::time::Duration;

use anyhow::{Result, ensure};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, Topology, wait_until};
use serde_json::Value;

use super::{NODES, SOON, bring_up};

/// Names of the interfaces that the agent shows as attached in native mode, and of those that it misses.
fn shown(agent: &Agent) -> Result<(Vec<String>, Vec<String>)> {
    let summary = agent.show("summary")?;
    let texts = |list: &Value, of: fn(&Value) -> Option<&str>| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        let mut texts: Vec<_> = list.filter_map(of).map(str::to_owned).collect();
        texts.sort();
        texts
    };
    let native = |one: &Value| one["mode"] == "native";
    let attached = Value::Array(
        summary["interfaces"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| native(one))
            .cloned()
            .collect(),
    );
    Ok((
        texts(&attached, |one| one["interface"].as_str()),
        texts(&summary["absent"], Value::as_str),
    ))
}

fn wait_for_absent(agent: &Agent, topology: Topology, absent: &[&str]) -> Result<()> {
    let interfaces = topology.interfaces().iter();
    let mut attached: Vec<_> = interfaces.filter(|name| !absent.contains(name)).collect();
    attached.sort();
    wait_until(&format!("{absent:?} to be absent"), SOON, || {
        let (now, away) = shown(agent)?;
        ensure!(
            now.iter().eq(attached.iter().copied()) && away == absent,
            "attached to {now:?}, absent {away:?}; {}",
            agent.log()
        );
        Ok(())
    })
}

fn wait_for_traffic(lab: &Lab, agent: &Agent) -> Result<()> {
    for client in lab.clients() {
        wait_until(&format!("{client} to be served"), SOON, || {
            lab.connect_within(client, SHARED, Duration::from_millis(500))
                .map_err(|error| error.context(agent.log()))
        })?;
    }
    Ok(())
}

#[test]
fn an_interface_that_disappears_and_returns_is_attached_again() -> Result<()> {
    for topology in Topology::ALL {
        let (mut lab, agent, config) = bring_up(topology)?;
        let client = lab.clients()[0];
        for &interface in topology.interfaces() {
            lab.unplug(interface)?;
            wait_for_absent(&agent, topology, &[interface])?;
            let health = agent.cli_output(&["health"])?;
            assert!(
                !health.status.success(),
                "it can't serve without {interface}"
            );
            let nobody = lab.connect_within(client, SHARED, Duration::from_millis(500));
            assert!(nobody.is_err(), "{interface} is away");
            // What is away is no mistake of the file's.
            agent.reload(&config.to_toml())?;
            lab.plug_in_again(interface)?;
            wait_for_absent(&agent, topology, &[])?;
            agent.wait_for_all(&config, SOON)?;
            wait_for_traffic(&lab, &agent)?;
            let log = agent.log();
            assert!(
                log.contains(&format!("{interface}: the interface is gone")),
                "{log}"
            );
        }
    }
    Ok(())
}

#[test]
fn an_interface_that_goes_down_and_up_keeps_its_program() -> Result<()> {
    let topology = Topology::TwoArmed;
    let (lab, agent, config) = bring_up(topology)?;
    let relay = lab.relay();
    relay.ip("link set nodes down")?;
    for node in 0..NODES {
        agent.wait_for_health(node, false, SOON)?;
    }
    assert_eq!(shown(&agent)?.1, [""; 0], "it is still there");
    relay.ip("link set nodes up")?;
    agent.wait_for_all(&config, SOON)?;
    wait_for_traffic(&lab, &agent)
}

#[test]
fn a_reload_takes_on_and_leaves_interfaces_and_refuses_one_that_never_was() -> Result<()> {
    let topology = Topology::TwoArmed;
    let (lab, agent, mut config) = bring_up(topology)?;
    lab.relay()
        .ip("link add spare type veth peer name spare-far")?;
    config.interfaces.push("spare".to_owned());
    wait_until("the agent to see the new interface", SOON, || {
        agent.reload(&config.to_toml())
    })?;
    let attached = |lab: &Lab| -> Result<bool> {
        Ok(lab.relay().ip("-o link show dev spare")?.contains("xdp"))
    };
    assert!(attached(&lab)?);
    config.interfaces.pop();
    agent.reload(&config.to_toml())?;
    assert!(!attached(&lab)?);
    config.interfaces.push("nowhere".to_owned());
    let error = format!("{:#}", agent.reload(&config.to_toml()).unwrap_err());
    assert!(error.contains("there is no interface nowhere"), "{error}");
    assert_eq!(
        shown(&agent)?,
        (vec!["clients".to_owned(), "nodes".to_owned()], Vec::new())
    );
    wait_for_traffic(&lab, &agent)
}
