//! Checks that look at other things than SOCKS.

use anyhow::{Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name, node_name_in};
use redirector_tests::lab::plan::Family;
use redirector_tests::lab::{Lab, Topology};

use super::{SOON, bring_up, checked, small};

#[test]
fn icmp_asks_the_host_and_tcp_its_server_in_both_families() -> Result<()> {
    let mut lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig {
        families: Family::ALL.to_vec(),
        ..AgentConfig::new(Topology::TwoArmed, 2)
    };
    let agent = Agent::start(&lab, &checked(&config, "check = \"icmp\""))?;
    let names = Family::ALL.map(|family| node_name_in(0, family));
    lab.kill_dante(0);
    for name in &names {
        let story = agent.wait_for_cause(name, "ok", SOON)?;
        ensure!(story == "icmp echo reply", "{story}");
    }
    agent.reload(&checked(&config, "checks = [\"icmp\", \"tcp\"]"))?;
    for name in &names {
        agent.wait_for_cause(name, "refused", SOON)?;
    }
    agent.reload(&checked(&config, "check = \"icmp\""))?;
    lab.kill_node(0)?;
    for name in &names {
        let limit = SOON;
        agent.wait_for_cause(name, "timeout", limit).or_else(|_| {
            // Once the kernel has given up its link-layer address.
            agent.wait_for_cause(name, "unreachable", limit)
        })?;
        ensure!(agent.node(name)?["health"] == "down");
    }
    ensure!(agent.is_up(1)?);
    Ok(())
}

#[test]
fn a_script_knows_which_node_it_is_asked_about_and_has_no_privileges() -> Result<()> {
    let script =
        "test $(id -u) -ne 0 && echo about $REDIRECTOR_NODE && test $REDIRECTOR_ADDRESS = 10.0.1.2";
    let check = format!(
        "check = {{ type = \"script\", command = [\"/bin/sh\", \"-c\", \"{script}\"], timeout = \"1400ms\" }}"
    );
    let (_lab, agent) = bring_up(small(), &check)?;
    let story = agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    ensure!(story == "exit code 0: about node-0", "{story}");
    let story = agent.wait_for_cause(&node_name(1), "script-failed", SOON)?;
    ensure!(story == "exit code 1: about node-1", "{story}");
    Ok(())
}

#[test]
fn a_child_follows_its_parent() -> Result<()> {
    let (mut lab, agent) = bring_up(small(), "check = \"tcp\"")?;
    agent.wait_for_health(1, true, SOON)?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let text = checked(&config, "check = \"tcp\"");
    let text = text.replace(
        "name = \"node-1\"",
        "name = \"node-1\", parent = \"node-0\"",
    );
    agent.reload(&text)?;
    agent.wait_for_health(1, true, SOON)?;
    lab.kill_dante(0);
    agent.wait_for_health(1, false, SOON)?;
    ensure!(
        agent
            .log()
            .contains("node node-1 of pool socksservers follows node-0"),
        "{}",
        agent.log()
    );
    lab.start_dante(0)?;
    agent.wait_for_health(1, true, SOON)
}
