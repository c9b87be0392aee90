//! An agent that is killed, one that takes over, and one that takes everything with it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::plan::{ECHO, Family};
use redirector_tests::lab::socks::{Association, Habit};
use redirector_tests::lab::{Lab, Transfer};

use super::{SOON, Way, bring_up, near_and_far, shared, small};

#[test]
fn transfers_and_associations_of_both_families_outlive_the_agent_and_are_adopted() -> Result<()> {
    for way in Way::ALL {
        let (lab, mut agent) = bring_up(way, small())?;
        let mut transfers = Vec::new();
        let mut associations = Vec::new();
        for client in near_and_far(&lab) {
            transfers.push(Transfer::start(lab.connect(client, shared(client))?)?);
            let speaker = lab.socks(client, shared(client)).within(SOON);
            associations.push(speaker.associate(Habit::ObeysReply)?);
        }
        exchange(&associations).context("before")?;
        agent.kill()?;
        std::thread::sleep(SOON);
        exchange(&associations).context("without an agent")?;
        connect_all(&lab)?;
        agent.start_again()?;
        std::thread::sleep(Duration::from_millis(1_500));
        exchange(&associations).with_context(|| format!("{way:?}: after the restart"))?;
        connect_all(&lab)?;
        for transfer in &transfers {
            let report = transfer.report();
            ensure!(
                report.broken.is_none() && report.bytes > 0 && report.max_gap < SOON,
                "{way:?}: {report:?}"
            );
        }
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

#[test]
fn a_stop_leaves_the_data_path_forwarding_and_a_stop_with_detach_leaves_nothing() -> Result<()> {
    for way in [Way::TWO_ARMED, Way::DIRECT_RETURN] {
        let (lab, mut agent) = bring_up(way, small())?;
        agent.cli(&["stop"])?;
        agent.wait_for_end()?;
        connect_all(&lab)?;
        ensure!(!agent.residue(&lab)?.is_empty());
        agent.start_again()?;
        agent.cli(&["stop", "--detach"])?;
        agent.wait_for_end()?;
        ensure!(
            agent.residue(&lab)?.is_empty(),
            "{:?}",
            agent.residue(&lab)?
        );
        let client = lab.clients()[0];
        ensure!(
            lab.connect_within(client, shared(client.into()), SOON)
                .is_err()
        );
    }
    Ok(())
}
