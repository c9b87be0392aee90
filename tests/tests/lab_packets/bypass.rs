//! What goes past the shared address, to the nodes themselves.

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::Lab;
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::plan::{Family, node_socks};

use super::{SOON, Way, associations, bring_up_with, near_and_far, shared, small};

#[test]
fn tcp_and_associations_reach_the_nodes_themselves_where_the_configuration_says_so() -> Result<()> {
    for way in Way::TRANSLATED {
        let (lab, agent) = bring_up_with(way, small(), |config| {
            config.direct_tcp = "allow";
            config.udp_associate = "direct";
        })?;
        for client in near_and_far(&lab) {
            let past = lab
                .connect(client, node_socks(1, Family::of(client)))
                .with_context(|| format!("{way:?}, {client}"))?;
            ensure!(past.node == 1);
            lab.connect(client, shared(client))?;
        }
        ensure!(agent.counter("pass-direct")? > 0);
        ensure!(agent.counter("drop-direct-tcp")? == 0);
        associations::direct_associations(&lab, &agent).with_context(|| format!("{way:?}"))?;
    }
    Ok(())
}

/// The same with `direct-tcp = "drop"`.
pub(super) fn direct_tcp_is_dropped(lab: &Lab, agent: &Agent) -> Result<()> {
    for client in near_and_far(lab) {
        let before = agent.counter("drop-direct-tcp")?;
        let past = lab.connect_within(client, node_socks(1, Family::of(client)), SOON);
        ensure!(past.is_err(), "{client} reached a node past the relay");
        ensure!(agent.counter("drop-direct-tcp")? > before);
    }
    ensure!(agent.counter("pass-direct")? == 0);
    Ok(())
}
