//! Ports by their names.

use std::path::Path;

use super::Surroundings;

/// Those that may be named where there is no /etc/services (IANA's registry).
const WELL_KNOWN: [(&str, u16); 12] = [
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("ldap", 389),
    ("ldaps", 636),
    ("pop3", 110),
    ("smtp", 25),
    ("socks", 1080),
    ("ssh", 22),
];

/// The port of a service, in services(5) or well-known.
pub(super) fn port(around: &dyn Surroundings, name: &str) -> Option<u16> {
    let listed = || {
        let text = super::read(around, Path::new("/etc/services")).ok()?;
        text.lines().find_map(|line| {
            let line = line.split('#').next()?;
            let mut words = line.split_whitespace();
            let first = words.next()?;
            let port = words.next()?.split('/').next()?;
            (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
        })
    };
    let known = WELL_KNOWN.iter().find(|(known, _)| *known == name);
    known.map(|(_, port)| *port).or_else(listed)
}
