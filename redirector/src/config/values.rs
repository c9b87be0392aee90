//! Single values: from what is written to what is meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Complaint;
use super::suggest::nearest;
use crate::units::{DurationError, exact, parse_duration};

/// Longest name of a pool, node or redirect, in bytes.
const MAX_NAME: usize = 63;

/// Longest name of an interface, in bytes; `IFNAMSIZ` less the terminating zero.
const MAX_INTERFACE: usize = 15;

/// A word out of a list of known ones, each with what it means or with why it cannot be had yet.
pub(super) fn choice<T: Copy>(
    key: &str,
    word: &str,
    known: &[(&str, Result<T, &str>)],
) -> Result<T, Complaint> {
    match known.iter().find(|(name, _)| *name == word) {
        Some((_, Ok(value))) => Ok(*value),
        Some((_, Err(help))) => Err(Complaint::not_yet(format!("{key} \"{word}\""), *help)),
        None => {
            let help = nearest(word, known.iter().map(|(name, _)| *name)).map_or_else(
                || {
                    let names: Vec<_> = known.iter().filter(|(_, value)| value.is_ok()).collect();
                    let names: Vec<_> = names
                        .iter()
                        .map(|(name, _)| format!("\"{name}\""))
                        .collect();
                    format!("it can be {}", names.join(", "))
                },
                |meant| format!("did you mean \"{meant}\"?"),
            );
            Err(Complaint::new(format!("`{key}` cannot be \"{word}\"")).help(help))
        }
    }
}

/// A duration within bounds.
pub(super) fn duration(
    key: &str,
    text: &str,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, Complaint> {
    let value = parse_duration(text).map_err(|error| {
        let help = match error {
            DurationError::NoUnit => format!("add ms, s, m, h or d: \"{text}s\""),
            DurationError::Malformed => "such as \"200ms\", \"5s\", \"10m\", \"24h\"".to_owned(),
            DurationError::TooLong => format!("at most {}", exact(*bounds.end())),
        };
        Complaint::new(format!("`{key}` is no duration: \"{text}\" {error}")).help(help)
    })?;
    if !bounds.contains(&value) {
        let help = format!(
            "it can be {} to {}",
            exact(*bounds.start()),
            exact(*bounds.end())
        );
        return Err(Complaint::new(format!("`{key}` of {text} is out of range")).help(help));
    }
    Ok(value)
}

/// A whole number within bounds.
pub(super) fn number(
    key: &str,
    value: i64,
    bounds: &RangeInclusive<u32>,
) -> Result<u32, Complaint> {
    u32::try_from(value)
        .ok()
        .filter(|value| bounds.contains(value))
        .ok_or_else(|| {
            Complaint::new(format!("`{key}` cannot be {value}")).help(format!(
                "it can be {} to {}",
                bounds.start(),
                bounds.end()
            ))
        })
}

/// A port; 0 is none.
pub(super) fn port(key: &str, value: i64) -> Result<u16, Complaint> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| {
            Complaint::new(format!("`{key}` cannot be {value}")).help("a port is 1 to 65535")
        })
}

/// A name of a pool, node or redirect.
pub(super) fn name(text: &str) -> Result<String, Complaint> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(allowed) {
        return Err(
            Complaint::new(format!("{text:?} cannot be a name")).help(format!(
                "a name has 1 to {MAX_NAME} letters, digits and the characters . _ - :"
            )),
        );
    }
    Ok(text.to_owned())
}

/// The name of an interface.
pub(super) fn interface(text: &str) -> Result<String, Complaint> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    let reserved = matches!(text, "" | "." | "..");
    if reserved || text.len() > MAX_INTERFACE || text.contains(refused) {
        return Err(
            Complaint::new(format!("{text:?} cannot be the name of an interface"))
                .help("`ip link` lists the interfaces of this host"),
        );
    }
    Ok(text.to_owned())
}

/// The address of a node.
pub(super) fn node_address(text: &str) -> Result<Ipv4Addr, Complaint> {
    if text.parse::<Ipv6Addr>().is_ok() || text.parse::<SocketAddrV6>().is_ok() {
        return Err(ipv6());
    }
    if let Ok(socket) = text.parse::<SocketAddrV4>() {
        return Err(
            Complaint::new(format!("\"{text}\" has a port")).help(format!(
                "write \"{}\"; the port is the one of the redirect's forward-to",
                socket.ip()
            )),
        );
    }
    let address = text.parse().map_err(|_| no_address(text))?;
    usable(address)
}

/// An address and port to listen on.
pub(super) fn listener(text: &str) -> Result<SocketAddrV4, Complaint> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(match address {
            IpAddr::V6(_) => ipv6(),
            IpAddr::V4(_) => Complaint::not_yet(
                "listening on every port of an address",
                format!("name one port: \"{text}:1080\""),
            ),
        });
    }
    if text.parse::<SocketAddrV6>().is_ok() {
        return Err(ipv6());
    }
    let (address, port) = text.rsplit_once(':').ok_or_else(|| no_address(text))?;
    let address = address.parse().map_err(|_| no_address(text))?;
    if is_port_range(port) {
        let first = port.split('-').next().unwrap_or_default();
        return Err(Complaint::not_yet(
            "a range of ports",
            format!("write a redirect for each port: \"{address}:{first}\""),
        ));
    }
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        Complaint::new(format!("\"{text}\" has no valid port")).help("a port is 1 to 65535")
    })?;
    Ok(SocketAddrV4::new(usable(address)?, port))
}

fn is_port_range(text: &str) -> bool {
    text.split_once('-')
        .is_some_and(|(first, last)| first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok())
}

/// Refuses addresses that no packet from or to a NIC can carry.
fn usable(address: Ipv4Addr) -> Result<Ipv4Addr, Complaint> {
    let kind = if address.octets()[0] == 0 {
        "names no host"
    } else if address.is_loopback() {
        "is a loopback address, which never reaches a NIC"
    } else if address.is_multicast() {
        "is a multicast address"
    } else if address.is_broadcast() {
        "is the broadcast address"
    } else {
        return Ok(address);
    };
    Err(Complaint::new(format!("{address} {kind}")).help("use the address of one host"))
}

fn ipv6() -> Complaint {
    Complaint::not_yet("IPv6", "use an IPv4 address")
}

fn no_address(text: &str) -> Complaint {
    let help = if text.contains(|c: char| c.is_ascii_alphabetic()) {
        "write the address itself; names are not looked up, since an answer may change under us"
    } else {
        "an address has four numbers from 0 to 255: 10.0.0.1"
    };
    Complaint::new(format!("{text:?} is no address")).help(help)
}
