//! What holds however nodes are reached. A lab with its agent takes seconds, so each way has one for all of it.

use anyhow::{Context as _, Result};
use redirector_tests::lab::Lab;
use redirector_tests::lab::agent::Agent;

use super::agent_gone::{connections_outlive_it, stops};
use super::associations::{
    both_kinds_of_clients, dante_knows_the_client, pinholes_close, strangers_are_dropped,
};
use super::bypass::direct_tcp_is_dropped;
use super::commands::{every_command, what_dante_refuses};
use super::shared_address::{
    other_ports_are_the_relays, pings_are_answered, unknown_clients_never_see_a_nodes_address,
};
use super::{Way, bring_up, small};

#[test]
fn nodes_behind_another_arm_serve_all_of_socks_from_the_shared_address_alone() -> Result<()> {
    translated(Way::TWO_ARMED)
}

#[test]
fn nodes_behind_the_same_arm_serve_all_of_socks_from_the_shared_address_alone() -> Result<()> {
    translated(Way::ONE_ARMED)
}

#[test]
fn nodes_behind_another_arm_that_answer_directly_serve_all_of_socks() -> Result<()> {
    routed(Way::TWO_ARMED_DIRECT_RETURN)
}

#[test]
fn nodes_behind_the_same_arm_that_answer_directly_serve_all_of_socks() -> Result<()> {
    routed(Way::ONE_ARMED_DIRECT_RETURN)
}

fn translated(way: Way) -> Result<()> {
    let (lab, mut agent) = bring_up(way, small())?;
    all_translated(&lab, &mut agent)
}

/// Where nodes' addresses are translated.
pub(super) fn all_translated(lab: &Lab, agent: &mut Agent) -> Result<()> {
    unknown_clients_never_see_a_nodes_address(lab).context("unknown clients")?;
    strangers_are_dropped(lab, agent).context("strangers")?;
    direct_tcp_is_dropped(lab, agent).context("past the shared address")?;
    both(lab, agent)
}

fn routed(way: Way) -> Result<()> {
    let (lab, mut agent) = bring_up(way, small())?;
    both(&lab, &mut agent)
}

fn both(lab: &Lab, agent: &mut Agent) -> Result<()> {
    every_command(lab).context("commands")?;
    what_dante_refuses(lab).context("refusals")?;
    both_kinds_of_clients(lab).context("associations")?;
    dante_knows_the_client(lab).context("Dante's log")?;
    pinholes_close(lab, agent).context("the end of associations")?;
    pings_are_answered(lab).context("pings")?;
    other_ports_are_the_relays(lab).context("other ports")?;
    connections_outlive_it(lab, agent).context("the agent's death")?;
    stops(lab, agent).context("the agent's end")
}
