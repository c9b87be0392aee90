//! From one version of the maps' layouts to another, and back. `SOAK_UPGRADES` says how often.
//!
//! What unfinished ones leave is in `upgrade/leftovers.rs`. The other version is made by the feature `next-layout`:
//! `cargo xtask build --next`.

mod leftovers;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use redirector_common::abi::map;
use redirector_tests::lab::agent::{Agent, AgentConfig, Version};
use redirector_tests::lab::loss::{lost, require_whole};
use redirector_tests::lab::plan::{ECHO, Family, SHARED};
use redirector_tests::lab::socks::{Association, Habit};
use redirector_tests::lab::{Lab, LabOptions, Session, Topology, Transfer, wait_until};
use serde_json::Value;

use super::SOON;
use super::soak::{Held, count, pins, require_no_growth};

const NODES: usize = 3;

/// A relay with connections of every kind that an upgrade can hurt: of clients whose slots are settled and split, on the node that
/// their slot names now and on another, recorded and not.
struct Running {
    agent: Agent,
    lab: Lab,
    config: AgentConfig,
    version: Version,
    transfers: Vec<Transfer>,
    /// Those that have not said a word since their slot was split. What the data path knows of them is `was`.
    silent: Vec<Session>,
    associations: Vec<Association>,
    /// The clients of all these connections but the associations'.
    held: BTreeSet<String>,
}

fn shared(client: IpAddr) -> SocketAddr {
    Family::of(client).endpoint(SHARED)
}

fn clients(lab: &Lab) -> Vec<IpAddr> {
    let families = Family::ALL.into_iter();
    families.flat_map(|family| lab.clients_in(family)).collect()
}

impl Running {
    fn new() -> Result<Self> {
        let options = LabOptions {
            nodes: NODES,
            on_link_clients: 12,
            far_clients: 4,
            ..LabOptions::default()
        };
        let lab = Lab::new(Topology::TwoArmed, options)?;
        let config = AgentConfig {
            families: Family::ALL.to_vec(),
            udp_associate: "shared",
            ..AgentConfig::new(Topology::TwoArmed, NODES - 1)
        };
        let agent = Agent::start(&lab, &config.to_toml())?;
        agent
            .wait_for_all(&config, SOON)
            .with_context(|| agent.log())?;
        let mut running = Self {
            agent,
            lab,
            config,
            version: Version::This,
            transfers: Vec::new(),
            silent: Vec::new(),
            associations: Vec::new(),
            held: BTreeSet::new(),
        };
        running.connect()?;
        for client in clients(&running.lab).into_iter().step_by(5) {
            let speaker = running.lab.socks(client, shared(client));
            running
                .associations
                .push(speaker.associate(Habit::ObeysReply)?);
        }
        // A third of the clients get another node, which their connections so far don't live on.
        running.config.nodes.push((NODES - 1, 1));
        running.agent.reload(&running.config.to_toml())?;
        running
            .agent
            .wait_for_all(&running.config, SOON)
            .with_context(|| running.agent.log())?;
        running.connect()?;
        let split: u64 = running.split()?;
        ensure!(split > 1000, "{split} slots are split");
        Ok(running)
    }

    /// Two more connections of every client.
    fn connect(&mut self) -> Result<()> {
        for client in clients(&self.lab) {
            let [speaking, silent] = [(); 2].map(|()| self.lab.connect(client, shared(client)));
            let (speaking, silent) = (speaking?, silent?);
            self.held
                .extend([&speaking, &silent].map(|one| one.client.to_string()));
            self.transfers.push(Transfer::start(speaking)?);
            self.silent.push(silent);
        }
        Ok(())
    }

    /// How many slots are split.
    fn split(&self) -> Result<u64> {
        let redirects = self.agent.show("redirects")?;
        let redirects = redirects.as_array().context("no list")?;
        let split = redirects.iter().map(|one| one["split_slots"].as_u64());
        Ok(split.flatten().sum())
    }

