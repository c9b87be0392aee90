//! The SOCKS checks: whether a node forwards, and what keeps it from doing so.
//!
//! Greeting and request go out in one segment where no login is wanted, so that a check costs two round trips:
//! TCP's and this one. A password is not sent before the node has answered like a SOCKS server.

mod udp;
mod wire;

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use self::wire::{Command, NO_LOGIN, NONE_ACCEPTABLE, USERNAME_PASSWORD};
use super::exchange::{Fault, converse};
use super::outcome::shown;
use super::talk::{self, Break, Talk};
use super::{Cause, Outcome};
use crate::config::{Canary, Socks4, Socks5};
use crate::secret::Secret;
use tokio::time::Instant;

/// How a login is made: name and password.
type Login<'a> = (&'a str, &'a Secret);

/// The check in version 5: the canary first, then the association, on a connection each.
pub(super) async fn check5(
    address: SocketAddr,
    ttl: Option<u8>,
    socks: &Socks5,
    password: Option<&Secret>,
    deadline: Instant,
) -> Outcome {
    let username = socks.login.as_ref().map(|login| login.username.as_str());
    let login = username.zip(password);
    let mut seen = Vec::new();
    if socks.connect.is_some() || socks.associate.is_none() {
        let mut talk = match talk::connect(address, ttl, deadline).await {
            Ok(talk) => talk,
            Err(outcome) => return outcome,
        };
        let result = through(&mut talk, login, socks.connect.as_ref()).await;
        talk.part();
        match result {
            Ok(story) => seen.push(story),
            Err(outcome) => return outcome,
        }
    }
    if let Some(associate) = &socks.associate {
        match udp::check(address, ttl, login, associate, deadline).await {
            Ok(story) => seen.push(story),
            Err(outcome) => return outcome,
        }
    }
    Outcome::passed(seen.join(", "))
}

/// The check in version 4.
pub(super) async fn check4(
    address: SocketAddr,
    ttl: Option<u8>,
    socks: &Socks4,
    deadline: Instant,
) -> Outcome {
    let mut talk = match talk::connect(address, ttl, deadline).await {
        Ok(talk) => talk,
        Err(outcome) => return outcome,
    };
    let outcome = match through4(&mut talk, socks).await {
        Ok(story) => Outcome::passed(story),
        Err(outcome) => outcome,
    };
    talk.part();
    outcome
}

/// Greets, logs in, and has the canary connected to; gives what was seen.
async fn through<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    login: Option<Login<'_>>,
    canary: Option<&Canary>,
) -> Result<String, Outcome> {
    let Some(canary) = canary else {
        negotiate(talk, login, &[]).await?;
        return Ok(match login {
            Some(_) => "socks login ok".to_owned(),
            None => "socks greeting ok".to_owned(),
        });
    };
    negotiate(talk, login, &wire::request(Command::Connect, &canary.to)).await?;
    granted(talk, &format!("CONNECT to {}", canary.to)).await?;
    speak(talk, canary).await
}

async fn through4<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    socks: &Socks4,
) -> Result<String, Outcome> {
    let request = wire::request4(&socks.username, &socks.connect.to);
    talk.send(&request)
        .await
        .map_err(|end| before_socks(end, "the request"))?;
    let [version, code, ..] = talk
        .take::<8>()
        .await
        .map_err(|end| unanswered(end, &format!("CONNECT to {}", socks.connect.to)))?;
    // The memo has 0 here; some servers say their version.
    if version != 0 && version != 4 {
        return Err(no_socks(&[version, code]));
    }
    if let Some((cause, meaning)) = wire::reply4(code) {
        let story = format!("not forwarding: {meaning} (socks4 reply {code})");
        return Err(Outcome::told(cause, story));
    }
    speak(talk, &socks.connect).await
}

/// Has the conversation with the canary.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    canary: &Canary,
) -> Result<String, Outcome> {
    match converse(talk, &canary.steps).await {
        Ok(()) => Ok(format!("connected to {}", canary.to)),
        Err(Fault::Ended(Break::TimedOut, so_far)) if so_far.is_empty() => Err(Outcome::told(
            Cause::NotForwarding,
            format!(
                "not forwarding: connected to {}, which said nothing in time",
                canary.to
            ),
        )),
        Err(fault) => Err(Outcome::told(
            Cause::CanaryWrong,
            format!("not forwarding: from {}: {}", canary.to, fault.story()),
        )),
    }
}

