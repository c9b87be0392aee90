//! CONNECT and BIND, in every way that nodes are reached.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::plan::{ECHO, Family, TARGET, node_of_outside};
use redirector_tests::lab::socks::{Delivery, SocksError};
use redirector_tests::lab::socks_server::{PASSWORD, USER};
use redirector_tests::lab::{Lab, Session};

use super::{Way, bring_up, near_and_far, shared, small};

#[test]
fn every_command_works_in_both_families_however_nodes_are_reached_and_bytes_are_cut() -> Result<()>
{
    for way in Way::ALL {
        let (lab, _agent) = bring_up(way, small())?;
        everything(&lab).with_context(|| format!("{way:?}"))?;
    }
    Ok(())
}

fn everything(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        let target = Family::of(client).endpoint(ECHO);
        for delivery in Delivery::ALL {
            let plain = lab.socks(client, shared(client)).delivery(delivery);
            for speaker in [plain.clone(), plain.clone().login(USER, PASSWORD)] {
                let connection = speaker
                    .connect(target)
                    .with_context(|| format!("CONNECT, {speaker:?}"))?;
                let bound = connection.reply.bound;
                let session = Session::meet_target(connection.stream)?;
                ensure!(
                    node_of_outside(bound.ip()) == Some(session.node),
                    "a CONNECT's reply names {bound}, not the node that serves it"
                );
                lab.dante_line_about(&session)?;
                bind(lab, &speaker, Family::of(client))
                    .with_context(|| format!("BIND, {speaker:?}"))?;
            }
            let connection = plain
                .connect4(ECHO)
                .with_context(|| format!("CONNECT of SOCKS4, {plain:?}"))?;
            Session::meet_target(connection.stream)?;
        }
    }
    Ok(())
}

fn bind(
    lab: &Lab,
    speaker: &redirector_tests::lab::socks::SocksClient<'_>,
    family: Family,
) -> Result<()> {
    let binding = speaker.bind(family.endpoint(ECHO))?;
    let bound = binding.reply.bound;
    ensure!(
        node_of_outside(bound.ip()).is_some(),
        "a BIND's reply names {bound}"
    );
    let mut target = lab.call_from_target(bound)?;
    let mut connection = binding.accept()?;
    ensure!(connection.reply.bound == target.local_addr()?);
    ensure!(connection.reply.bound.ip() == family.address(TARGET));
    target.write_all(b"down")?;
    connection.stream.write_all(b"up")?;
    let (mut down, mut up) = ([0; 4], [0; 2]);
    connection.stream.read_exact(&mut down)?;
    target.read_exact(&mut up)?;
    ensure!((&down, &up) == (b"down", b"up"));
    Ok(())
}

#[test]
fn what_dante_refuses_is_refused_through_the_redirector_too() -> Result<()> {
    for way in [Way::TWO_ARMED, Way::DIRECT_RETURN] {
        let (lab, _agent) = bring_up(way, small())?;
        for client in near_and_far(&lab) {
            let family = Family::of(client);
            let speaker = lab.socks(client, shared(client));
            let mut nobody = family.endpoint(ECHO);
            nobody.set_port(9);
            let refused = speaker.connect(nobody);
            assert!(
                matches!(&refused, Err(SocksError::Refused(reply)) if reply.code == 5),
                "{refused:?}"
            );
            let login = speaker
                .login(USER, "guessed")
                .connect(family.endpoint(ECHO));
            assert!(matches!(login, Err(SocksError::Login(_))), "{login:?}");
        }
    }
    Ok(())
}