    /// Those of our connections that are recorded, each with its node.
    fn recorded(&self) -> Result<BTreeSet<(String, String)>> {
        let command = ["show", "sessions", "--json", "--limit", "10000"];
        let sessions: Value = serde_json::from_str(&self.agent.cli(&command)?)?;
        let list = sessions["sessions"].as_array().context("no list")?.iter();
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        Ok(list
            .map(|one| (text(&one["client"]), text(&one["node"])))
            .filter(|(client, _)| self.held.contains(client))
            .collect())
    }

    /// Puts an agent of the other version in the place of the one that runs, which is asked to end or killed.
    fn change_version(&mut self, killed: bool) -> Result<()> {
        if killed {
            self.agent.kill()?;
        } else {
            self.agent.cli(&["stop"])?;
            self.agent.wait_for_end()?;
        }
        self.version = self.version.other();
        self.agent.become_version(self.version)?;
        self.agent.start_again()
    }

    /// Whether the pins are those of one version.
    fn require_pins_of(&self, version: Version) -> Result<()> {
        let mut found = names_in(self.agent.pins())?;
        found.sort();
        ensure!(
            found == [version.directory()],
            "{found:?} are pinned; {}",
            self.agent.log()
        );
        Ok(())
    }

    fn require_associations(&self) -> Result<()> {
        for association in &self.associations {
            let client = association.control.local_addr()?.ip();
            let echo = association
                .exchange(Family::of(client).endpoint(ECHO), b"datagram")
                .with_context(|| format!("the association of {client}"))?;
            ensure!(echo.payload == b"datagram", "{client} got something else");
        }
        Ok(())
    }

