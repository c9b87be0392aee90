//! The small lab that every kernel has to pass: native mode, both topologies, both families, UDP associations, a node
//! that dies and an agent that is killed. Limits of time are those of an emulated machine.
#![cfg(feature = "lab")]

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::plan::{ECHO, Family, SHARED};
use redirector_tests::lab::socks::Habit;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Most of it is the verifier's.
const START: Duration = Duration::from_secs(180);

fn lab_and_agent(topology: Topology) -> Result<(Lab, Agent)> {
    let lab = Lab::new(
        topology,
        LabOptions {
            nodes: 2,
            on_link_clients: 4,
            far_clients: 4,
            ..LabOptions::default()
        },
    )?;
    let config = AgentConfig {
        families: Family::ALL.to_vec(),
        udp_associate: "shared",
        ..AgentConfig::new(topology, lab.node_count())
    };
    let mut agent = Agent::prepare(&lab, &config.to_toml())?.within(START);
    agent.start_again()?;
    agent.wait_for_all(&config, PATIENCE)?;
    Ok((lab, agent))
}

fn everybody(lab: &Lab) -> impl Iterator<Item = IpAddr> {
    Family::ALL
        .into_iter()
        .flat_map(|family| lab.clients_in(family))
}

fn transfers(lab: &Lab) -> Result<Vec<Transfer>> {
    everybody(lab)
        .map(|client| {
            let shared = Family::of(client).endpoint(SHARED);
            Transfer::start(lab.connect(client, shared)?)
                .with_context(|| format!("{client} can't speak with the target"))
        })
        .collect()
}

/// All must have gone on since they were asked last.
fn go_on(transfers: &[Transfer], what: &str) -> Result<()> {
    let before: Vec<u64> = transfers.iter().map(|one| one.report().bytes).collect();
    wait_until(&format!("connections to go on {what}"), PATIENCE, || {
        for (transfer, before) in transfers.iter().zip(&before) {
            let report = transfer.report();
            ensure!(report.broken.is_none(), "{:?} {what}", report.broken);
            ensure!(
                report.bytes > *before,
                "one of node {} stands still",
                report.node
            );
        }
        Ok(())
    })
}

fn serves_clients(topology: Topology) -> Result<()> {
    let (mut lab, mut agent) = lab_and_agent(topology)?;
    for interface in topology.interfaces() {
        let link = lab.relay().ip(&format!("-o link show {interface}"))?;
        ensure!(
            link.contains("xdp") && !link.contains("xdpgeneric"),
            "{interface} does not run the program in native mode: {link}"
        );
    }
    for client in everybody(&lab).take(4) {
        let shared = Family::of(client).endpoint(SHARED);
        let speaker = lab.socks(client, shared).within(PATIENCE);
        let association = speaker.associate(Habit::ALL[0])?;
        ensure!(association.reply.bound.ip() == shared.ip());
        let echo = association.exchange(Family::of(client).endpoint(ECHO), b"to and fro")?;
        ensure!(echo.payload == b"to and fro");
    }
    let all = transfers(&lab)?;
    go_on(&all, "when nothing happens")?;

    agent.kill()?;
    go_on(&all, "without an agent")?;
    agent.start_again()?;
    for node in 0..lab.node_count() {
        agent.wait_for_health(node, true, PATIENCE)?;
    }
    go_on(&all, "with another agent")?;

    let victim = all[0].node();
    lab.kill_node(victim)?;
    agent.wait_for_health(victim, false, PATIENCE)?;
    let (_died, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.node() == victim);
    ensure!(!others.is_empty(), "all clients were of one node");
    go_on(&others, "when another node died")?;
    for client in everybody(&lab) {
        let shared = Family::of(client).endpoint(SHARED);
        let node = lab.connect(client, shared)?.node;
        ensure!(node != victim, "{client} is sent to the dead node");
    }
    ensure!(agent.counter("reply")? > 0 && agent.counter("forward-settled")? > 0);
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let residue = agent.residue(&lab)?;
    ensure!(residue.is_empty(), "{residue:?} is left");
    Ok(())
}

#[test]
fn a_two_armed_relay_serves_clients_in_native_mode() -> Result<()> {
    serves_clients(Topology::TwoArmed)
}

#[test]
fn a_one_armed_relay_serves_clients_in_native_mode() -> Result<()> {
    serves_clients(Topology::OneArmed)
}

/// The kernel's release is read from /proc, over which a file is bound here, in a mount namespace of the agent's own.
fn start_on(lab: &Lab, agent: &Agent, release: &str) -> Result<(bool, String)> {
    let told = std::env::temp_dir().join(format!("{}-osrelease", lab.identity()));
    fs::write(&told, format!("{release}\n"))?;
    let command = agent.run_command();
    let output = Command::new("timeout")
        .args(["20", "unshare", "--mount", "/bin/sh", "-c"])
        .arg("mount --bind \"$0\" /proc/sys/kernel/osrelease && exec \"$@\"")
        .arg(&told)
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .context("can't run `unshare`")?;
    fs::remove_file(Path::new(&told))?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

#[test]
fn a_kernel_that_is_too_old_is_named_with_what_is_needed() -> Result<()> {
    let lab = Lab::new(
        Topology::TwoArmed,
        LabOptions {
            nodes: 1,
            on_link_clients: 1,
            far_clients: 1,
            ..LabOptions::default()
        },
    )?;
    let config = AgentConfig::new(Topology::TwoArmed, 1);
    let agent = Agent::prepare(&lab, &config.to_toml())?;
    let (success, said) = start_on(&lab, &agent, "4.19.0-27-amd64")?;
    ensure!(!success, "it started on Linux 4.19: {said}");
    ensure!(
        said.contains("Linux 4.19.0-27-amd64 is too old") && said.contains("5.10 or later"),
        "it says: {said}"
    );
    let residue = agent.residue(&lab)?;
    let residue: Vec<_> = residue
        .iter()
        .filter(|left| !left.ends_with("/redirector"))
        .collect();
    ensure!(residue.is_empty(), "{residue:?} is left");
    Ok(())
}
