//! The SOCKS checks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name, node_name_in};
use redirector_tests::lab::plan::{Family, SHARED, TARGET};
use redirector_tests::lab::socks_server::{PASSWORD, USER};
use redirector_tests::lab::{Lab, LabOptions, Topology};

use super::{SOON, bring_up, checked, small};

const CONNECT: &str = "check = { type = \"socks5\", connect = \"192.0.2.80:80\" }";

/// The same nodes in a second pool, checked by tcp, behind another port.
fn and_by_tcp(text: &str) -> String {
    let from = text.find("[pool.socksservers]").unwrap_or_default();
    let to = text.find("[flows]").unwrap_or(text.len());
    let twin = text[from..to]
        .replace("socksservers", "by-tcp")
        .replace("socksbalance", "by-tcp")
        .replace("\"node-", "\"tcp-")
        .replace("10.0.0.1:1080", "10.0.0.1:1081")
        .replace(CONNECT, "check = \"tcp\"");
    format!("{text}\n{twin}")
}

#[test]
fn a_danted_that_cannot_forward_is_taken_out_by_socks5_and_kept_by_tcp() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = Agent::start(&lab, &and_by_tcp(&checked(&config, CONNECT)))?;
    let (good, tcp) = (node_name(0), "tcp-0");
    for name in [good.as_str(), tcp] {
        agent.wait_for_cause(name, "ok", SOON)?;
    }
    lab.node_host(0)?
        .ip(&format!("route add unreachable {TARGET}/32"))?;
    let story = agent.wait_for_cause(&good, "not-forwarding-host-unreachable", SOON)?;
    ensure!(story.contains("host unreachable (reply 4"), "{story}");
    agent.wait_for_health(0, false, SOON)?;
    ensure!(agent.log().contains("not forwarding: host unreachable"));
    // Two more rounds of checks have passed when this is through.
    for client in lab.clients() {
        ensure!(lab.connect(client, SHARED)?.node == 1, "{client}");
    }
    let (cause, story) = agent.last_check(tcp)?;
    ensure!(cause == "ok", "tcp says {cause}: {story}");
    ensure!(agent.node(tcp)?["health"] == "up");
    lab.node_host(0)?
        .ip(&format!("route del unreachable {TARGET}/32"))?;
    agent.wait_for_cause(&good, "ok", SOON)?;
    agent.wait_for_health(0, true, SOON)
}

#[test]
fn the_canary_may_be_asked_something_and_must_answer_that() -> Result<()> {
    let ask = |expect: &str| {
        format!(
            "check = {{ type = \"socks5\", connect = \"192.0.2.80:80\", send = \"GET / HTTP/1.0\\r\\n\\r\\n\", \
             expect = \"{expect}\" }}"
        )
    };
    let (_lab, agent) = bring_up(small(), &ask("HTTP/1.? 200*"))?;
    agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    agent.reload(&checked(&config, &ask("HTTP/1.? 404*")))?;
    let story = agent.wait_for_cause(&node_name(0), "not-forwarding-wrong-answer", SOON)?;
    ensure!(story.contains("HTTP/1.1 200 OK"), "{story}");
    Ok(())
}

