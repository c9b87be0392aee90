//! By records of a name.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::name_server::{Manner, NameServer, Service};
use redirector_tests::lab::plan::{ROUTER, SOCKS_PORT};
use redirector_tests::lab::{Lab, Topology};

use super::running::{Watched, at, config, lab, require_whole};

const SERVICES: &str = "_socks._tcp.lab";
const ADDRESSES: &str = "dante.lab";
const HOSTS: [&str; 3] = ["dante-0.lab", "dante-1.lab", "dante-2.lab"];

fn at_router() -> SocketAddr {
    (ROUTER, 53).into()
}

fn service(node: usize, priority: u16) -> Service {
    Service {
        priority,
        weight: 10,
        port: SOCKS_PORT,
        host: HOSTS[node],
    }
}

struct Running {
    lab: Lab,
    agent: Agent,
    server: NameServer,
}

impl Running {
    fn new(name: &str) -> Result<Self> {
        let lab = lab(Topology::TwoArmed)?;
        let server = NameServer::start(lab.router(), at_router())?;
        for (node, host) in HOSTS.into_iter().enumerate() {
            server.set(host, &[at(node)]);
        }
        server.set(ADDRESSES, &[at(1), at(0)]);
        server.set_services(SERVICES, &[service(0, 5), service(1, 5)]);
        let source = format!(
            "[pool.socksservers.dns]\nname = \"{name}\"\n\
             [dns]\ninterval = \"1s\"\ntimeout = \"500ms\"\nservers = [\"{}\"]\n",
            at_router()
        );
        let agent = Agent::start(&lab, &config(Topology::TwoArmed, &source))?;
        Ok(Self { lab, agent, server })
    }

    fn watched(&self) -> Watched<'_> {
        Watched {
            lab: &self.lab,
            agent: &self.agent,
        }
    }
}

#[test]
fn the_services_of_a_name_are_the_nodes_and_stay_while_nobody_answers() -> Result<()> {
    let running = Running::new(SERVICES)?;
    let (watched, server) = (running.watched(), &running.server);
    watched.wait_for_slots(&HOSTS[..2])?;
    let homes = watched.homes()?;
    let transfers = watched.transfers()?;
    server.set_services(SERVICES, &[service(0, 5), service(1, 5), service(2, 5)]);
    let took = watched.wait_for_slots(&HOSTS)?;
    println!(
        "another service takes clients {took:?} after it is named; the name is looked up each second"
    );
    server.set_services(SERVICES, &[service(0, 5), service(1, 5), service(2, 9)]);
    watched.wait_for_slots(&HOSTS[..2])?;
    assert_eq!(
        watched.homes()?,
        homes,
        "one that is of a lower priority waits"
    );
    let digest = watched.digest()?;
    for manner in [Manner::Mute, Manner::NoSuchName, Manner::Garbage] {
        server.behave(manner);
        watched.wait_for_failure("dns", Some(&format!("dns {SERVICES}")))?;
        assert_eq!(watched.homes()?, homes, "{manner:?}");
        assert_eq!(watched.digest()?, digest, "{manner:?}");
        server.behave(Manner::Honest);
        watched.wait_for_failure("dns", None)?;
    }
    // Ports that are none of the redirect's are nobody's.
    let other = Service {
        port: SOCKS_PORT + 1,
        ..service(2, 5)
    };
    server.set_services(SERVICES, &[service(1, 5), other]);
    watched.wait_for_slots(&HOSTS[1..2])?;
    watched.wait_for_failure(
        "dns",
        Some("it has port 1081, and redirect `socksbalance` forwards to 1080"),
    )?;
    assert_eq!(watched.served()?, [1].into());
    require_whole(&transfers, "after a service has gone")?;
    Ok(())
}

#[test]
fn every_address_of_a_name_is_a_node() -> Result<()> {
    let running = Running::new(ADDRESSES)?;
    let (watched, server) = (running.watched(), &running.server);
    let names = [0, 1, 2].map(|node| at(node).to_string());
    let named =
        |nodes: &[usize]| -> Vec<&str> { nodes.iter().map(|node| names[*node].as_str()).collect() };
    watched.wait_for_slots(&named(&[0, 1]))?;
    let transfers = watched.transfers()?;
    server.behave(Manner::Shuffling);
    server.set(ADDRESSES, &[at(2), at(1), at(0)]);
    watched.wait_for_slots(&named(&[0, 1, 2]))?;
    server.set(ADDRESSES, &[at(2)]);
    watched.wait_for_slots(&named(&[2]))?;
    ensure!(watched.served()? == [2].into(), "somebody else has clients");
    require_whole(&transfers, "after addresses have gone")
}
