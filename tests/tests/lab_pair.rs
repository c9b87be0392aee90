//! Two relays: whichever has IP-SHARED, connections go on. `SOAK_FAILOVERS` says how often it is handed over.
#![cfg(feature = "lab")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::AgentConfig;
use redirector_tests::lab::pair::Pair;
use redirector_tests::lab::plan::{ECHO, SHARED};
use redirector_tests::lab::relays::Common;
use redirector_tests::lab::socks::{Association, Habit};
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, require_unbroken, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
const NODES: usize = 4;
/// Longer than two exchanges: connections that are younger when their relay fails are not promised anything.
const EXCHANGED: Duration = Duration::from_millis(600);

/// How a relay fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// keepalived is ended, as before maintenance.
    Keepalived,
    /// Its cables are pulled.
    Links,
    /// The agent is ended, and the data path detached.
    Detached,
    /// The agent is killed; the data path goes on.
    Killed,
}

const FAILURES: [Failure; 4] = [
    Failure::Keepalived,
    Failure::Links,
    Failure::Detached,
    Failure::Killed,
];

struct World {
    pair: Pair,
    lab: Lab,
    config: AgentConfig,
    clients: Vec<Ipv4Addr>,
    transfers: Vec<Transfer>,
    associations: Vec<Association>,
}

impl World {
    fn new(common: Common) -> Result<Self> {
        let lab = Lab::new(
            Topology::TwoArmed,
            LabOptions {
                nodes: NODES,
                on_link_clients: 24,
                far_clients: 24,
                ..LabOptions::default()
            },
        )?;
        let mut config = AgentConfig::new(Topology::TwoArmed, NODES);
        config.udp_associate = "shared";
        let pair = Pair::start(&lab, &config, common)?;
        pair.wait_until_ready(SOON)?;
        wait_until("one relay to have IP-SHARED", SOON, || pair.master())?;
        let clients = lab.clients();
        Ok(Self {
            pair,
            lab,
            config,
            clients,
            transfers: Vec::new(),
            associations: Vec::new(),
        })
    }

    /// Starts a transfer for each of the first `count` clients.
    fn begin(&mut self, count: usize) -> Result<()> {
        for client in &self.clients[..count] {
            let session = wait_until("a client to be served", SOON, || {
                self.lab
                    .connect_within(*client, SHARED, Duration::from_secs(1))
            })?;
            self.transfers.push(Transfer::start(session)?);
        }
        Ok(())
    }

    /// Opens UDP associations of the last `count` clients, one of each habit.
    fn associate(&mut self, count: usize) -> Result<()> {
        for client in self.clients.iter().rev().take(count) {
            for habit in Habit::ALL {
                let socks = self.lab.socks(*client, SHARED);
                let association = socks.within(Duration::from_millis(500)).associate(habit)?;
                self.associations.push(association);
            }
        }
        self.exchange_datagrams()
    }

