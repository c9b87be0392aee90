//! Single values: from what is written to what is meant.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::host::HostName;
use super::model::Listen;
use super::problem::Complaint;
use super::suggest::nearest;
use crate::units::{DurationError, exact, parse_duration};

/// Longest name of a pool, node or redirect, in bytes.
const MAX_NAME: usize = 63;

/// The port of name servers.
const DNS_PORT: u16 = 53;

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

/// The path of a file, which must not depend on where the agent was started.
pub(super) fn path(key: &str, text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if !path.is_absolute() || text.contains('\0') {
        return Err(
            Complaint::new(format!("`{key}` is no absolute path: {text:?}"))
                .help("begin it with /"),
        );
    }
    Ok(path)
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

/// What is written for where a node is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodePlace {
    /// Its address.
    Address(IpAddr),
    /// Its name.
    Host(HostName),
}

/// The address of a node, or its name.
pub(super) fn node_address(text: &str) -> Result<NodePlace, Complaint> {
    let named = || {
        let (host, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        HostName::new(host).map(|host| host.to_string())
    };
    let socket = text.parse::<SocketAddr>();
    if let Some(host) = socket.ok().map(|of| of.ip().to_string()).or_else(named) {
        return Err(
            Complaint::new(format!("\"{text}\" has a port")).help(format!(
                "write \"{host}\"; the port is the one of the redirect's forward-to"
            )),
        );
    }
    if let Ok(address) = text.parse() {
        return usable(address).map(NodePlace::Address);
    }
    if let Some(host) = HostName::new(text) {
        return Ok(NodePlace::Host(host));
    }
    let complaint = no_address(text);
    Err(
        if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') {
            let help = "a name has letters, digits, hyphens and dots: dante-1.example.net";
            Complaint::new(format!("{text:?} is neither an address nor a host's name")).help(help)
        } else {
            complaint
        },
    )
}

/// A server that is asked for names: an address, with a port where it is not DNS's own.
pub(super) fn server(text: &str) -> Result<SocketAddr, Complaint> {
    let bare = bare(text)
        .parse()
        .map(|address| SocketAddr::new(address, DNS_PORT));
    let server = bare.or_else(|_| text.parse());
    let server = server.map_err(|_| {
        let help = "write its address: \"10.0.0.53\", or with a port \"10.0.0.53:5353\"";
        Complaint::new(format!("{text:?} is no name server")).help(help)
    })?;
    let address = server.ip();
    if address.is_unspecified() || address.is_multicast() || server.port() == 0 {
        let complaint = Complaint::new(format!("nobody can be asked at {server}"));
        return Err(complaint.help("use the address of one name server"));
    }
    Ok(server)
}

/// An address to listen on: with a port, with a range of ports, or alone for every port.
pub(super) fn listener(text: &str) -> Result<Listen, Complaint> {
    if let Ok(address) = bare(text).parse() {
        return Ok(Listen {
            address: usable(address)?,
            first: 0,
            last: 0,
        });
    }
    let (before, ports) = text
        .rsplit_once(':')
        .ok_or_else(|| address(text).err().unwrap_or_else(|| no_address(text)))?;
    let address = bare(before)
        .parse::<IpAddr>()
        .ok()
        .filter(|address| address.is_ipv4() || before.starts_with('['))
        .ok_or_else(|| no_address(text))?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (first, last) = match ports.split_once('-') {
        None => (port(ports), port(ports)),
        Some((first, last)) => (port(first), port(last)),
    };
    let (Some(first), Some(last)) = (first, last) else {
        return Err(Complaint::new(format!("\"{text}\" has no valid port"))
            .help("a port is 1 to 65535, a range of them such as 1080-1089"));
    };
    if first > last {
        return Err(
            Complaint::new(format!("the ports {first}-{last} are in the wrong order"))
                .help(format!("write {last}-{first}")),
        );
    }
    Ok(Listen {
        address: usable(address)?,
        first,
        last,
    })
}

/// An IPv6 address out of its brackets, which it has where a port may follow.
fn bare(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

fn address(text: &str) -> Result<IpAddr, Complaint> {
    text.parse().map_err(|_| no_address(text))
}

/// Refuses addresses that no packet from or to a NIC can carry.
pub(crate) fn usable(address: IpAddr) -> Result<IpAddr, Complaint> {
    let kind =
        if matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0) || address.is_unspecified() {
            "names no host"
        } else if address.is_loopback() {
            "is a loopback address, which never reaches a NIC"
        } else if address.is_multicast() {
            "is a multicast address"
        } else if matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) {
            "is the broadcast address"
        } else if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            "is a link-local address, which names another host on every link"
        } else if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            "is an IPv4 address in IPv6 clothes, which no packet carries"
        } else {
            return Ok(address);
        };
    Err(Complaint::new(format!("{address} {kind}")).help("use the address of one host"))
}

fn no_address(text: &str) -> Complaint {
    let help = if text.matches(':').count() > 1 {
        "an IPv6 address stands in brackets where a port follows: [2001:db8::1]:1080"
    } else if text.contains(|c: char| c.is_ascii_alphabetic()) {
        "write the address itself; only nodes can have names in place of addresses"
    } else {
        "an address has four numbers from 0 to 255: 10.0.0.1"
    };
    Complaint::new(format!("{text:?} is no address")).help(help)
}
