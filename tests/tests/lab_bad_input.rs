//! What can't work ends with exit code 1, a clear text, and nothing attached.
#![cfg(feature = "lab")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::plan::{RELAY_INSIDE, SHARED, node_inside};
use redirector_tests::lab::{Lab, LabOptions, Topology};

fn small_lab() -> Result<Lab> {
    Lab::new(
        Topology::TwoArmed,
        LabOptions {
            nodes: 2,
            on_link_clients: 2,
            far_clients: 0,
            ..LabOptions::default()
        },
    )
}

fn good() -> String {
    AgentConfig::new(Topology::TwoArmed, 2).to_toml()
}

/// Runs to its end, which must come within five seconds.
fn output_of(command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start {command:?}"))?;
    let limit = Instant::now() + Duration::from_secs(5);
    while child.try_wait()?.is_none() {
        if Instant::now() > limit {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("{command:?} goes on as if all were well");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(child.wait_with_output()?)
}

/// Exit code 1, each of `words` in the error, and nothing left.
fn require_refusal(lab: &Lab, agent: &Agent, command: &mut Command, words: &[&str]) -> Result<()> {
    let output = output_of(command)?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "{} instead of exit code 1: {text}",
        output.status
    );
    for word in words {
        ensure!(text.contains(word), "`{word}` is missing in: {text}");
    }
    ensure!(!text.contains("panicked"), "{text}");
    let residue = agent.residue(lab)?;
    ensure!(residue.is_empty(), "left behind: {residue:?}");
    Ok(())
}

fn refused(config: &str, words: &[&str]) -> Result<()> {
    let lab = small_lab()?;
    let agent = Agent::prepare(&lab, config)?;
    require_refusal(&lab, &agent, &mut agent.run_command(), words)
}

#[test]
fn the_configuration_that_the_others_vary_is_accepted() -> Result<()> {
    let lab = small_lab()?;
    Agent::start(&lab, &good())?;
    Ok(())
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    refused(&good().replace("\"nodes\"]", "\"wlan7\"]"), &["wlan7"])
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let lab = small_lab()?;
    let agent = Agent::prepare(&lab, "")?;
    let mut command = lab.relay().command(agent.program());
    command
        .args([
            "run",
            "--config",
            "/nonexistent/redirector.toml",
            "--socket",
        ])
        .arg(agent.socket());
    require_refusal(
        &lab,
        &agent,
        &mut command,
        &["/nonexistent/redirector.toml"],
    )
}

#[test]
fn an_unknown_key_is_named_with_its_line() -> Result<()> {
    refused(
        &good().replace("xdp-mode =", "xdp-moed ="),
        &["xdp-moed", "2:"],
    )
}

#[test]
fn what_is_not_toml_is_refused() -> Result<()> {
    refused("interfaces = [", &["redirector.toml"])
}

#[test]
fn a_node_with_the_shared_address_is_refused() -> Result<()> {
    let node = format!("\"{}\"", node_inside(1));
    refused(
        &good().replace(&node, &format!("\"{}\"", SHARED.ip())),
        &[&SHARED.ip().to_string()],
    )
}

#[test]
fn two_redirects_on_one_address_and_port_are_refused() -> Result<()> {
    let good = good();
    let redirect = good.find("[redirect.").context("no redirect")?;
    let end = good.find("[flows]").context("no flows")?;
    let twin = good[redirect..end].replace("socksbalance", "again");
    refused(&format!("{good}\n{twin}"), &["again", &SHARED.to_string()])
}

#[test]
fn without_privileges_it_says_which_are_missing() -> Result<()> {
    let lab = small_lab()?;
    let agent = Agent::prepare(&lab, &good())?.readable_by_all(&lab)?;
    let mut command = lab.relay().command("setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--bounding-set",
            "-all",
        ])
        .args(["--inh-caps", "-all"])
        .arg(agent.program())
        .args(agent.run_arguments());
    require_refusal(&lab, &agent, &mut command, &["CAP_"])
}

#[test]
fn an_invalid_file_changes_nothing_at_a_reload() -> Result<()> {
    let lab = small_lab()?;
    let agent = Agent::start(&lab, &good())?;
    agent.wait_for_health(0, true, Duration::from_secs(5))?;
    let node = lab.connect(lab.clients()[0], SHARED)?.node;
    agent.write_config(&good().replace("weight = 1", "weight = -1"))?;
    let output = agent.cli_output(&["reload"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
    assert!(agent.is_up(0)?);
    assert_eq!(lab.connect(lab.clients()[0], SHARED)?.node, node);
    Ok(())
}

#[test]
fn the_relays_own_address_inside_is_no_trouble_as_a_client_of_the_nodes() -> Result<()> {
    let lab = small_lab()?;
    let agent = Agent::start(&lab, &good())?;
    agent.wait_for_health(0, true, Duration::from_secs(5))?;
    let direct = std::net::SocketAddrV4::new(node_inside(0), SHARED.port());
    let probe = lab.relay().run(|| {
        redirector_tests::lab::socks::connect_from(RELAY_INSIDE, direct, Duration::from_secs(1))
    })?;
    assert!(probe.is_ok(), "{probe:?}");
    Ok(())
}

#[test]
fn tcp_that_avoids_the_shared_address_is_dropped_and_passes_again_after_a_clean_stop() -> Result<()>
{
    let direct = std::net::SocketAddrV4::new(node_inside(0), SHARED.port());
    let lab = small_lab()?;
    let mut agent = Agent::start(&lab, &good())?;
    agent.wait_for_health(0, true, Duration::from_secs(5))?;
    let client = lab.clients()[0];
    lab.connect(client, SHARED)?;
    let session = lab.connect_within(client, direct, Duration::from_secs(1));
    assert!(session.is_err(), "{session:?}");
    agent.stop()?;
    lab.connect(client, direct)?;
    Ok(())
}
