//! UDP ASSOCIATE, by way of the shared address and past it.

use std::io::ErrorKind;
use std::net::{IpAddr, Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::plan::{ECHO, Family, WHO, node_inside, node_of_outside};
use redirector_tests::lab::socks::{Association, Delivery, Habit};
use redirector_tests::lab::socks_server::{PASSWORD, USER};
use redirector_tests::lab::{Lab, wait_until};

use super::{SOON, near_and_far, payload, shared};

/// Clients that obey BND.ADDR, which must be the shared address, and clients that ignore it; datagrams that are
/// fragments too.
pub(super) fn both_kinds_of_clients(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        for habit in Habit::ALL {
            for delivery in Delivery::ALL {
                for login in [false, true] {
                    associate_and_exchange(lab, client, habit, delivery, login).with_context(
                        || format!("{client}, {habit:?}, {delivery:?}, login: {login}"),
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn associate_and_exchange(
    lab: &Lab,
    client: IpAddr,
    habit: Habit,
    delivery: Delivery,
    login: bool,
) -> Result<()> {
    let mut speaker = lab.socks(client, shared(client)).delivery(delivery);
    if login {
        speaker = speaker.login(USER, PASSWORD);
    }
    let association = speaker.within(Duration::from_secs(2)).associate(habit)?;
    let bound = association.reply.bound;
    ensure!(bound.ip() == shared(client).ip(), "BND.ADDR is {bound}");
    let family = Family::of(client);
    for size in [1, 1_000, 4_000] {
        let data = payload(size);
        let echo = association
            .exchange(family.endpoint(ECHO), &data)
            .with_context(|| format!("{size} bytes"))?;
        ensure!(echo.sender == bound, "{} answers", echo.sender);
        ensure!(echo.payload == data, "{size} bytes came back otherwise");
    }
    Ok(())
}

/// Dante's log names the client itself.
pub(super) fn dante_knows_the_client(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        let association = associate(lab, client)?;
        let seen = association.exchange(Family::of(client).endpoint(WHO), b"?")?;
        let seen: SocketAddr = String::from_utf8(seen.payload)?.parse()?;
        let node = node_of_outside(seen.ip()).context("the target does not see a node")?;
        let control = association.control.local_addr()?;
        let name = format!("{}.{} ", control.ip(), control.port());
        wait_until("Dante's log", Duration::from_secs(2), || {
            let log = lab.dante_log(node)?;
            ensure!(log.contains(&name), "no {name} in the log:\n{log}");
            Ok(())
        })?;
    }
    Ok(())
}

fn associate(lab: &Lab, client: IpAddr) -> Result<Association> {
    let speaker = lab.socks(client, shared(client)).within(SOON);
    Ok(speaker.associate(Habit::ObeysReply)?)
}

fn require_silence(association: &Association, family: Family) -> Result<()> {
    match association.exchange(family.endpoint(ECHO), b"anybody?") {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        other => anyhow::bail!("{other:?} instead of silence"),
    }
}

/// A stranger cannot speak into an association, and its owner can afterwards. Dante itself serves whoever comes
/// first when the client has announced no address.
pub(super) fn strangers_are_dropped(lab: &Lab, agent: &Agent) -> Result<()> {
    for family in Family::ALL {
        let clients = lab.clients_in(family);
        for (client, stranger) in [(clients[0], clients[2]), (clients[1], clients[0])] {
            let mut association = associate(lab, client)?;
            let before = agent.counter("drop-stranger")?;
            let other = socket(lab, stranger)?;
            let own = std::mem::replace(&mut association.socket, other);
            require_silence(&association, family)?;
            ensure!(agent.counter("drop-stranger")? == before + 1);
            association.socket = own;
            association.exchange(family.endpoint(ECHO), b"it is me")?;
        }
    }
    Ok(())
}

fn socket(lab: &Lab, client: IpAddr) -> Result<UdpSocket> {
    let host = lab.host_of_client(client);
    let socket = host.run(|| UdpSocket::bind((client, 0)))??;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

/// With the control connection goes the pinhole.
pub(super) fn pinholes_close(lab: &Lab, agent: &Agent) -> Result<()> {
    for client in near_and_far(lab) {
        let family = Family::of(client);
        let association = associate(lab, client)?;
        association.exchange(family.endpoint(ECHO), b"alive")?;
        let closed = agent.counter("association-closed")?;
        association.control.shutdown(Shutdown::Both)?;
        wait_until("the pinhole to close", Duration::from_secs(2), || {
            ensure!(agent.counter("association-closed")? > closed, "it is open");
            Ok(())
        })?;
        let forwarded = agent.counter("forward-associated")?;
        require_silence(&association, family)?;
        ensure!(
            agent.counter("forward-associated")? == forwarded,
            "a datagram went through a closed pinhole"
        );
    }
    wait_until("all pinholes to close", Duration::from_secs(2), || {
        ensure!(live_associations(agent)? == 0, "some are left");
        Ok(())
    })
}

fn live_associations(agent: &Agent) -> Result<u64> {
    let redirects = agent.show("redirects")?;
    let redirects = redirects.as_array().context("no list of redirects")?;
    let live = redirects
        .iter()
        .map(|redirect| redirect.get("associations")?.as_u64());
    live.sum::<Option<u64>>()
        .context("a redirect does not say how many associations it has")
}

/// An association of `udp-associate = "direct"` is the node's own.
pub(super) fn direct_associations(lab: &Lab, agent: &Agent) -> Result<()> {
    for client in near_and_far(lab) {
        let family = Family::of(client);
        let association = associate(lab, client)?;
        let bound = association.reply.bound.ip();
        let nodes = [0, 1].map(|node| family.address(node_inside(node)));
        ensure!(nodes.contains(&bound), "BND.ADDR is {bound}");
        for size in [10, 4_000] {
            let echo = association.exchange(family.endpoint(ECHO), &payload(size))?;
            ensure!(echo.sender.ip() == bound);
            ensure!(echo.payload == payload(size));
        }
    }
    for name in [
        "association-opened",
        "forward-associated",
        "reply-associated",
    ] {
        ensure!(agent.counter(name)? == 0, "{name} counts");
    }
    Ok(())
}
