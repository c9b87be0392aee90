//! What becomes of every kind of packet on its way through the redirector, with real Dante and real clients.
#![cfg(feature = "lab")]

mod agent_gone;
mod associations;
mod bypass;
mod checksums;
mod commands;
mod every_way;
mod jumbo;
mod paths;
mod shared_address;
mod tc;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::plan::{Family, SHARED};
use redirector_tests::lab::{Lab, LabOptions, Topology};

const SOON: Duration = Duration::from_millis(300);

/// How clients, relay and nodes are connected.
#[derive(Clone, Copy, Debug)]
struct Way {
    topology: Topology,
    direct_return: bool,
}

impl Way {
    const TWO_ARMED: Self = Self {
        topology: Topology::TwoArmed,
        direct_return: false,
    };
    const ONE_ARMED: Self = Self {
        topology: Topology::OneArmed,
        direct_return: false,
    };
    const TRANSLATED: [Self; 2] = [Self::TWO_ARMED, Self::ONE_ARMED];
    const TWO_ARMED_DIRECT_RETURN: Self = Self {
        topology: Topology::TwoArmed,
        direct_return: true,
    };
    const ONE_ARMED_DIRECT_RETURN: Self = Self {
        topology: Topology::OneArmed,
        direct_return: true,
    };
}

fn small() -> LabOptions {
    LabOptions {
        nodes: 2,
        on_link_clients: 3,
        far_clients: 3,
        ..LabOptions::default()
    }
}

/// A lab and an agent that serves both families, with associations by way of the shared address.
fn bring_up(way: Way, options: LabOptions) -> Result<(Lab, Agent)> {
    bring_up_with(way, options, |_| ())
}

fn bring_up_with(
    way: Way,
    options: LabOptions,
    change: impl FnOnce(&mut AgentConfig),
) -> Result<(Lab, Agent)> {
    let lab = Lab::new(
        way.topology,
        LabOptions {
            direct_return: way.direct_return,
            ..options
        },
    )?;
    let agent = start_agent(&lab, way, change)?;
    Ok((lab, agent))
}

fn start_agent(lab: &Lab, way: Way, change: impl FnOnce(&mut AgentConfig)) -> Result<Agent> {
    let mut config = AgentConfig {
        families: Family::ALL.to_vec(),
        route_to: way.direct_return,
        udp_associate: "shared",
        interval: "300ms".to_owned(),
        ..AgentConfig::new(way.topology, lab.node_count())
    };
    change(&mut config);
    let agent = Agent::start(lab, &config.to_toml())?;
    agent.wait_for_all(&config, Duration::from_secs(5))?;
    Ok(agent)
}

/// The shared address as a client of this family knows it.
fn shared(client: IpAddr) -> SocketAddr {
    Family::of(client).endpoint(SHARED)
}

/// In each family a client on the relay's own network and one behind the router.
fn near_and_far(lab: &Lab) -> Vec<IpAddr> {
    let of = |family| lab.clients_in(family).into_iter().take(2);
    Family::ALL.into_iter().flat_map(of).collect()
}

/// Bytes of which no two neighbours are the same.
fn payload(size: usize) -> Vec<u8> {
    (0..=250).cycle().take(size).collect()
}

/// Much to the target and back in segments as long as the hosts think fit; the target's checks want numbered records.
fn bulk(lab: &Lab, client: IpAddr) -> Result<()> {
    let records = (0..80_u64).flat_map(|number| number.to_be_bytes().repeat(64));
    let records: Vec<u8> = records.collect();
    let mut stream = lab.connect(client, shared(client))?.stream;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&records)?;
    let mut back = vec![0; records.len()];
    stream
        .read_exact(&mut back)
        .with_context(|| format!("it did not come back to {client}"))?;
    ensure!(back == records, "it came back otherwise");
    Ok(())
}

/// The addresses that a captured frame goes from and to.
fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        NetSlice::Arp(_) => None,
    }
}
