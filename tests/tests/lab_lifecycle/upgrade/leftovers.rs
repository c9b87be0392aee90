//! What unfinished upgrades leave, and configurations that name less than they did.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use redirector_common::abi::{ABI_VERSION, FLOW_REVERSE, map};
use redirector_tests::lab::agent::{Agent, Version};
use redirector_tests::lab::loss::{lost, require_whole};
use redirector_tests::lab::wait_until;

use super::super::SOON;
use super::{Running, names_in, refused};

/// Pins the maps of this version once more. Gives the directory of its pins, and the one of the others.
fn keep(agent: &Agent) -> Result<(PathBuf, PathBuf)> {
    let this = agent.pins().join(Version::This.directory());
    let kept = agent.pins().join("kept");
    fs::create_dir(&kept)?;
    for name in names_in(&this)? {
        if this.join(&name).is_file() {
            fs::hard_link(this.join(&name), kept.join(&name))?;
        }
    }
    Ok((this, kept))
}

/// Records one more connection in the maps that are pinned in a directory, as their program would have done.
fn record_another(directory: &Path) -> Result<String> {
    let data = MapData::from_pin(directory.join(map::FLOWS6))?;
    let mut flows: HashMap<MapData, [u8; 24], [u8; 8]> = Map::HashMap(data).try_into()?;
    let known = flows.iter().find(|flow| {
        let reverse = FLOW_REVERSE.to_ne_bytes();
        flow.as_ref()
            .is_ok_and(|(key, _)| key[18] & reverse[0] == 0 && key[19] & reverse[1] == 0)
    });
    let (mut key, flow) = known.context("no flow is recorded")??;
    key[16..18].copy_from_slice(&7_u16.to_be_bytes());
    flows.insert(key, flow, 0)?;
    let client: [u8; 16] = key[..16].try_into()?;
    Ok(SocketAddr::from((client, 7)).to_string())
}

/// An upgrade whose agent was killed, and maps of the version before in which a connection was recorded that it has not copied.
struct Unfinished {
    running: Running,
    lost_before: i64,
    /// Where the version before had its maps, and where they are.
    this: PathBuf,
    kept: PathBuf,
    client: String,
}

impl Unfinished {
    fn new() -> Result<Self> {
        let mut running = Running::new()?;
        let lost_before = lost(&running.lab)?;
        running.agent.cli(&["stop"])?;
        running.agent.wait_for_end()?;
        let (this, kept) = keep(&running.agent)?;
        running.version = Version::Next;
        running.agent.become_version(Version::Next)?;
        running.agent.start_again()?;
        running.agent.wait_for_all(&running.config, SOON)?;
        running.agent.kill()?;
        let client = record_another(&kept)?;
        Ok(Self {
            running,
            lost_before,
            this,
            kept,
            client,
        })
    }

    /// Wants the next start to copy that connection, and to keep all others whole.
    fn require_finished(mut self) -> Result<()> {
        let running = &mut self.running;
        running.agent.start_again()?;
        running.require_pins_of(Version::Next)?;
        running.agent.wait_for_all(&running.config, SOON)?;
        running.held.insert(self.client.clone());
        let recorded = running.recorded()?;
        ensure!(
            recorded.iter().any(|(one, _)| *one == self.client),
            "{} is not recorded: {recorded:?}",
            self.client
        );
        running.wake(usize::MAX)?;
        require_whole(
            &running.lab,
            &running.transfers,
            self.lost_before,
            "in the end",
        )
    }
}

/// An agent that was killed between taking the links and the last copy: its successor finds the maps of the version before, and
/// takes from them what it lacks.
#[test]
fn an_upgrade_that_was_killed_is_finished_by_the_next_agent() -> Result<()> {
    let unfinished = Unfinished::new()?;
    fs::rename(&unfinished.kept, &unfinished.this)?;
    unfinished.require_finished()
}

/// A map that can't be copied keeps no other back, and what is in it is not let go.
#[test]
fn a_map_that_cannot_be_copied_stays_and_is_copied_when_it_can_be() -> Result<()> {
    let mut unfinished = Unfinished::new()?;
    let Unfinished {
        running,
        this,
        kept,
        ..
    } = &mut unfinished;
    // One that is not what the layout says is in its place.
    fs::rename(kept.join(map::FLOWS6), kept.join("FLOWS"))?;
    fs::hard_link(kept.join(map::FLOWS4), kept.join(map::FLOWS6))?;
    fs::rename(&kept, &this)?;
    running.agent.start_again()?;
    running.agent.wait_for_all(&running.config, SOON)?;
    ensure!(this.exists(), "its maps are gone; {}", running.agent.log());
    let log = running.agent.log();
    for words in ["cannot copy the map FLOWS6", "is copied at the next start"] {
        ensure!(log.contains(words), "{log}");
    }
    running.agent.kill()?;
    fs::rename(this.join("FLOWS"), this.join(map::FLOWS6))?;
    unfinished.require_finished()
}

