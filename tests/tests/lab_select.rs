//! Each mode shares connections out as it says, and no connection moves when nodes come and go.
#![cfg(feature = "lab")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};

const SOON: Duration = Duration::from_secs(10);
const NODES: usize = 3;

/// Connections that are shared out.
const CONNECTIONS: u32 = 240;

/// A configuration of this mode, with more lines in the redirect.
fn written(config: &AgentConfig, mode: &str, more: &str) -> String {
    config
        .to_toml()
        .replace("mode = \"source-hash\"", &format!("mode = \"{mode}\""))
        .replace("\nudp-associate", &format!("\n{more}\nudp-associate"))
}

fn bring_up(config: &AgentConfig, mode: &str, more: &str) -> Result<(Lab, Agent)> {
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let agent = Agent::start(&lab, &written(config, mode, more))?;
    agent.wait_for_all(config, SOON)?;
    Ok((lab, agent))
}

/// Connections of four clients, all of them open at the end, by node.
fn share_out(lab: &Lab) -> Result<Vec<u32>> {
    let clients: Vec<Ipv4Addr> = lab.clients().into_iter().take(4).collect();
    let mut shares = vec![0; NODES];
    let mut open = Vec::new();
    for client in clients.iter().cycle().take(CONNECTIONS as usize) {
        let session = lab.connect(*client, SHARED)?;
        *shares.get_mut(session.node).context("an unknown node")? += 1;
        open.push(session);
    }
    Ok(shares)
}

/// How much more the fullest of these has than its share, by `weights`.
fn excess(shares: &[u32], weights: &[u32]) -> f64 {
    let all: u32 = weights.iter().sum();
    let fullness = shares.iter().zip(weights).map(|(share, weight)| {
        f64::from(*share) * f64::from(all) / f64::from(*weight) / f64::from(CONNECTIONS)
    });
    fullness.fold(0.0, f64::max)
}

#[test]
fn each_mode_shares_the_connections_of_few_clients_out_by_weight() -> Result<()> {
    let weights: [u32; NODES] = [1, 1, 2];
    for (mode, most) in [
        ("round-robin", 1.02),
        ("least-states", 1.12),
        // Four standard deviations of the smallest share.
        ("random", 1.47),
    ] {
        let mut config = AgentConfig::new(Topology::TwoArmed, NODES);
        config.nodes = weights.into_iter().enumerate().collect();
        let (lab, agent) = bring_up(&config, mode, "")?;
        let shares = share_out(&lab)?;
        let excess = excess(&shares, &weights);
        println!("@balance {mode} {shares:?} {excess:.3}");
        assert!(excess < most, "{mode}: {shares:?}");
        let redirects = agent.show("redirects")?;
        assert_eq!(redirects[0]["mode"], mode);
        assert_eq!(redirects[0]["tracks_all"], true);
    }
    Ok(())
}

#[test]
fn by_source_hash_each_client_has_one_node() -> Result<()> {
    let config = AgentConfig::new(Topology::TwoArmed, NODES);
    for more in ["", "track = \"all\""] {
        let (lab, _agent) = bring_up(&config, "source-hash", more)?;
        for client in lab.clients().into_iter().take(6) {
            let mut nodes = BTreeSet::new();
            for _ in 0..10 {
                nodes.insert(lab.connect(client, SHARED)?.node);
            }
            assert_eq!(nodes.len(), 1, "{client}: {nodes:?}");
        }
    }
    Ok(())
}

#[test]
fn sticky_keeps_a_prefix_together() -> Result<()> {
    let config = AgentConfig::new(Topology::TwoArmed, NODES);
    let prefixes = |lab: &Lab| -> Result<BTreeMap<[u8; 3], BTreeSet<usize>>> {
        let mut nodes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for client in lab.clients() {
            let [a, b, c, _] = client.octets();
            let node = lab.connect(client, SHARED)?.node;
            nodes.entry([a, b, c]).or_default().insert(node);
        }
        Ok(nodes)
    };
    let (lab, agent) = bring_up(&config, "source-hash", "sticky = 24")?;
    for (prefix, nodes) in prefixes(&lab)? {
        assert_eq!(nodes.len(), 1, "{prefix:?}");
    }
    let refused = agent.reload(&written(&config, "source-hash", ""));
    let refused = refused.err().context("clients would have moved")?;
    assert!(format!("{refused:#}").contains("sticky"), "{refused:#}");
    drop((agent, lab));
    let (lab, _agent) = bring_up(&config, "source-hash", "")?;
    let apart = prefixes(&lab)?;
    assert!(apart.values().any(|nodes| nodes.len() > 1), "{apart:?}");
    Ok(())
}

#[test]
fn no_connection_moves_when_nodes_are_drained_and_added_or_the_mode_changes() -> Result<()> {
    for mode in ["random", "round-robin", "least-states"] {
        let mut fewer = AgentConfig::new(Topology::TwoArmed, NODES);
        fewer.nodes.truncate(2);
        let all = AgentConfig::new(Topology::TwoArmed, NODES);
        // Begun while the client's slot decided.
        let (lab, agent) = bring_up(&fewer, "source-hash", "")?;
        let clients: Vec<_> = lab.clients().into_iter().take(8).collect();
        let start = || -> Result<Vec<Transfer>> {
            let sessions = clients.iter().map(|client| lab.connect(*client, SHARED));
            sessions.map(|session| Transfer::start(session?)).collect()
        };
        let mut transfers = start()?;
        agent.reload(&written(&fewer, mode, ""))?;
        transfers.extend(start()?);
        agent.reload(&written(&all, mode, ""))?;
        agent.wait_for_all(&all, SOON)?;
        transfers.extend(start()?);
        agent.cli(&["node", "drain", &node_name(0)])?;
        wait_until("new connections to avoid the node", SOON, || {
            for client in &clients {
                ensure!(lab.connect(*client, SHARED)?.node != 0, "{client} is there");
            }
            Ok(())
        })?;
        transfers.extend(start()?);
        agent.reload(&written(&all, "source-hash", ""))?;
        std::thread::sleep(Duration::from_secs(2));
        for transfer in &transfers {
            let report = transfer.report();
            ensure!(!transfer.is_broken(), "{mode}: {report:?}");
            ensure!(
                report.bytes > 0 && report.max_gap < Duration::from_secs(1),
                "{mode}: {report:?}"
            );
        }
        println!("@kept {mode} {}", transfers.len());
    }
    Ok(())
}
