//! One ping from one of our addresses, and the interface by which the answer comes.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, bind, connect, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// What the echo carries, so that it is not taken for another's.
const PAYLOAD: &[u8] = b"redirector doctor";

/// What tells one echo from the others that are under way at the same time: several nodes are asked at once, and a raw
/// socket hears the answers of all of them until it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// The low bits of the process id, which tell one doctor from another.
    identifier: u16,
    sequence: u16,
}

impl Mark {
    fn next() -> Self {
        static SEQUENCE: AtomicU16 = AtomicU16::new(1);
        Self {
            identifier: (std::process::id() & 0xffff) as u16,
            sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.identifier.to_be_bytes(), self.sequence.to_be_bytes());
        [a, b, c, d]
    }
}

/// Sends an ICMP or `ICMPv6` echo from `source` to `node` and waits for the answer; the index of the interface by
/// which it came, or none when `limit` has passed.
///
/// # Errors
/// When there is no privilege for a raw socket, or `source` is not ours.
pub(super) fn ping(source: IpAddr, node: IpAddr, limit: Duration) -> io::Result<Option<u32>> {
    let (family, protocol) = match source {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    match source {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    bind(
        socket.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::from((source, 0))),
    )?;
    let mark = Mark::next();
    connect(
        socket.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::from((node, 0))),
    )?;
    send(socket.as_raw_fd(), &echo(source, mark), MsgFlags::empty())?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let microseconds = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::microseconds(microseconds),
        )?;
        let mut bytes = [0; 256];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
        let received = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let (length, interface) = match received {
            Ok(message) => {
                #[expect(
                    clippy::wildcard_enum_match_arm,
                    reason = "the other kinds depend on the target"
                )]
                let interface = message.cmsgs()?.find_map(|control| match control {
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        u32::try_from(info.ipi_ifindex).ok()
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_ifindex),
                    _ => None,
                });
                (message.bytes, interface)
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if is_answer(source, &bytes[..length.min(bytes.len())], mark) {
            return Ok(interface);
        }
    }
}

/// An echo request (RFC 792, RFC 4443); the kernel fills in the checksum of `ICMPv6`.
fn echo(source: IpAddr, mark: Mark) -> Vec<u8> {
    let kind = if source.is_ipv4() { 8 } else { 128 };
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(mark.bytes());
    bytes.extend(PAYLOAD);
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
    }
    let check = !redirector_common::checksum::fold(sum);
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// Whether it is the answer to our echo. IPv4 comes with its IP header.
fn is_answer(source: IpAddr, bytes: &[u8], mark: Mark) -> bool {
    let (message, kind) = match source {
        IpAddr::V4(_) => {
            let header = bytes
                .first()
                .map_or(0, |first| usize::from(first & 0xf) * 4);
            (bytes.get(header..), 0)
        }
        IpAddr::V6(_) => (Some(bytes), 129),
    };
    message.is_some_and(|message| {
        message.first() == Some(&kind)
            && message.get(4..8) == Some(&mark.bytes())
            && message.get(8..) == Some(PAYLOAD)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const OURS: Mark = Mark {
        identifier: 7,
        sequence: 1,
    };

    #[test]
    fn only_the_answer_to_our_own_echo_counts() {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut answer = vec![0x45; 20];
        answer.extend(echo(v4, OURS));
        assert!(!is_answer(v4, &answer, OURS), "a request is no answer");
        answer[20] = 0;
        assert!(is_answer(v4, &answer, OURS));
        for others in [
            Mark {
                identifier: 8,
                ..OURS
            },
            Mark {
                sequence: 2,
                ..OURS
            },
        ] {
            assert!(!is_answer(v4, &answer, others), "{others:?}");
        }
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let mut answer = echo(v6, OURS);
        answer[0] = 129;
        assert!(is_answer(v6, &answer, OURS));
        for length in 0..answer.len() {
            assert!(!is_answer(v6, &answer[..length], OURS));
            assert!(!is_answer(v4, &answer[..length], OURS));
        }
    }

    #[test]
    fn two_echoes_under_way_at_once_are_told_apart() {
        assert_ne!(Mark::next(), Mark::next());
    }

    #[test]
    fn an_echo_has_a_right_checksum() {
        let bytes = echo(IpAddr::V4(Ipv4Addr::LOCALHOST), OURS);
        let sum = bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
            .sum();
        assert_eq!(redirector_common::checksum::fold(sum), 0xffff);
    }
}
