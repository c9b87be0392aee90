//! The bytes of SOCKS: RFC 1928 (version 5), RFC 1929 (its logins), and the memos on versions 4 and 4A.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Destination;
use crate::health::Cause;
use crate::health::bytes::first;

/// A command of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Connect = 1,
    UdpAssociate = 3,
}

/// The greeting that offers one method.
pub(super) const fn greeting(method: u8) -> [u8; 3] {
    [5, 1, method]
}

/// The methods of authentication.
pub(super) const NO_LOGIN: u8 = 0;
pub(super) const USERNAME_PASSWORD: u8 = 2;
pub(super) const NONE_ACCEPTABLE: u8 = 0xff;

/// A login (RFC 1929). Both texts have 1 to 255 bytes.
pub(super) fn login(username: &[u8], password: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![1, length(username)];
    bytes.extend_from_slice(first(username, length(username).into()));
    bytes.push(length(password));
    bytes.extend_from_slice(first(password, length(password).into()));
    bytes
}

/// A request in version 5.
pub(super) fn request(command: Command, to: &Destination) -> Vec<u8> {
    let mut bytes = vec![5, command as u8, 0];
    bytes.extend(address(to));
    bytes
}

/// ATYP, address and port.
fn address(to: &Destination) -> Vec<u8> {
    let mut bytes = Vec::new();
    let port = match to {
        Destination::Socket(socket) => {
            match socket.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(1);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(4);
                    bytes.extend(ip.octets());
                }
            }
            socket.port()
        }
        Destination::Name(name, port) => {
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            bytes.extend([3, length]);
            bytes.extend_from_slice(first(name.as_bytes(), length.into()));
            *port
        }
    };
    bytes.extend(port.to_be_bytes());
    bytes
}

/// A CONNECT in version 4, or 4A for a name.
pub(super) fn request4(username: &str, to: &Destination) -> Vec<u8> {
    // 4A: an address that nothing has announces the name.
    let (port, ip, name) = match to {
        Destination::Socket(socket) => {
            let ip = match socket.ip() {
                IpAddr::V4(ip) => ip,
                // The configuration has refused it.
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            };
            (socket.port(), ip, None)
        }
        Destination::Name(name, port) => (*port, Ipv4Addr::new(0, 0, 0, 1), Some(name)),
    };
    let mut bytes = vec![4, Command::Connect as u8];
    bytes.extend(port.to_be_bytes());
    bytes.extend(ip.octets());
    bytes.extend_from_slice(username.as_bytes());
    bytes.push(0);
    if let Some(name) = name {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// What a reply code says (RFC 1928 section 6), and the cause that it is; none for success.
pub(super) const fn reply(code: u8) -> Option<(Cause, &'static str)> {
    match code {
        0 => None,
        1 => Some((Cause::GeneralFailure, "general SOCKS server failure")),
        2 => Some((Cause::NotAllowed, "connection not allowed by ruleset")),
        3 => Some((Cause::NetworkUnreachable, "network unreachable")),
        4 => Some((Cause::HostUnreachable, "host unreachable")),
        5 => Some((Cause::ConnectionRefused, "connection refused")),
        6 => Some((Cause::TtlExpired, "TTL expired")),
        7 => Some((Cause::CommandNotSupported, "command not supported")),
        8 => Some((Cause::AddressTypeNotSupported, "address type not supported")),
        9.. => Some((Cause::UnassignedReply, "a reply without a meaning")),
    }
}

/// The same of version 4.
pub(super) const fn reply4(code: u8) -> Option<(Cause, &'static str)> {
    match code {
        90 => None,
        91 => Some((Cause::Rejected, "request rejected or failed")),
        92 => Some((Cause::AuthRefused, "the server cannot reach identd")),
        93 => Some((Cause::AuthRefused, "identd names another user")),
        0..=89 | 94.. => Some((Cause::UnassignedReply, "a reply without a meaning")),
    }
}

/// A datagram to the association (RFC 1928 section 7), not in fragments.
pub(super) fn datagram(to: &Destination, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0];
    bytes.extend(address(to));
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of a datagram from the association; none when it is none, or a fragment.
pub(super) fn payload(datagram: &[u8]) -> Option<&[u8]> {
    let (header, rest) = datagram.split_at_checked(4)?;
    let [0, 0, 0, kind] = header else {
        return None;
    };
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => 1 + usize::from(*rest.first()?),
        _ => return None,
    };
    rest.get(length + 2..)
}

/// The socket in a reply, from its ATYP on; none for a name.
pub(super) fn bound(kind: u8, bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip: IpAddr = match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        4 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    Some((ip, u16::from_be_bytes(*port)).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to(text: &str) -> Destination {
        Destination::Socket(text.parse().unwrap())
    }

    #[test]
    fn the_bytes_are_those_of_the_standards() {
        assert_eq!(
            request(Command::Connect, &to("192.0.2.80:80")),
            [5, 1, 0, 1, 192, 0, 2, 80, 0, 80]
        );
        let name = Destination::Name("a.b".to_owned(), 443);
        assert_eq!(
            request(Command::Connect, &name),
            [5, 1, 0, 3, 3, b'a', b'.', b'b', 1, 187]
        );
        assert_eq!(
            request(Command::UdpAssociate, &to("[::1]:1")).len(),
            4 + 16 + 2
        );
        assert_eq!(
            request4("me", &to("192.0.2.80:80")),
            [4, 1, 0, 80, 192, 0, 2, 80, b'm', b'e', 0]
        );
        assert_eq!(
            request4("", &name),
            [4, 1, 1, 187, 0, 0, 0, 1, 0, b'a', b'.', b'b', 0]
        );
        assert_eq!(login(b"ab", b"c"), [1, 2, b'a', b'b', 1, b'c']);
    }

    #[test]
    fn every_reply_of_the_standard_has_a_cause_of_its_own() {
        let causes: Vec<_> = (1..=8).filter_map(|code| Some(reply(code)?.0)).collect();
        let different: std::collections::HashSet<_> = causes.iter().collect();
        assert_eq!((causes.len(), different.len()), (8, 8));
        assert_eq!((reply(0), reply4(90)), (None, None));
    }

    proptest! {
        #[test]
        fn a_datagram_comes_back_as_it_went(
            payload in proptest::collection::vec(any::<u8>(), 0..100), port in 1..u16::MAX, v6: bool,
        ) {
            let ip: IpAddr = if v6 { [1; 16].into() } else { [1; 4].into() };
            let sent = datagram(&Destination::Socket((ip, port).into()), &payload);
            prop_assert_eq!(super::payload(&sent), Some(payload.as_slice()));
        }

        #[test]
        fn any_datagram_is_looked_at_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(payload) = payload(&bytes) {
                prop_assert!(bytes.ends_with(payload));
                prop_assert_eq!(&bytes[..3], [0; 3]);
            }
            let _ = bound(bytes.first().copied().unwrap_or(1), &bytes);
        }
    }
}
