//! The bytes of SOCKS5 (RFC 1928), its username and password (RFC 1929) and SOCKS4.

use std::io::{self, Error, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// The method "no authentication required".
pub const NO_LOGIN: u8 = 0;
/// The method "username/password".
pub const PASSWORD: u8 = 2;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A connection to the target.
    Connect = 1,
    /// A connection from the target.
    Bind = 2,
    /// Datagrams.
    Associate = 3,
}

/// What the proxy answered to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// REP: 0 is yes. Of SOCKS4, CD: 90 is yes.
    pub code: u8,
    /// BND.ADDR and BND.PORT, as they came.
    pub bound: SocketAddr,
}

/// The greeting of a client that knows one method.
pub fn greeting(method: u8) -> Vec<u8> {
    vec![5, 1, method]
}

/// The login of RFC 1929; what is longer than 255 bytes is cut.
pub fn login(name: &str, password: &str) -> Vec<u8> {
    let mut bytes = vec![1];
    for text in [name, password] {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        bytes.push(length);
        bytes.extend(&text.as_bytes()[..usize::from(length)]);
    }
    bytes
}

/// A request of SOCKS5.
pub fn request(command: Command, address: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![5, command as u8, 0];
    push_address(&mut bytes, address);
    bytes
}

/// A request of SOCKS4, which knows no IPv6.
pub fn request4(command: Command, address: SocketAddrV4, user: &str) -> Vec<u8> {
    let mut bytes = vec![4, command as u8];
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(address.ip().octets());
    bytes.extend(user.as_bytes());
    bytes.push(0);
    bytes
}

/// Reads the reply to a request of SOCKS5.
///
/// # Errors
/// When it does not come, or is not one.
pub fn read_reply(from: &mut impl Read) -> io::Result<Reply> {
    let [version, code, reserved] = read_array(from)?;
    if (version, reserved) != (5, 0) {
        return Err(bad(format!(
            "a reply begins with {version}, {code}, {reserved}"
        )));
    }
    let bound = read_address(from)?;
    Ok(Reply { code, bound })
}

/// Reads the reply to a request of SOCKS4.
///
/// # Errors
/// When it does not come, or is not one.
pub fn read_reply4(from: &mut impl Read) -> io::Result<Reply> {
    let [version, code, high, low, a, b, c, d] = read_array(from)?;
    if version != 0 {
        return Err(bad(format!("a reply of SOCKS4 begins with {version}")));
    }
    let port = u16::from_be_bytes([high, low]);
    let bound = SocketAddr::from((Ipv4Addr::new(a, b, c, d), port));
    Ok(Reply { code, bound })
}

/// A datagram to `target`, as the proxy wants it.
pub fn wrap(target: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0];
    push_address(&mut bytes, target);
    bytes.extend(payload);
    bytes
}

/// Who sent a datagram that came from the proxy, and what is in it.
///
/// # Errors
/// When it has no whole header, or is a fragment (which no proxy here makes).
pub fn unwrap(datagram: &[u8]) -> io::Result<(SocketAddr, &[u8])> {
    let mut rest = datagram;
    let [high, low, fragment] = read_array(&mut rest)?;
    if (high, low, fragment) != (0, 0, 0) {
        return Err(bad(format!(
            "a datagram begins with {high}, {low}, {fragment}"
        )));
    }
    let origin = read_address(&mut rest)?;
    Ok((origin, rest))
}

fn push_address(bytes: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(address.port().to_be_bytes());
}

fn read_address(from: &mut impl Read) -> io::Result<SocketAddr> {
    let ip = match read_array(from)? {
        [1] => IpAddr::V4(Ipv4Addr::from(read_array::<4>(from)?)),
        [4] => IpAddr::V6(Ipv6Addr::from(read_array::<16>(from)?)),
        [other] => return Err(bad(format!("an address of the type {other}"))),
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes(read_array(from)?)))
}

pub(super) fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bad(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 80), 0x1234));

    #[test]
    fn a_request_is_what_the_rfc_says() {
        let bytes = request(Command::Associate, V4);
        assert_eq!(bytes, [5, 3, 0, 1, 192, 0, 2, 80, 0x12, 0x34]);
        let six = request(Command::Connect, "[2001:db8::1]:80".parse().unwrap());
        assert_eq!(six[..6], [5, 1, 0, 4, 0x20, 0x01]);
        assert_eq!(six.len(), 22);
    }

    #[test]
    fn a_request_of_socks4_ends_with_the_user() {
        let target = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 80), 7);
        let bytes = request4(Command::Connect, target, "joe");
        assert_eq!(bytes, *b"\x04\x01\x00\x07\xc0\x00\x02\x50joe\0");
    }

    #[test]
    fn a_login_is_two_counted_texts() {
        assert_eq!(login("joe", "abcd"), *b"\x01\x03joe\x04abcd");
    }

    #[test]
    fn a_reply_is_read_to_its_last_byte_and_not_beyond() {
        let mut bytes: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0x9c, 0x40, 77];
        let reply = read_reply(&mut bytes).unwrap();
        assert_eq!(reply.code, 0);
        assert_eq!(reply.bound, "10.0.0.1:40000".parse().unwrap());
        assert_eq!(bytes, [77]);
    }

    #[test]
    fn a_reply_that_is_cut_or_of_another_version_or_type_is_refused() {
        let good = [5, 0, 0, 1, 10, 0, 0, 1, 0x9c, 0x40];
        assert!(read_reply(&mut &good[..]).is_ok());
        assert!(read_reply(&mut &good[..9]).is_err());
        for (at, value) in [(0, 4), (2, 1), (3, 3)] {
            let mut bad = good;
            bad[at] = value;
            assert!(read_reply(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_datagram_comes_out_as_it_went_in_and_a_fragment_does_not() {
        for target in [V4, "[2001:db8::1]:7".parse().unwrap()] {
            let mut bytes = wrap(target, b"hello");
            assert_eq!(unwrap(&bytes).unwrap(), (target, &b"hello"[..]));
            bytes[2] = 1;
            assert!(unwrap(&bytes).is_err());
        }
    }
}
