//! Whether a node grants a UDP association, and whether datagrams come back through it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::wire::{self, Command};
use super::{Login, granted, negotiate};
use crate::config::{Associate, DatagramCanary, Destination, Expect};
use crate::health::bytes::first;
use crate::health::outcome::shown;
use crate::health::talk::{self, limit_hops};
use crate::health::{Cause, Outcome};

/// A datagram may be lost without anybody being to blame: it is sent again after so long.
const AGAIN: Duration = Duration::from_millis(150);
/// Most datagrams that are looked at before the right one.
const MOST_ANSWERS: usize = 64;
/// Bytes of a payload that the check makes up.
const COOKIE: usize = 16;

/// Opens an association and closes it again; between the two a datagram goes there and back, if there is a canary.
pub(super) async fn check(
    address: SocketAddr,
    ttl: Option<u8>,
    login: Option<Login<'_>>,
    associate: &Associate,
    deadline: Instant,
) -> Result<String, Outcome> {
    let mut talk = talk::connect(address, ttl, deadline).await?;
    let result = async {
        let local = talk.local().map_err(|error| Outcome::of_relay(&error))?;
        let socket = UdpSocket::bind((local.ip(), 0)).await;
        let socket = socket.map_err(|error| Outcome::of_relay(&error))?;
        limit_hops(&SockRef::from(&socket), address, ttl).map_err(|e| Outcome::of_relay(&e))?;
        let own = socket.local_addr().map_err(|e| Outcome::of_relay(&e))?;
        // Dante takes datagrams only from the announced socket.
        let request = wire::request(Command::UdpAssociate, &Destination::Socket(own));
        negotiate(&mut talk, login, &request).await?;
        let bound = granted(&mut talk, "UDP ASSOCIATE")
            .await
            .map_err(of_association)?;
        let Some(canary) = &associate.canary else {
            return Ok("udp association granted".to_owned());
        };
        let to = reachable(bound, address)?;
        socket.connect(to).await.map_err(|error| broken(&error))?;
        there_and_back(&socket, canary, deadline).await
    };
    let result = result.await;
    talk.part();
    result
}

/// Where datagrams go: BND.ADDR, or the node's own address where the server leaves it open.
fn reachable(bound: Option<SocketAddr>, node: SocketAddr) -> Result<SocketAddr, Outcome> {
    let bound = bound.filter(|bound| bound.port() != 0).ok_or_else(|| {
        let story = "udp broken: the association has no address that can be sent to";
        Outcome::told(Cause::UdpBroken, story)
    })?;
    if bound.ip().is_unspecified() || bound.is_ipv4() != node.is_ipv4() {
        return Ok((node.ip(), bound.port()).into());
    }
    Ok(bound)
}

/// A refusal of an association is another fault than one of CONNECT.
fn of_association(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Told(Cause::NotSocks, _)
        | Outcome::Connected
        | Outcome::Refused
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Failed(_)
        | Outcome::NotProbed(_) => outcome,
        Outcome::Told(_, story) => {
            let story = story.replacen("not forwarding", "udp refused", 1);
            Outcome::told(Cause::UdpRefused, story)
        }
    }
}

async fn there_and_back(
    socket: &UdpSocket,
    canary: &DatagramCanary,
    deadline: Instant,
) -> Result<String, Outcome> {
    let mut cookie = [0; COOKIE];
    cookie.fill_with(|| fastrand::u8(..));
    let sent = canary.send.as_deref().unwrap_or(&cookie);
    let expect = match &canary.expect {
        Some(expect) => expect.clone(),
        None => Expect::Bytes(sent.to_vec()),
    };
    let datagram = wire::datagram(&canary.to, sent);
    let mut room = vec![0; 65_536];
    let mut other = None;
    let mut answers = 0;
    while answers < MOST_ANSWERS {
        socket.send(&datagram).await.map_err(|e| broken(&e))?;
        let again = Instant::now() + AGAIN;
        // All that comes until the next attempt.
        while answers < MOST_ANSWERS {
            match timeout_at(again.min(deadline), socket.recv(&mut room)).await {
                Err(_) if Instant::now() >= deadline => {
                    return Err(Outcome::told(Cause::UdpBroken, unanswered(other, canary)));
                }
                Err(_) => break,
                Ok(Err(error)) => return Err(broken(&error)),
                Ok(Ok(length)) => {
                    answers += 1;
                    let datagram = first(&room, length);
                    let payload = wire::payload(datagram);
                    if payload.is_some_and(|payload| is_expected(&expect, payload)) {
                        return Ok(format!("udp there and back to {}", canary.to));
                    }
                    other = Some(shown(payload.unwrap_or(datagram)));
                }
            }
        }
    }
    Err(Outcome::told(Cause::UdpBroken, unanswered(other, canary)))
}

fn is_expected(expect: &Expect, payload: &[u8]) -> bool {
    match expect {
        Expect::Bytes(bytes) => payload.starts_with(bytes),
        Expect::Text(glob) => glob.matches(payload),
    }
}

fn unanswered(other: Option<String>, canary: &DatagramCanary) -> String {
    let to = &canary.to;
    match other {
        Some(other) => format!("udp broken: {to} answers {other}"),
        None => format!("udp broken: no datagram came back from {to} in time"),
    }
}

/// An ICMP error about a datagram is told by the next call.
fn broken(error: &io::Error) -> Outcome {
    Outcome::told(Cause::UdpBroken, format!("udp broken: {}", error.kind()))
}
