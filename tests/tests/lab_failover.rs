//! Clients keep being served when nodes die, and connections whose node lives never notice.
#![cfg(feature = "lab")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::flood::Flood;
use redirector_tests::lab::loss::{self, lost};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, require_unbroken, wait_until};

const SOON: Duration = Duration::from_secs(5);

fn bring_up(topology: Topology, nodes: usize, config: &AgentConfig) -> Result<(Lab, Agent)> {
    let lab = Lab::new(
        topology,
        LabOptions {
            nodes,
            ..LabOptions::default()
        },
    )?;
    let agent = Agent::start(&lab, &config.to_toml())?;
    for (node, _) in &config.nodes {
        agent.wait_for_health(*node, true, SOON)?;
    }
    Ok((lab, agent))
}

/// Some clients with the node that serves each.
fn homes(lab: &Lab, clients: usize) -> Result<BTreeMap<Ipv4Addr, usize>> {
    lab.clients()
        .into_iter()
        .take(clients)
        .map(|client| Ok((client, lab.connect(client, SHARED)?.node)))
        .collect()
}

#[test]
fn the_clients_of_a_dead_node_are_served_by_others_within_two_seconds() -> Result<()> {
    for topology in Topology::ALL {
        let (mut lab, _agent) = bring_up(topology, 3, &AgentConfig::new(topology, 3))?;
        let homes = homes(&lab, 24)?;
        let (first, victim) = homes
            .first_key_value()
            .map(|(client, node)| (*client, *node))
            .context("no client")?;
        let died = Instant::now();
        lab.kill_node(victim)?;
        wait_until("another node to take over", Duration::from_secs(2), || {
            lab.connect_within(first, SHARED, Duration::from_millis(200))
        })?;
        let took = died.elapsed();
        assert!(
            took < Duration::from_secs(2),
            "{} ms in {topology:?}",
            took.as_millis()
        );
        for (client, home) in &homes {
            let node = lab.connect(*client, SHARED)?.node;
            assert_ne!(node, victim, "{client}");
            if *home != victim {
                assert_eq!(node, *home, "{client} is a bystander and must stay");
            }
        }
    }
    Ok(())
}

#[test]
fn the_clients_of_a_node_that_comes_back_return_to_it_with_new_connections_only() -> Result<()> {
    for topology in Topology::ALL {
        let (mut lab, agent) = bring_up(topology, 3, &AgentConfig::new(topology, 3))?;
        let homes = homes(&lab, 24)?;
        let victim = *homes.values().next().context("no client")?;
        lab.kill_node(victim)?;
        agent.wait_for_health(victim, false, SOON)?;
        let transfers = start_transfers(&lab, homes.keys())?;
        lab.revive_node(victim)?;
        agent.wait_for_health(victim, true, SOON)?;
        wait_until("every client to be at home", SOON, || {
            for (client, home) in &homes {
                ensure!(
                    lab.connect(*client, SHARED)?.node == *home,
                    "{client} is not at home"
                );
            }
            Ok(())
        })?;
        std::thread::sleep(Duration::from_secs(1));
        require_whole(&transfers)?;
    }
    Ok(())
}