    /// Has some of the silent connections say something, at last.
    fn wake(&mut self, some: usize) -> Result<()> {
        let awake = self.silent.len().saturating_sub(some);
        for session in self.silent.split_off(awake) {
            let client = session.client;
            let transfer = Transfer::start(session)?;
            wait_until(&format!("{client}, silent until now"), SOON, || {
                let report = transfer.report();
                ensure!(report.bytes > 0, "nothing is heard: {report:?}");
                Ok(())
            })?;
            self.transfers.push(transfer);
        }
        Ok(())
    }
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("can't read {}", directory.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// What one of the versions was seen with, at each of its turns.
#[derive(Debug, Default)]
struct Seen {
    held: Vec<u64>,
    pinned: Option<usize>,
}

#[test]
fn upgrades_and_downgrades_break_no_connection_lose_no_packet_and_leave_nothing() -> Result<()> {
    let upgrades = count("SOAK_UPGRADES", 12)?;
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    let split = running.split()?;
    let start = Instant::now();
    let mut seen = [Seen::default(), Seen::default()];
    for step in 1..=upgrades {
        let recorded = running.recorded()?;
        running.change_version(step % 3 == 0)?;
        running.agent.wait_for_all(&running.config, SOON)?;
        let when = format!("change {step}, to {}", running.version.directory());
        require_whole(&running.lab, &running.transfers, before, &when)?;
        running.require_pins_of(running.version)?;
        running.wake(1)?;
        running.require_associations().context(when.clone())?;
        running.agent.cli(&["audit"]).context(when.clone())?;
        let after = running.recorded()?;
        ensure!(
            recorded.is_subset(&after),
            "{when}: {:?} are not recorded",
            recorded.difference(&after)
        );
        ensure!(running.split()? == split, "{when}: other slots are split");
        let pinned = pins(&running.lab, &running.agent)?;
        let version = &mut seen[step % 2];
        version.held.push(Held::by(&running.agent)?.resident_kib);
        let pinned_before = *version.pinned.get_or_insert(pinned);
        ensure!(
            pinned == pinned_before,
            "{when}: {pinned} pins, {pinned_before} before"
        );
    }
    println!("{upgrades} changes in {:?}: {seen:?}", start.elapsed());
    for version in &seen {
        require_no_growth(&version.held)?;
    }
    running.wake(usize::MAX)?;
    require_whole(&running.lab, &running.transfers, before, "at the end")
}

/// A start of an agent that is prepared as it is, which is expected to end at once. What it said.
fn refused(agent: &mut Agent) -> Result<String> {
    let said_before = agent.log().len();
    let Err(error) = agent.start_again() else {
        bail!("it runs: {}", agent.log());
    };
    ensure!(error.to_string().contains("exit status: 1"), "{error:#}");
    Ok(agent.log().split_off(said_before))
}

#[test]
fn an_upgrade_that_fails_changes_nothing() -> Result<()> {
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    running.agent.cli(&["stop"])?;
    running.agent.wait_for_end()?;
    let found = running.agent.residue(&running.lab)?;
    running.agent.become_version(Version::Next)?;
    let config = running.config.to_toml();
    running
        .agent
        .write_config(&config.replace("the key of the lab", "another key for it"))?;
    // It has copied everything by the time it finds that the key is another.
    let said = refused(&mut running.agent)?;
    ensure!(said.contains("hash-key differs"), "{said}");
    assert_eq!(running.agent.residue(&running.lab)?, found);
    require_whole(
        &running.lab,
        &running.transfers,
        before,
        "after the failure",
    )?;
    // What it leaves is good for both versions.
    running.agent.write_config(&config)?;
    running.agent.start_again()?;
    running.require_pins_of(Version::Next)?;
    running.agent.wait_for_all(&running.config, SOON)?;
    running.wake(usize::MAX)?;
    require_whole(&running.lab, &running.transfers, before, "after an upgrade")?;
    running.agent.cli(&["audit"]).map(drop)
}

/// What a version has pinned without some of its files goes on, and is replaced only when that is asked for.
fn goes_on_until_replaced(without: &[&str], why: &str) -> Result<()> {
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    running.agent.cli(&["stop"])?;
    running.agent.wait_for_end()?;
    let directory = running.agent.pins().join(Version::This.directory());
    for file in without {
        fs::remove_file(directory.join(file))?;
    }
    let found = running.agent.residue(&running.lab)?;
    running.agent.become_version(Version::Next)?;
    let said = refused(&mut running.agent)?;
    for word in [why, "--replace", "goes on forwarding"] {
        ensure!(said.contains(word), "{said}");
    }
    assert_eq!(running.agent.residue(&running.lab)?, found);
    require_whole(
        &running.lab,
        &running.transfers,
        before,
        "after the refusal",
    )?;
    running.agent.run_with(&["--replace"]);
    running.agent.start_again()?;
    running.require_pins_of(Version::Next)?;
    running.agent.wait_for_all(&running.config, SOON)?;
    ensure!(running.split()? == 0, "the tables are new");
    for client in clients(&running.lab) {
        running.lab.connect(client, shared(client))?;
    }
    running.agent.cli(&["audit"]).map(drop)
}

#[test]
fn what_cannot_be_carried_over_goes_on_until_it_is_to_be_replaced() -> Result<()> {
    goes_on_until_replaced(&["LAYOUT"], "LAYOUT")
}

#[test]
fn what_fails_while_it_is_carried_over_goes_on_until_it_is_to_be_replaced() -> Result<()> {
    let tables = [0, 1].map(|number| format!("{}-1-{number}", map::SLOT_TABLES));
    goes_on_until_replaced(
        &tables.each_ref().map(String::as_str),
        "table 1 is not pinned",
    )
}

/// The systemd unit leaves an agent no more than these.
const UNIT: &str = "-all,+bpf,+perfmon,+net_admin,+net_raw,+setuid,+setgid,+kill,+chown,+setpcap";

#[test]
fn restarts_and_upgrades_need_no_more_than_the_unit_allows() -> Result<()> {
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    running.agent = running
        .agent
        .wrapped_in(&["setpriv", "--bounding-set", UNIT]);
    for _ in 0..2 {
        running.agent.kill()?;
        running.agent.start_again()?;
        running.change_version(false)?;
        running.agent.wait_for_all(&running.config, SOON)?;
        running.require_pins_of(running.version)?;
        require_whole(&running.lab, &running.transfers, before, "confined")?;
        running.agent.cli(&["audit"])?;
    }
    running.wake(usize::MAX)?;
    require_whole(&running.lab, &running.transfers, before, "at the end")
}
