//! Echo requests (RFC 792, RFC 4443): whether a host answers at all.
//!
//! Where the kernel has sockets for them that need no privilege (`net.ipv4.ping_group_range`), such a one is used, else a
//! raw one, which needs `CAP_NET_RAW` and is opened by the thread that has it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::bytes::first;
use super::talk::limit_hops;
use super::{Cause, Hands, Outcome};

/// Bytes that make a request known again.
const COOKIE: usize = 16;
const HEADER: usize = 8;
/// Requests of a check: one that is lost on the way is nobody's fault.
const REQUESTS: u32 = 3;
/// Most messages that are looked at before the right one.
const MOST_MESSAGES: usize = 256;

/// An echo socket that is connected to a host.
struct Echo {
    socket: UdpSocket,
    /// Whether messages have the header of IPv4 before them.
    with_header: bool,
    v6: bool,
}

/// Asks a host for an echo.
pub(super) async fn check(
    address: IpAddr,
    ttl: Option<u8>,
    deadline: Instant,
    hands: &Hands,
) -> Outcome {
    let echo = match Echo::open(address, ttl, hands).await {
        Ok(echo) => echo,
        Err(error) => return of_socket(&error),
    };
    match echo.ask(deadline).await {
        Ok(true) => Outcome::passed("icmp echo reply"),
        Ok(false) => Outcome::told(Cause::TimedOut, "no icmp echo reply in time"),
        Err(error) => of_socket(&error),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what has a name keeps it")]
fn of_socket(error: &io::Error) -> Outcome {
    match Outcome::of_connect(error) {
        Outcome::Refused | Outcome::TimedOut | Outcome::Unreachable => Outcome::Unreachable,
        Outcome::Failed(kind) => Outcome::told(Cause::Failed, format!("icmp failed: {kind}")),
        outcome => outcome,
    }
}

impl Echo {
    async fn open(address: IpAddr, ttl: Option<u8>, hands: &Hands) -> io::Result<Self> {
        let (domain, protocol) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (socket, raw) = if let Ok(socket) = Socket::new(domain, Type::DGRAM, Some(protocol)) {
            (socket, false)
        } else {
            let raw = move || Socket::new(domain, Type::RAW, Some(protocol));
            (hands.open(raw).await?, true)
        };
        let to = SocketAddr::new(address, 0);
        limit_hops(&SockRef::from(&socket), to, ttl)?;
        socket.set_nonblocking(true)?;
        socket.connect(&to.into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            with_header: raw && address.is_ipv4(),
            v6: address.is_ipv6(),
        })
    }

    /// Whether a reply came by the deadline.
    async fn ask(&self, deadline: Instant) -> io::Result<bool> {
        let mut cookie = [0; COOKIE];
        cookie.fill_with(|| fastrand::u8(..));
        let wait = deadline.saturating_duration_since(Instant::now()) / REQUESTS;
        let mut room = [0; 512];
        let mut messages = 0;
        for number in 0..REQUESTS {
            self.socket.send(&request(self.v6, number, &cookie)).await?;
            let last = number + 1 == REQUESTS;
            let until = if last {
                deadline
            } else {
                Instant::now() + wait.max(Duration::from_millis(1))
            };
            while let Ok(read) = timeout_at(until.min(deadline), self.socket.recv(&mut room)).await
            {
                let message = first(&room, read?);
                if is_reply(message, self.with_header, self.v6, &cookie) {
                    return Ok(true);
                }
                messages += 1;
                if messages == MOST_MESSAGES {
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }
}

/// An echo request. The kernel fills in the identifier of an unprivileged socket and every checksum of `ICMPv6`.
fn request(v6: bool, number: u32, cookie: &[u8; COOKIE]) -> [u8; HEADER + COOKIE] {
    let mut bytes = [0; HEADER + COOKIE];
    bytes[0] = if v6 { 128 } else { 8 };
    bytes[4..6].copy_from_slice(&cookie[..2]);
    bytes[6..8].copy_from_slice(&number.to_be_bytes()[2..]);
    bytes[HEADER..].copy_from_slice(cookie);
    if !v6 {
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u16::from_be_bytes(*word));
    let sum: u32 = words.map(u32::from).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Whether a message is the reply to our request.
fn is_reply(message: &[u8], with_header: bool, v6: bool, cookie: &[u8]) -> bool {
    let header = match message.first() {
        Some(first) if with_header => usize::from(first & 0xf) * 4,
        Some(_) | None => 0,
    };
    let kind = if v6 { 129 } else { 0 };
    message
        .get(header..)
        .is_some_and(|icmp| icmp.first() == Some(&kind) && icmp.get(HEADER..) == Some(cookie))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOKIE_SEEN: [u8; COOKIE] = [7; COOKIE];

    #[test]
    fn a_request_has_a_checksum_that_sums_to_nothing() {
        for number in [0, 1, 2] {
            assert_eq!(checksum(&request(false, number, &COOKIE_SEEN)), 0);
        }
        assert_eq!(request(true, 0, &COOKIE_SEEN)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn only_the_reply_to_our_own_request_counts() {
        let mut reply = request(false, 0, &COOKIE_SEEN);
        assert!(
            !is_reply(&reply, false, false, &COOKIE_SEEN),
            "our own request"
        );
        reply[0] = 0;
        assert!(is_reply(&reply, false, false, &COOKIE_SEEN));
        assert!(
            !is_reply(&reply, false, false, &[8; COOKIE]),
            "somebody else's"
        );
        let mut with_header = vec![0x45; 20];
        with_header.extend(reply);
        assert!(is_reply(&with_header, true, false, &COOKIE_SEEN));
        assert!(!is_reply(&with_header[..30], true, false, &COOKIE_SEEN));
    }

    #[tokio::test]
    async fn a_host_that_is_there_answers() {
        for address in ["127.0.0.1", "::1"] {
            let deadline = Instant::now() + Duration::from_secs(2);
            let outcome = check(
                address.parse().unwrap(),
                Some(3),
                deadline,
                &Hands::default(),
            )
            .await;
            let cause = outcome.cause();
            // Without any privilege, or without IPv6, there is nothing to see here; the lab has both.
            let unable = matches!(cause, Cause::NotProbed | Cause::Unreachable);
            assert!(cause == Cause::Passed || unable, "{address}: {outcome}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_looked_at_without_harm(
            message in proptest::collection::vec(any::<u8>(), 0..80), header: bool, v6: bool,
        ) {
            prop_assert!(!is_reply(&message, header, v6, &COOKIE_SEEN));
        }
    }
}
