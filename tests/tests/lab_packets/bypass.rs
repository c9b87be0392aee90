//! TCP to a node that avoids the shared address.

use anyhow::{Result, ensure};
use redirector_tests::lab::plan::{Family, node_socks};

use super::{SOON, Way, bring_up_with, near_and_far, shared, small};

#[test]
fn tcp_that_avoids_the_shared_address_is_dropped_or_passes_as_the_configuration_says() -> Result<()>
{
    for way in Way::TRANSLATED {
        for (word, passes) in [("drop", false), ("allow", true)] {
            let (lab, agent) = bring_up_with(way, small(), |config| config.direct_tcp = word)?;
            for client in near_and_far(&lab) {
                let direct = node_socks(1, Family::of(client));
                let past = lab.connect_within(client, direct, SOON);
                ensure!(
                    past.is_ok() == passes,
                    "{way:?}, {word}, {client}: {past:?}"
                );
                lab.connect(client, shared(client))?;
                if let Ok(past) = past {
                    ensure!(past.node == 1);
                }
            }
            ensure!((agent.counter("drop-direct-tcp")? > 0) != passes);
            ensure!((agent.counter("pass-direct")? > 0) == passes);
        }
    }
    Ok(())
}