/// What had handed over to the version that is gone on from knows what was true long ago.
#[test]
fn what_is_left_of_a_version_before_the_one_that_ran_is_removed_unread() -> Result<()> {
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    running.agent.cli(&["stop"])?;
    running.agent.wait_for_end()?;
    let (_, kept) = keep(&running.agent)?;
    let left = running.agent.pins().join(format!("v{}", ABI_VERSION - 1));
    fs::rename(&kept, &left)?;
    running.version = Version::Next;
    running.agent.become_version(Version::Next)?;
    running.agent.start_again()?;
    running.require_pins_of(Version::Next)?;
    running.agent.wait_for_all(&running.config, SOON)?;
    running.wake(usize::MAX)?;
    require_whole(&running.lab, &running.transfers, before, "in the end")?;
    // Nor does it outlive an agent that takes everything off.
    fs::create_dir(&left)?;
    let next = running.agent.pins().join(Version::Next.directory());
    fs::hard_link(next.join(map::GLOBALS), left.join(map::GLOBALS))?;
    running.agent.stop()?;
    let found = running.agent.residue(&running.lab)?;
    ensure!(found.is_empty(), "{found:?}; {}", running.agent.log());
    Ok(())
}

/// The tables are handed over by the time that an interface is asked. Those that take the program run it, and the next start goes
/// on from there.
#[test]
fn an_upgrade_that_an_interface_refuses_is_finished_by_the_next_start() -> Result<()> {
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    running.agent.cli(&["stop"])?;
    running.agent.wait_for_end()?;
    let mut wider = running.config.clone();
    // Its driver takes no programs.
    wider.interfaces.insert(1, "lo".to_owned());
    running.agent.write_config(&wider.to_toml())?;
    running.version = Version::Next;
    running.agent.become_version(Version::Next)?;
    let said = refused(&mut running.agent)?;
    ensure!(said.contains("cannot attach to lo"), "{said}");
    let programs = programs(&running)?;
    ensure!(
        programs.len() == 2 && programs[0] == programs[1],
        "{programs:?} run; {said}"
    );
    require_whole(&running.lab, &running.transfers, before, "when refused")?;
    running.wake(1)?;
    running.agent.write_config(&running.config.to_toml())?;
    running.agent.start_again()?;
    running.require_pins_of(Version::Next)?;
    running.agent.wait_for_all(&running.config, SOON)?;
    running.wake(usize::MAX)?;
    require_whole(&running.lab, &running.transfers, before, "in the end")?;
    running.agent.cli(&["audit"]).map(drop)
}

/// The numbers of the programs that interfaces of the relay run.
fn programs(running: &Running) -> Result<Vec<String>> {
    let links = running.lab.relay().ip("-o link show")?;
    let ids = links.lines().filter_map(|line| {
        let (_, program) = line.split_once("prog/xdp id ")?;
        program.split_whitespace().next().map(str::to_owned)
    });
    Ok(ids.collect())
}

/// Neither the next agent nor one of another version runs on what its configuration does not name.
#[test]
fn a_start_leaves_interfaces_that_are_not_configured_any_more() -> Result<()> {
    let mut running = Running::new()?;
    let before = lost(&running.lab)?;
    let attached = |running: &Running| -> Result<bool> {
        let spare = running.lab.relay().ip("-o link show dev spare")?;
        Ok(spare.contains("xdp"))
    };
    running
        .lab
        .relay()
        .ip("link add spare type veth peer name spare-far")?;
    let config = running.config.clone();
    let mut wider = config.clone();
    wider.interfaces.push("spare".to_owned());
    for other_version in [false, true] {
        wait_until("the agent to take on another interface", SOON, || {
            running.agent.reload(&wider.to_toml())
        })?;
        ensure!(attached(&running)?, "the program is not on it");
        running.agent.write_config(&config.to_toml())?;
        if other_version {
            running.change_version(false)?;
        } else {
            running.agent.kill()?;
            running.agent.start_again()?;
        }
        // The kernel takes it off a moment after its link has gone.
        wait_until("the program to be off it", SOON, || {
            ensure!(!attached(&running)?, "{}", running.agent.log());
            Ok(())
        })?;
        running.agent.wait_for_all(&running.config, SOON)?;
        running.require_pins_of(running.version)?;
    }
    require_whole(&running.lab, &running.transfers, before, "in the end")
}
