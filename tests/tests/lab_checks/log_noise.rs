//! What checks leave in Dante's log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::node_name;

use super::{SOON, bring_up, small};

/// The lines of node 0's log from its first client on, while it was checked like this a few times, without their dates.
fn lines(check: &str) -> Result<Vec<String>> {
    let (lab, agent) = bring_up(small(), check)?;
    agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    std::thread::sleep(Duration::from_secs(4));
    drop(agent);
    let log = lab.dante_log(0)?;
    let lines = log.lines().filter_map(|line| {
        let (_, said) = line.split_once("]: ")?;
        Some(said.to_owned())
    });
    // Before it Dante says what it thinks of its configuration.
    let first = |line: &String| line.contains("tcp/accept");
    Ok(lines.skip_while(|line| !first(line)).collect())
}

fn show(kind: &str, lines: &[String]) {
    println!("{kind}:");
    for line in lines {
        println!("  {line}");
    }
}

fn complaints(lines: &[String]) -> Vec<&String> {
    let mut bad = Vec::new();
    for line in lines {
        // Dante counts the bytes of ordinary ends in parentheses.
        let words = ["block(", "error", "warn", "reset", "eof from local client"];
        if words.iter().any(|word| line.contains(word)) {
            bad.push(line);
        }
    }
    bad
}

#[test]
fn socks_checks_leave_only_lines_of_ordinary_connections_in_dantes_log() -> Result<()> {
    for check in [
        "check = { type = \"socks5\", connect = \"192.0.2.80:80\" }",
        "check = { type = \"socks4\", connect = \"192.0.2.80:80\" }",
        "check = { type = \"socks5\", udp-associate = true, udp-canary = \"192.0.2.80:7\" }",
    ] {
        let lines = lines(check)?;
        show(check, &lines);
        ensure!(
            lines.iter().any(|line| line.contains("pass(1)")),
            "the checks did not come to Dante: {lines:#?}"
        );
        let complaints = complaints(&lines);
        ensure!(complaints.is_empty(), "{check}: {complaints:#?}");
    }
    Ok(())
}

/// What the others are better than.
#[test]
fn a_bare_tcp_check_is_a_client_that_hung_up_to_dante() -> Result<()> {
    let lines = lines("check = \"tcp\"")?;
    show("tcp", &lines);
    complaints(&lines)
        .first()
        .context("no complaint at all")
        .map(drop)
}
