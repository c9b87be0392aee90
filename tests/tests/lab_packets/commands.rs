//! CONNECT and BIND.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::plan::{ECHO, Family, TARGET, node_of_outside};
use redirector_tests::lab::socks::{Delivery, SocksClient, SocksError};
use redirector_tests::lab::socks_server::{PASSWORD, USER};
use redirector_tests::lab::{Lab, Session};

use super::{near_and_far, shared};

/// CONNECT, BIND and SOCKS4, however their bytes are cut, with and without a login.
pub(super) fn every_command(lab: &Lab) -> Result<()> {
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

fn bind(lab: &Lab, speaker: &SocksClient<'_>, family: Family) -> Result<()> {
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

/// A target where nobody listens, and a wrong password.
pub(super) fn what_dante_refuses(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        let family = Family::of(client);
        let speaker = lab.socks(client, shared(client));
        let mut nobody = family.endpoint(ECHO);
        nobody.set_port(9);
        let refused = speaker.connect(nobody);
        ensure!(
            matches!(&refused, Err(SocksError::Refused(reply)) if reply.code == 5),
            "{refused:?}"
        );
        let login = speaker
            .login(USER, "guessed")
            .connect(family.endpoint(ECHO));
        ensure!(matches!(login, Err(SocksError::Login(_))), "{login:?}");
    }
    Ok(())
}
