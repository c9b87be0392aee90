//! Several relays at the same time: whichever a packet comes by, connections go on.
#![cfg(feature = "lab")]

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use redirector_tests::lab::agent::AgentConfig;
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::relays::Common;
use redirector_tests::lab::several::Several;
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, require_unbroken, wait_until};

const SOON: Duration = Duration::from_secs(15);
const NODES: usize = 4;
/// Longer than two exchanges: connections that are younger when they come by another relay are not promised anything.
const EXCHANGED: Duration = Duration::from_millis(600);

struct World {
    relays: Several,
    lab: Lab,
    config: AgentConfig,
    clients: Vec<Ipv4Addr>,
    transfers: Vec<Transfer>,
}

impl World {
    /// Relays 0 and 1 serve.
    fn new(exchange: bool) -> Result<Self> {
        let lab = Lab::new(
            Topology::TwoArmed,
            LabOptions {
                nodes: NODES,
                on_link_clients: 0,
                far_clients: 64,
                ..LabOptions::default()
            },
        )?;
        let config = AgentConfig::new(Topology::TwoArmed, NODES);
        let common = Common {
            exchange,
            same_key: true,
        };
        let mut relays = Several::make(&lab, &config, common)?;
        for which in 0..2 {
            relays.start(which)?;
        }
        relays.wait_for(2, SOON)?;
        // Those on the relays' own network would have no router.
        let clients = lab.clients();
        Ok(Self {
            relays,
            lab,
            config,
            clients,
            transfers: Vec::new(),
        })
    }

    /// Starts transfers for the next `count` clients.
    fn begin(&mut self, count: usize) -> Result<()> {
        for client in &self.clients[..count] {
            let session = wait_until("a client to be served", SOON, || {
                self.lab
                    .connect_within(*client, SHARED, Duration::from_secs(1))
            })?;
            self.transfers.push(Transfer::start(session)?);
        }
        self.clients.rotate_left(count);
        Ok(())
    }

    /// Gives a node another weight, which splits slots, and has clients begin in them.
    fn change(&mut self, node: usize) -> Result<()> {
        let weight = &mut self.config.nodes[node].1;
        *weight = if *weight == 1 { 8 } else { 1 };
        self.relays.reload(&self.config)?;
        self.relays.wait_until_ready(SOON)?;
        self.begin(16)?;
        std::thread::sleep(EXCHANGED);
        Ok(())
    }

    /// Which relays forward packets within the next moment.
    fn carrying(&mut self, which: std::ops::Range<usize>) -> Result<Vec<usize>> {
        let mut carrying = Vec::new();
        let mut before = Vec::new();
        for relay in which.clone() {
            before.push(self.relays.relay(relay).forwarded()?);
        }
        std::thread::sleep(Duration::from_millis(300));
        for (relay, before) in which.zip(before) {
            // Retransmissions and what a switch floods are not what is meant.
            if self.relays.relay(relay).forwarded()? > before + 20 {
                carrying.push(relay);
            }
        }
        Ok(carrying)
    }

    fn broken(&self) -> usize {
        self.transfers.iter().filter(|one| one.is_broken()).count()
    }
}

#[test]
fn no_established_connection_breaks_when_relays_join_and_leave_under_load() -> Result<()> {
    let mut world = World::new(true)?;
    // While slots are settled, not even the first packets of a connection need to come by the same relay.
    world.relays.scatter_answers(true)?;
    world.begin(16)?;
    world.relays.scatter_answers(false)?;
    world.change(0)?;
    // Nor do those of an established one, ever.
    world.relays.scatter_answers(true)?;
    std::thread::sleep(EXCHANGED);
    require_unbroken(&world.transfers)?;
    world.relays.scatter_answers(false)?;
    assert_eq!(world.carrying(0..2)?, [0, 1]);
    world.relays.start(2)?;
    world.relays.wait_for(3, SOON)?;
    std::thread::sleep(EXCHANGED);
    require_unbroken(&world.transfers)?;
    assert_eq!(world.carrying(0..3)?, [0, 1, 2]);

    world.change(1)?;
    // One is withdrawn, one dies without a word, and one comes back with nothing to go on from.
    world.relays.withdraw(0)?;
    world.relays.wait_for(2, SOON)?;
    std::thread::sleep(EXCHANGED);
    require_unbroken(&world.transfers)?;
    world.relays.relay(0).agent.stop()?;
    world.change(2)?;
    world.relays.start(0)?;
    world.relays.wait_for(3, SOON)?;
    std::thread::sleep(EXCHANGED);
    world.relays.relay(1).set_links(false)?;
    world.relays.wait_for(2, SOON)?;
    std::thread::sleep(EXCHANGED);
    require_unbroken(&world.transfers)?;
    assert_eq!(world.carrying(0..3)?, [0, 2]);
    println!(
        "{} transfers, {} broken, longest gap {:?}",
        world.transfers.len(),
        world.broken(),
        world.transfers.iter().map(|one| one.report().max_gap).max()
    );
    Ok(())
}

/// The negative twin.
#[test]
fn without_the_exchange_connections_break_when_a_relay_joins() -> Result<()> {
    let mut world = World::new(false)?;
    world.begin(16)?;
    world.change(0)?;
    world.relays.start(2)?;
    world.relays.wait_for(3, SOON)?;
    wait_until("connections to break", SOON, || {
        ensure!(world.broken() > 0, "all {} live", world.transfers.len());
        Ok(())
    })?;
    println!("{} of {} broke", world.broken(), world.transfers.len());
    Ok(())
}