/// A lost SYN or SYN-ACK comes again after a second.
#[test]
fn the_first_connection_of_a_client_that_the_relay_never_heard_of_loses_no_packet() -> Result<()> {
    for topology in Topology::ALL {
        let (lab, _agent) = bring_up(topology, 3, &AgentConfig::new(topology, 3))?;
        for client in lab.clients() {
            let start = Instant::now();
            lab.connect(client, SHARED)?;
            let took = start.elapsed();
            assert!(
                took < Duration::from_millis(700),
                "{client}, {topology:?}: {took:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn connections_go_on_while_their_node_fails_its_checks_and_new_ones_avoid_it() -> Result<()> {
    let (lab, agent) = bring_up(
        Topology::TwoArmed,
        3,
        &AgentConfig::new(Topology::TwoArmed, 3),
    )?;
    let homes = homes(&lab, 24)?;
    let mute = *homes.values().next().context("no client")?;
    let transfers = start_transfers(&lab, homes.keys())?;
    lab.fail_checks(mute)?;
    agent.wait_for_health(mute, false, SOON)?;
    for client in homes.keys() {
        assert_ne!(lab.connect(*client, SHARED)?.node, mute);
    }
    std::thread::sleep(Duration::from_secs(3));
    require_whole(&transfers)
}

#[test]
fn no_connection_of_a_living_node_breaks_in_sixty_random_changes() -> Result<()> {
    random_changes(Topology::TwoArmed, None)
}

#[test]
fn no_connection_of_a_living_node_breaks_in_sixty_random_changes_under_a_syn_flood() -> Result<()> {
    random_changes(Topology::TwoArmed, Some(40_960))
}

#[test]
fn no_connection_of_a_living_node_breaks_in_sixty_random_changes_with_one_arm() -> Result<()> {
    random_changes(Topology::OneArmed, None)
}

/// What a change does to the world or to the configuration.
#[derive(Clone, Copy, Debug)]
enum Change {
    Kill,
    Revive,
    FailChecks,
    HealChecks,
    Remove,
    Add,
    Weigh,
}

const CHANGES: usize = 60;
const NODES: usize = 5;

/// Nodes 0 and 1 are never killed, so that there is always somebody to serve.
fn random_changes(topology: Topology, flood: Option<u64>) -> Result<()> {
    let seed = std::env::var("LAB_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_240_601);
    println!("LAB_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut config = AgentConfig::new(topology, NODES);
    config.max_flows = 4096;
    let (mut lab, agent) = bring_up(topology, NODES, &config)?;
    let clients = lab.clients();
    let mut transfers = start_transfers(&lab, clients.iter().take(24))?;
    // Spread over the whole run: more than a second for every change.
    let flood = flood
        .map(|count| Flood::start(lab.router(), SHARED, count, 1_000))
        .transpose()?;
    let mut dead = [false; NODES];
    let mut mute = [false; NODES];
    for step in 0..CHANGES {
        let node = random.random_range(2..NODES);
        let listed = config.nodes.iter().any(|(listed, _)| *listed == node);
        let mut possible = vec![Change::Weigh];
        possible.push(if dead[node] {
            Change::Revive
        } else {
            Change::Kill
        });
        if !dead[node] {
            possible.push(if mute[node] {
                Change::HealChecks
            } else {
                Change::FailChecks
            });
        }
        possible.push(if listed { Change::Remove } else { Change::Add });
        let change = *possible
            .choose(&mut random)
            .context("nothing is possible")?;
        println!("{step}: {change:?} of node {node}");
        match change {
            Change::Kill => {
                // Its connections die with it, and with nothing else.
                transfers.retain(|transfer| transfer.node() != node || transfer.is_broken());
                lab.kill_node(node)?;
                (dead[node], mute[node]) = (true, false);
            }
            Change::Revive => {
                lab.revive_node(node)?;
                dead[node] = false;
            }
            Change::FailChecks => {
                lab.fail_checks(node)?;
                mute[node] = true;
            }
            Change::HealChecks => {
                lab.heal_checks(node)?;
                mute[node] = false;
            }
            Change::Remove => config.nodes.retain(|(listed, _)| *listed != node),
            Change::Add => config.nodes.push((node, 1)),
            Change::Weigh => {
                let index = random.random_range(0..config.nodes.len());
                config.nodes[index].1 = random.random_range(1..=8);
            }
        }
        if matches!(change, Change::Remove | Change::Add | Change::Weigh) {
            agent.reload(&config.to_toml())?;
        }
        std::thread::sleep(Duration::from_millis(random.random_range(50..700)));
        require_unbroken(&transfers)
            .with_context(|| format!("after step {step}, {change:?} of node {node}"))?;
        // New connections come and are kept too; before a dead node is noticed one may fail.
        if let Some(client) = clients.choose(&mut random)
            && let Ok(session) = lab.connect_within(*client, SHARED, Duration::from_millis(500))
            && transfers.len() < 64
        {
            transfers.push(Transfer::start(session)?);
        }
    }
    if let Some(flood) = flood {
        println!("{} SYNs of a flood were sent", flood.finish()?);
    }
    require_unbroken(&transfers)?;
    let served: u64 = transfers
        .iter()
        .map(|transfer| transfer.report().bytes)
        .sum();
    println!("{} transfers are alive, {served} bytes", transfers.len());
    ensure!(
        transfers.len() >= 10,
        "only {} transfers have lived on living nodes",
        transfers.len()
    );
    Ok(())
}

#[test]
fn forwarding_goes_on_when_the_agent_is_killed_and_a_new_one_adopts_it_without_a_lost_packet()
-> Result<()> {
    for topology in Topology::ALL {
        let (lab, mut agent) = bring_up(topology, 3, &AgentConfig::new(topology, 3))?;
        let homes = homes(&lab, 24)?;
        let transfers = start_transfers(&lab, homes.keys())?;
        std::thread::sleep(Duration::from_millis(500));
        let before = lost(&lab)?;
        agent.kill()?;
        std::thread::sleep(Duration::from_secs(1));
        for (client, home) in &homes {
            assert_eq!(
                lab.connect(*client, SHARED)?.node,
                *home,
                "{client} while there is no agent"
            );
        }
        agent.start_again()?;
        std::thread::sleep(Duration::from_secs(2));
        require_whole(&transfers)?;
        loss::require_whole(&lab, &transfers, before, "with another agent")?;
        for (client, home) in &homes {
            assert_eq!(
                lab.connect(*client, SHARED)?.node,
                *home,
                "{client} after the restart"
            );
        }
    }
    Ok(())
}

#[test]
fn a_clean_stop_leaves_nothing_and_the_next_start_serves_again() -> Result<()> {
    for topology in Topology::ALL {
        let (lab, mut agent) = bring_up(topology, 2, &AgentConfig::new(topology, 2))?;
        assert!(
            !agent.residue(&lab)?.is_empty(),
            "a running agent has pins, a socket and programs"
        );
        let status = agent.stop()?;
        assert!(status.success(), "{status}");
        assert_eq!(agent.residue(&lab)?, Vec::<String>::new());
        assert!(
            lab.connect_within(lab.clients()[0], SHARED, Duration::from_millis(300))
                .is_err()
        );
        agent.start_again()?;
        wait_until("service", SOON, || {
            lab.connect_within(lab.clients()[0], SHARED, Duration::from_millis(300))
        })?;
    }
    Ok(())
}

#[test]
fn an_agent_that_was_killed_leaves_its_pins() -> Result<()> {
    let (lab, mut agent) = bring_up(
        Topology::TwoArmed,
        2,
        &AgentConfig::new(Topology::TwoArmed, 2),
    )?;
    agent.kill()?;
    let residue = agent.residue(&lab)?;
    assert!(
        residue.iter().any(|line| line.contains("/bpf/")),
        "{residue:?}"
    );
    assert!(
        residue.iter().any(|line| line.contains("xdp")),
        "{residue:?}"
    );
    Ok(())
}

#[test]
fn every_captured_frame_on_both_sides_has_good_checksums() -> Result<()> {
    for topology in Topology::ALL {
        let (lab, _agent) = bring_up(topology, 2, &AgentConfig::new(topology, 2))?;
        let mut captures = vec![
            Capture::start(lab.client_host(), "eth0")?,
            Capture::start(lab.router(), "near")?,
            Capture::start(lab.node_host(0)?, "inside")?,
            Capture::start(lab.node_host(1)?, "inside")?,
        ];
        let transfers = start_transfers(&lab, lab.clients().iter().take(16))?;
        for client in lab.clients().iter().take(16) {
            lab.fetch(*client, SHARED)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        require_whole(&transfers)?;
        drop(transfers);
        for capture in captures.drain(..) {
            let tcp = capture.stop_and_check()?;
            assert!(tcp > 100, "only {tcp} frames");
        }
    }
    Ok(())
}

#[test]
fn dante_logs_the_address_and_port_of_every_client() -> Result<()> {
    for topology in Topology::ALL {
        let (lab, _agent) = bring_up(topology, 2, &AgentConfig::new(topology, 2))?;
        for client in lab.clients() {
            lab.dante_line_about(&lab.connect(client, SHARED)?)?;
        }
    }
    Ok(())
}

fn start_transfers<'a>(
    lab: &Lab,
    clients: impl IntoIterator<Item = &'a Ipv4Addr>,
) -> Result<Vec<Transfer>> {
    clients
        .into_iter()
        .map(|client| Transfer::start(lab.connect(*client, SHARED)?))
        .collect()
}

/// Unbroken, and never silent for half a second.
fn require_whole(transfers: &[Transfer]) -> Result<()> {
    require_unbroken(transfers)?;
    for transfer in transfers {
        let report = transfer.report();
        ensure!(
            report.bytes > 0 && report.max_gap < Duration::from_millis(500),
            "a transfer stalled: {report:?}"
        );
    }
    Ok(())
}