#[test]
fn a_login_is_made_with_the_password_of_a_file_which_nobody_gets_to_see() -> Result<()> {
    let lab = Lab::new(
        Topology::TwoArmed,
        LabOptions {
            login_required: true,
            ..small()
        },
    )?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let file = std::env::temp_dir().join(format!("redirector-lab-{}.password", lab.identity()));
    let with_login = format!(
        "check = {{ type = \"socks5\", connect = \"192.0.2.80:80\", username = \"{USER}\", \
         password-file = \"{}\" }}",
        file.display()
    );
    fs::write(&file, format!("{PASSWORD}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let tried = (|| {
        let agent = Agent::start(&lab, &checked(&config, &with_login))?;
        agent.wait_for_cause(&node_name(0), "ok", SOON)?;
        fs::write(&file, "not-the-password\n")?;
        agent.cli(&["reload"])?;
        let story = agent.wait_for_cause(&node_name(0), "auth-refused", SOON)?;
        ensure!(story.contains(USER), "{story}");
        agent.reload(&checked(&config, CONNECT))?;
        agent.wait_for_cause(&node_name(0), "auth-refused", SOON)?;
        fs::write(&file, PASSWORD)?;
        agent.reload(&checked(&config, &with_login))?;
        agent.wait_for_cause(&node_name(0), "ok", SOON)?;
        fs::remove_file(&file)?;
        let error = agent.cli(&["reload"]).err();
        let error = error.map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(error.contains(&file.display().to_string()), "{error}");
        agent.wait_for_cause(&node_name(0), "ok", SOON)?;
        for text in [
            agent.log(),
            agent.show("nodes")?.to_string(),
            agent.show("summary")?.to_string(),
        ] {
            ensure!(!text.contains(PASSWORD) && !text.contains("not-the-password"));
        }
        Ok(())
    })();
    // It is gone already where all went well.
    let _ = fs::remove_file(&file);
    tried
}

#[test]
fn socks4_is_spoken_too() -> Result<()> {
    let check =
        "check = { type = \"socks4\", connect = \"192.0.2.80:80\", username = \"monitor\" }";
    let (lab, agent) = bring_up(small(), check)?;
    agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    lab.node_host(0)?
        .ip(&format!("route add unreachable {TARGET}/32"))?;
    let story = agent.wait_for_cause(&node_name(0), "not-forwarding-rejected", SOON)?;
    ensure!(story.contains("socks4 reply 91"), "{story}");
    ensure!(agent.is_up(1)?);
    Ok(())
}

#[test]
fn datagrams_go_there_and_back_through_an_association() -> Result<()> {
    let associate =
        |more: &str| format!("check = {{ type = \"socks5\", udp-associate = true{more} }}");
    let (lab, agent) = bring_up(small(), &associate(", udp-canary = \"192.0.2.80:7\""))?;
    let story = agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    ensure!(story == "udp there and back to 192.0.2.80:7", "{story}");
    // Nobody listens on that port; the association itself is granted.
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    agent.reload(&checked(
        &config,
        &associate(", udp-canary = \"192.0.2.80:9\""),
    ))?;
    agent.wait_for_cause(&node_name(0), "udp-broken", SOON)?;
    agent.reload(&checked(&config, &associate("")))?;
    let story = agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    ensure!(story == "udp association granted", "{story}");
    let who = associate(
        ", udp-canary = \"192.0.2.80:113\", udp-send = \"?\", udp-expect = \"192.0.2.2:*\"",
    );
    agent.reload(&checked(&config, &who))?;
    agent.wait_for_cause(&node_name(0), "ok", SOON)?;
    let story = agent.wait_for_cause(&node_name(1), "udp-broken", SOON)?;
    ensure!(story.contains("answers \"192.0.2.3:"), "{story}");
    drop(lab);
    Ok(())
}

#[test]
fn nodes_are_checked_over_ipv6_and_all_checks_must_succeed() -> Result<()> {
    let checks = |port: u16| {
        format!(
            "checks = [\"tcp\", {{ type = \"socks5\", connect = \"192.0.2.80:80\", udp-associate = true }}, \
             {{ type = \"socks5\", connect = \"[2001:db8:c000::50]:{port}\" }}]"
        )
    };
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig {
        families: Family::ALL.to_vec(),
        ..AgentConfig::new(Topology::TwoArmed, 2)
    };
    let agent = Agent::start(&lab, &checked(&config, &checks(80)))?;
    let names = Family::ALL.map(|family| node_name_in(0, family));
    for name in &names {
        agent.wait_for_cause(name, "ok", SOON)?;
    }
    agent.reload(&checked(&config, &checks(81)))?;
    for name in &names {
        agent.wait_for_cause(name, "not-forwarding-connection-refused", SOON)?;
    }
    Ok(())
}
