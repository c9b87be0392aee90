//! Many reloads and restarts under steady transfers. `SOAK_RELOADS` and `SOAK_RESTARTS` say how many.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::loss::{lost, require_whole};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, Topology, Transfer};

use super::{SOON, bring_up};

/// Resident memory may differ by so much between the first tenth of the reloads and the end, or from one start to another.
const GROWTH_KIB: u64 = 4096;

pub(super) fn count(variable: &str, otherwise: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(otherwise),
    }
}

/// What an agent holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) resident_kib: u64,
    pub(super) descriptors: usize,
}

impl Held {
    pub(super) fn by(agent: &Agent) -> Result<Self> {
        let process = agent.process().context("the agent is not running")?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        Ok(Self {
            resident_kib: resident.context("no VmRSS")?.parse()?,
            descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
        })
    }
}

/// That what agents leave to each other does not make the later ones larger. How much one agent needs for its start differs
/// from time to time (its threads take their memory as they come), so the leanest of the second half must
/// not be larger than the largest of the first.
pub(super) fn require_no_growth(resident_kib: &[u64]) -> Result<()> {
    let (first, second) = resident_kib.split_at(resident_kib.len() / 2);
    let (most, least) = (first.iter().max(), second.iter().min());
    let (most, least) = most.zip(least).context("too few starts to compare")?;
    ensure!(
        *least <= most + GROWTH_KIB,
        "KiB resident, from start to start: {resident_kib:?}"
    );
    Ok(())
}

#[test]
fn growth_from_start_to_start_is_noticed_and_one_large_agent_is_not() -> Result<()> {
    require_no_growth(&[23_432, 29_496, 23_500, 30_100])?;
    assert!(require_no_growth(&[23_432, 24_000, 29_496, 30_100]).is_err());
    assert!(require_no_growth(&[23_432]).is_err());
    Ok(())
}

/// How many files are pinned and interfaces run the program: what outlives an agent.
pub(super) fn pins(lab: &Lab, agent: &Agent) -> Result<usize> {
    Ok(agent.residue(lab)?.len())
}

fn start_transfers(lab: &Lab) -> Result<Vec<Transfer>> {
    let clients = lab.clients().into_iter();
    clients
        .map(|client| Transfer::start(lab.connect(client, SHARED)?))
        .collect()
}

/// Another weight, and with it another table and split slots.
fn weighed(config: &AgentConfig, step: usize) -> String {
    let mut config = config.clone();
    config.nodes[0].1 = 1 + u32::from(step % 2 == 1);
    config.to_toml()
}

#[test]
fn reloads_break_no_connection_lose_no_packet_and_grow_nothing() -> Result<()> {
    let reloads = count("SOAK_RELOADS", 20)?;
    let (lab, agent, config) = bring_up(Topology::TwoArmed)?;
    let transfers = start_transfers(&lab)?;
    let before = lost(&lab)?;
    let mut first = None;
    let start = Instant::now();
    for step in 1..=reloads {
        agent.reload(&weighed(&config, step))?;
        if step == reloads.div_ceil(10).max(4) {
            first = Some((Held::by(&agent)?, pins(&lab, &agent)?));
        }
    }
    let took = start.elapsed();
    let (held, pinned) =
        first.context("there are too few reloads to compare; ask for 4 or more")?;
    // Connections of the last command may just be ending.
    std::thread::sleep(Duration::from_secs(1));
    let last = Held::by(&agent)?;
    println!("{reloads} reloads in {took:?}: {held:?} -> {last:?}, {pinned} pins");
    ensure!(last.descriptors <= held.descriptors, "{held:?} -> {last:?}");
    ensure!(
        last.resident_kib <= held.resident_kib + GROWTH_KIB,
        "{held:?} -> {last:?}"
    );
    assert_eq!(pins(&lab, &agent)?, pinned);
    require_whole(&lab, &transfers, before, "after the reloads")?;
    agent.cli(&["audit"]).map(drop)
}

#[test]
fn restarts_break_no_connection_lose_no_packet_and_leave_nothing_more() -> Result<()> {
    let restarts = count("SOAK_RESTARTS", 5)?;
    let (lab, mut agent, config) = bring_up(Topology::TwoArmed)?;
    let transfers = start_transfers(&lab)?;
    let before = lost(&lab)?;
    let (mut held, mut first) = (Vec::new(), None);
    let start = Instant::now();
    for step in 1..=restarts {
        // In turn an end that was asked for, and one that was not.
        if step % 2 == 0 {
            agent.kill()?;
        } else {
            agent.cli(&["stop"])?;
            agent.wait_for_end()?;
        }
        agent.write_config(&weighed(&config, step))?;
        agent.start_again()?;
        agent.wait_for_all(&config, SOON)?;
        held.push(Held::by(&agent)?.resident_kib);
        let pinned = pins(&lab, &agent)?;
        let pinned_before = *first.get_or_insert(pinned);
        ensure!(
            pinned == pinned_before,
            "restart {step}: {pinned} pins, {pinned_before} before"
        );
        require_whole(&lab, &transfers, before, &format!("restart {step}"))?;
    }
    println!(
        "{restarts} restarts in {:?}: {held:?} KiB, {first:?} pins",
        start.elapsed()
    );
    require_no_growth(&held)?;
    agent.cli(&["audit"]).map(drop)
}

/// What the others count does count: without a data path there is loss.
#[test]
fn a_stop_that_detaches_is_noticed_by_the_same_count() -> Result<()> {
    let (lab, mut agent, _) = bring_up(Topology::TwoArmed)?;
    let transfers = start_transfers(&lab)?;
    let before = lost(&lab)?;
    agent.cli(&["stop", "--detach"])?;
    agent.wait_for_end()?;
    std::thread::sleep(Duration::from_secs(2));
    assert!(require_whole(&lab, &transfers, before, "detached").is_err());
    Ok(())
}