    /// Each association still carries datagrams both ways; single ones may be lost.
    fn exchange_datagrams(&self) -> Result<()> {
        for (number, association) in self.associations.iter().enumerate() {
            let what = format!("association {number} to carry datagrams");
            wait_until(&what, Duration::from_secs(5), || {
                let answer = association.exchange(ECHO, b"are you there?")?;
                ensure!(answer.origin == ECHO.into(), "{answer:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Fails the relay that has the address; waits until the other one has it, and every transfer goes on. Gives how long the
    /// hand-over took, and the longest gap of any transfer.
    fn fail_over(&mut self, failure: Failure) -> Result<(Duration, Duration)> {
        let failing = self.pair.master()?;
        self.transfers.iter().for_each(Transfer::forget_gap);
        let start = Instant::now();
        match failure {
            Failure::Keepalived => self.pair.stop_keepalived(failing)?,
            Failure::Links => self.pair.relay(failing).set_links(false)?,
            Failure::Detached => drop(self.pair.relay(failing).agent.stop()?),
            Failure::Killed => self.pair.relay(failing).agent.kill()?,
        }
        wait_until("the other relay to have IP-SHARED", SOON, || {
            let has = self.pair.relay(1 - failing).has_shared()?;
            ensure!(has, "it has not: {}", self.pair.log(1 - failing));
            Ok(())
        })?;
        let taken = start.elapsed();
        self.wait_for_traffic()?;
        let gaps = self
            .transfers
            .iter()
            .map(|transfer| transfer.report().max_gap);
        let gap = gaps.max().unwrap_or_default();
        match failure {
            Failure::Keepalived => self.pair.start_keepalived(failing)?,
            Failure::Links => self.pair.relay(failing).set_links(true)?,
            Failure::Detached | Failure::Killed => self.pair.relay(failing).agent.start_again()?,
        }
        self.pair.wait_until_ready(SOON)?;
        Ok((taken, gap))
    }

    /// Until each transfer that is not broken has heard from its target after this call.
    fn wait_for_traffic(&self) -> Result<()> {
        let bytes = |transfer: &Transfer| transfer.report().bytes;
        let before: Vec<u64> = self.transfers.iter().map(bytes).collect();
        wait_until("transfers to go on", Duration::from_secs(25), || {
            let mut transfers = self.transfers.iter().zip(&before);
            let waits = transfers.any(|(transfer, before)| {
                !transfer.is_broken() && bytes(transfer) <= before + 1024
            });
            ensure!(!waits, "some stand still");
            Ok(())
        })
    }

    fn broken(&self) -> usize {
        let broken = |transfer: &&Transfer| transfer.is_broken();
        self.transfers.iter().filter(broken).count()
    }

    /// What changes before a failure of each kind. A relay that is to begin anew must know all nodes that are in use by its
    /// configuration.
    fn change(&mut self, failure: Failure, step: usize) -> Result<()> {
        let last = NODES - 1;
        match failure {
            Failure::Keepalived | Failure::Killed => {
                let weight = &mut self.config.nodes[step % last].1;
                *weight = if *weight == 1 { 6 } else { 1 };
            }
            Failure::Links => self.config.nodes.retain(|(node, _)| *node != last),
            Failure::Detached => self.config.nodes.push((last, 1)),
        }
        self.pair.reload(&self.config)?;
        self.pair.wait_until_ready(SOON)
    }
}

fn failovers() -> Result<usize> {
    match std::env::var("SOAK_FAILOVERS") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("SOAK_FAILOVERS={text}")),
        Err(_) => Ok(4),
    }
}

#[test]
fn no_established_connection_breaks_when_relays_hand_over_between_changes_of_the_pool() -> Result<()>
{
    let mut world = World::new(Common {
        exchange: true,
        same_key: true,
    })?;
    world.begin(16)?;
    world.associate(3)?;
    let mut seen: BTreeMap<Failure, Vec<(Duration, Duration)>> = BTreeMap::new();
    let count = failovers()?;
    let start = Instant::now();
    for step in 0..count {
        let failure = FAILURES[step % FAILURES.len()];
        world.change(failure, step)?;
        // New ones, recorded in slots that have just been split.
        world.clients.rotate_left(4);
        world.begin(4)?;
        std::thread::sleep(EXCHANGED);
        let from = world.pair.master()?;
        let took = world.fail_over(failure)?;
        require_unbroken(&world.transfers)
            .and_then(|()| world.exchange_datagrams())
            .with_context(|| format!("hand-over {step} from relay {from}, {failure:?}"))?;
        seen.entry(failure).or_default().push(took);
    }
    println!(
        "{count} hand-overs in {:?}, {} transfers, {} broken",
        start.elapsed(),
        world.transfers.len(),
        world.broken()
    );
    for (failure, seen) in &seen {
        let median = |of: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<Duration> = seen.iter().map(of).collect();
            times.sort_unstable();
            (times[times.len() / 2], times[times.len() - 1])
        };
        println!(
            "  {failure:?}: address handed over in {:?} (median, longest), longest gap of any transfer {:?}",
            median(|seen| seen.0),
            median(|seen| seen.1)
        );
    }
    Ok(())
}

/// The negative twin: what the relay that takes over can't know, it sends where older connections are.
#[test]
fn without_the_exchange_connections_begun_in_split_slots_break() -> Result<()> {
    let mut world = World::new(Common {
        exchange: false,
        same_key: true,
    })?;
    world.change(Failure::Keepalived, 0)?;
    world.begin(32)?;
    world.associate(1)?;
    std::thread::sleep(EXCHANGED);
    world.fail_over(Failure::Keepalived)?;
    wait_until("connections to break", Duration::from_secs(25), || {
        ensure!(world.broken() > 0, "all {} live", world.transfers.len());
        Ok(())
    })?;
    let deaf = world.exchange_datagrams();
    assert!(deaf.is_err(), "the associations are known after all");
    println!("{} of {} broke", world.broken(), world.transfers.len());
    Ok(())
}

/// What the doctor finds of the first relay's peers.
fn peer_findings(world: &mut World) -> Result<Vec<Value>> {
    world.pair.relay(0).agent.doctor_findings("peer", false)
}

#[test]
fn a_peer_with_another_key_is_refused_and_says_so() -> Result<()> {
    let mut world = World::new(Common {
        exchange: true,
        same_key: false,
    })?;
    let agent = &world.pair.relay(0).agent;
    let peer = wait_until("the peer to be refused", SOON, || {
        let peer = agent.show("summary")?["peers"][0].clone();
        ensure!(peer["state"] == "refused", "{peer}");
        Ok(peer)
    })?;
    let error = peer["error"].as_str().context("no error")?;
    assert!(
        error.contains("hash-key") && error.contains("fingerprint"),
        "{error}"
    );
    assert!(!error.contains("the key of the lab"), "{error}");
    let text = world.pair.relay(0).agent.cli(&["show", "summary"])?;
    assert!(
        text.contains("peer b: its hash-key is another one"),
        "{text}"
    );
    let found = peer_findings(&mut world)?;
    let [finding] = found.as_slice() else {
        anyhow::bail!("{found:#?}");
    };
    let text = finding["text"].to_string();
    assert!(finding["of"] == "b" && text.contains("hash-key"), "{text}");
    world.pair.relay(1).agent.kill()?;
    wait_until("the doctor to miss the peer", SOON, || {
        let found = peer_findings(&mut world)?;
        let text = found[0]["text"].to_string();
        ensure!(text.contains("its agent does not run"), "{text}");
        Ok(())
    })?;
    Ok(())
}
