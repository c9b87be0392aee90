//! An agent that is killed, one that takes over, and one that takes everything with it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::plan::{ECHO, Family};
use redirector_tests::lab::socks::{Association, Habit};
use redirector_tests::lab::{Lab, Transfer};

use super::{SOON, near_and_far, shared};

/// Transfers and associations outlive an agent that is killed, and the next one adopts them.
pub(super) fn connections_outlive_it(lab: &Lab, agent: &mut Agent) -> Result<()> {
    let mut transfers = Vec::new();
    let mut associations = Vec::new();
    for client in near_and_far(lab) {
        transfers.push(Transfer::start(lab.connect(client, shared(client))?)?);
        let speaker = lab.socks(client, shared(client)).within(SOON);
        associations.push(speaker.associate(Habit::ObeysReply)?);
    }
    exchange(&associations).context("before")?;
    agent.kill()?;
    exchange(&associations).context("without an agent")?;
    connect_all(lab).context("without an agent")?;
    agent.start_again()?;
    // Long enough for every round of the agent.
    std::thread::sleep(Duration::from_secs(1));
    exchange(&associations).context("after the restart")?;
    connect_all(lab).context("after the restart")?;
    for transfer in &transfers {
        let report = transfer.report();
        ensure!(
            report.broken.is_none() && report.bytes > 0 && report.max_gap < SOON,
            "{report:?}"
        );
    }
    Ok(())
}

fn exchange(associations: &[Association]) -> Result<()> {
    for association in associations {
        let family = Family::of(association.relay.ip());
        association.exchange(family.endpoint(ECHO), b"still there?")?;
    }
    Ok(())
}

fn connect_all(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        lab.connect(client, shared(client))?;
    }
    Ok(())
}

/// `stop --detach` takes pins and programs along; a mere `stop` leaves the data path forwarding.
pub(super) fn stops(lab: &Lab, agent: &mut Agent) -> Result<()> {
    agent.cli(&["stop"])?;
    agent.wait_for_end()?;
    connect_all(lab).context("after a stop")?;
    ensure!(!agent.residue(lab)?.is_empty());
    agent.start_again()?;
    agent.cli(&["stop", "--detach"])?;
    agent.wait_for_end()?;
    let residue = agent.residue(lab)?;
    ensure!(residue.is_empty(), "{residue:?}");
    let client = lab.clients()[0];
    let past = lab.connect_within(client, shared(client.into()), SOON);
    ensure!(past.is_err(), "somebody serves {client}");
    Ok(())
}