/// Greets and logs in; then `request` has been sent.
async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    login: Option<Login<'_>>,
    request: &[u8],
) -> Result<(), Outcome> {
    let offered = if login.is_some() {
        USERNAME_PASSWORD
    } else {
        NO_LOGIN
    };
    let mut greeting = wire::greeting(offered).to_vec();
    if login.is_none() {
        greeting.extend_from_slice(request);
    }
    let greeted = async {
        talk.send(&greeting).await?;
        talk.take::<2>().await
    };
    let answer = greeted
        .await
        .map_err(|end| before_socks(end, "the greeting"))?;
    match answer {
        [5, method] if method == offered => {}
        [5, NONE_ACCEPTABLE] => {
            let story = match login {
                Some(_) => "the socks server takes no login by username and password",
                None => "the socks server wants a login, and the check has none",
            };
            return Err(Outcome::told(Cause::AuthRefused, story));
        }
        [5, method] => {
            let story = format!("not socks: it chose method {method}, which was not offered");
            return Err(Outcome::told(Cause::NotSocks, story));
        }
        other => return Err(no_socks(&other)),
    }
    let Some((username, password)) = login else {
        return Ok(());
    };
    let refused = |story: &str| Outcome::told(Cause::AuthRefused, story);
    let logged_in = async {
        let login = wire::login(username.as_bytes(), password.bytes());
        talk.send(&login).await?;
        talk.take::<2>().await
    };
    match logged_in.await {
        // RFC 1929 has a version of its own, which not every server knows.
        Ok([1 | 5, 0]) => {}
        Ok([1 | 5, _]) => {
            let story = format!("the socks server refused the login of {username}");
            return Err(refused(&story));
        }
        Ok(other) => return Err(no_socks(&other)),
        Err(Break::Closed) => return Err(refused("the socks server hung up at the login")),
        Err(Break::TimedOut) => return Err(refused("no answer to the login in time")),
        Err(Break::Failed(kind)) => return Err(Outcome::Failed(kind)),
    }
    talk.send(request)
        .await
        .map_err(|end| unanswered(end, "the request"))
}

/// Reads the reply to a request; gives the socket in it, where it is none by name.
async fn granted<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    what: &str,
) -> Result<Option<SocketAddr>, Outcome> {
    let reply = async {
        let head = talk.take::<4>().await?;
        let [5, 0, _, kind] = head else {
            return Ok((head, None));
        };
        // At most a byte of length, 255 of name and 2 of port.
        let length = match kind {
            1 => 4,
            4 => 16,
            3 => talk.take::<1>().await?[0].into(),
            _ => return Ok((head, None)),
        };
        let mut rest = vec![0; length + 2];
        talk.fill(&mut rest).await?;
        Ok((head, Some(rest)))
    };
    let (head, rest) = reply.await.map_err(|end| unanswered(end, what))?;
    let [version, code, _, kind] = head;
    if version != 5 {
        return Err(no_socks(&head));
    }
    if let Some((cause, meaning)) = wire::reply(code) {
        let story = format!("not forwarding: {meaning} (reply {code} to {what})");
        return Err(Outcome::told(cause, story));
    }
    let rest = rest.ok_or_else(|| no_socks(&head))?;
    Ok(wire::bound(kind, &rest))
}

/// The conversation ended before anything has shown that this is SOCKS.
fn before_socks(end: Break, what: &str) -> Outcome {
    match end {
        Break::TimedOut => Outcome::told(
            Cause::NoAnswer,
            format!("connected, no answer to {what} in time"),
        ),
        Break::Closed => Outcome::told(
            Cause::Closed,
            format!("connected, closed without an answer to {what}"),
        ),
        Break::Failed(kind) => Outcome::Failed(kind),
    }
}

/// The server spoke SOCKS, and left the request without a reply.
fn unanswered(end: Break, what: &str) -> Outcome {
    match end {
        Break::TimedOut => Outcome::told(
            Cause::NotForwarding,
            format!("not forwarding: no reply to {what} in time"),
        ),
        Break::Closed => Outcome::told(
            Cause::NotForwarding,
            format!("not forwarding: it hung up instead of replying to {what}"),
        ),
        Break::Failed(kind) => Outcome::Failed(kind),
    }
}

fn no_socks(answer: &[u8]) -> Outcome {
    Outcome::told(
        Cause::NotSocks,
        format!("not socks: it answered {}", shown(answer)),
    )
}

#[cfg(test)]
mod tests;
