//! Checks, from what is written to what is meant.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::service;
use super::steps::{self, Keys};
use super::{
    Associate, Canary, Check, CheckKind, DatagramCanary, Destination, Login, Socks4, Socks5,
};
use crate::config::problem::{Complaint, Findings};
use crate::config::section::{Section, text, wrong_type};
use crate::config::{values, words};

/// Most checks of a pool.
const MAX_CHECKS: usize = 16;
/// Most bytes of a name or a user in SOCKS.
const MAX_NAME: usize = 255;
pub(in crate::config) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
const LIKE_DURATION: &str = "\"300ms\"";
const LIKE_DESTINATION: &str = "\"192.0.2.80:80\"";

/// The keys of the datagrams through an association.
const DATAGRAMS: Keys = Keys {
    send: "udp-send",
    send_hex: "udp-send-hex",
    expect: "udp-expect",
    expect_hex: "udp-expect-hex",
};

/// What a check's type can be.
#[derive(Clone, Copy)]
pub(in crate::config) enum Kind {
    Tcp,
    Icmp,
    Tls,
    Http,
    Https,
    Send,
    Script,
    Socks5,
    Socks4,
}

/// The checks of a pool: `check`, or several in `checks`; none where it has neither.
pub(in crate::config) fn checks(section: &mut Section<'_>, findings: &mut Findings) -> Vec<Check> {
    let single = section.value("check");
    let like = "[\"tcp\", { type = \"socks5\", connect = \"192.0.2.80:80\" }]";
    let list = section.list("checks", like, findings);
    if let (Some(_), Some((at, _))) = (single, &list) {
        let complaint = Complaint::new("a pool has either `check` or `checks`");
        findings.add(at.clone(), complaint.help("list all of them in `checks`"));
    }
    let Some((at, list)) = list else {
        return single
            .and_then(|value| one("check", value, findings))
            .into_iter()
            .collect();
    };
    if list.is_empty() || list.len() > MAX_CHECKS {
        let complaint = Complaint::new(format!("`checks` has {} entries", list.len()));
        let help = format!("1 to {MAX_CHECKS}; without `checks` the port is connected to");
        findings.add(at, complaint.help(help));
        return Vec::new();
    }
    list.iter()
        .filter_map(|value| one("checks", value, findings))
        .collect()
}

/// A check is the name of its type, or a table with the type and its settings.
fn one(key: &str, value: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Option<Check> {
    if let DeValue::Table(table) = value.get_ref() {
        let mut section = Section::new("a check", value.span(), table);
        section.require("type", "{ type = \"tcp\" }", findings);
        let name = section.text("type", "\"tcp\"", findings)?;
        return check(&name, &mut section, findings).inspect(|_| section.finish(findings));
    }
    if !matches!(value.get_ref(), DeValue::String(_)) {
        let expected = "a string such as \"tcp\", or a table with a `type`";
        wrong_type(value, key, expected, findings);
        return None;
    }
    let name = text(value, key, "\"tcp\"", findings)?;
    let nothing = DeTable::new();
    let what = format!("the check \"{}\"", name.get_ref());
    check(
        &name,
        &mut Section::new(what, value.span(), &nothing),
        findings,
    )
}

fn check(
    name: &Spanned<String>,
    section: &mut Section<'_>,
    findings: &mut Findings,
) -> Option<Check> {
    let kind = values::choice("check", name.get_ref(), &words::CHECKS);
    let kind = findings.check(name.span(), kind)?;
    let port = match kind {
        // It has none.
        Kind::Icmp => None,
        Kind::Tcp
        | Kind::Tls
        | Kind::Http
        | Kind::Https
        | Kind::Send
        | Kind::Script
        | Kind::Socks5
        | Kind::Socks4 => section.integer("port", findings),
    };
    let port =
        port.and_then(|value| findings.check(value.span(), values::port("port", *value.get_ref())));
    let timeout = duration(section, "timeout", findings);
    let slow = duration(section, "slow", findings);
    let kind = match kind {
        Kind::Tcp => CheckKind::Tcp,
        Kind::Icmp => CheckKind::Icmp,
        Kind::Tls => CheckKind::Tls(service::tls(section, findings)),
        Kind::Http => CheckKind::Http(service::http(section, false, findings)),
        Kind::Https => CheckKind::Http(service::http(section, true, findings)),
        Kind::Script => CheckKind::Script(service::script(section, findings)?),
        Kind::Send => exchange(section, findings),
        Kind::Socks5 => socks5(section, findings),
        Kind::Socks4 => socks4(section, findings)?,
    };
    Some(Check {
        kind,
        port,
        timeout,
        slow,
    })
}

fn duration(
    section: &mut Section<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Option<Duration> {
    let text = section.text(key, LIKE_DURATION, findings)?;
    findings.check(text.span(), values::duration(key, text.get_ref(), &TIMEOUT))
}

fn exchange(section: &mut Section<'_>, findings: &mut Findings) -> CheckKind {
    let before = findings.0.len();
    let steps = steps::conversation(section, findings);
    if steps.is_empty() && findings.0.len() == before {
        let complaint = Complaint::new("the check sends nothing and expects nothing");
        let help = "{ type = \"send\", send = \"PING\\r\\n\", expect = \"*PONG*\" }";
        findings.add(section.place(), complaint.help(help));
    }
    CheckKind::Exchange(steps)
}

fn socks5(section: &mut Section<'_>, findings: &mut Findings) -> CheckKind {
    let login = login(section, findings);
    let connect = canary(section, findings);
    let associate = associate(section, findings);
    CheckKind::Socks5(Socks5 {
        login,
        connect,
        associate,
    })
}

fn socks4(section: &mut Section<'_>, findings: &mut Findings) -> Option<CheckKind> {
    let help = "{ type = \"socks4\", connect = \"192.0.2.80:80\" }";
    section.require("connect", help, findings);
    let username = section.text("username", "\"monitor\"", findings);
    let username = username.and_then(|name| findings.check(name.span(), user(name.get_ref())));
    let connect_at = section.value("connect").map(Spanned::span);
    let connect = canary(section, findings)?;
    if let (Destination::Socket(socket), Some(at)) = (&connect.to, connect_at)
        && socket.is_ipv6()
    {
        let complaint = Complaint::new("SOCKS 4 has no IPv6");
        findings.add(at, complaint.help("name an IPv4 address, or use socks5"));
    }
    Some(CheckKind::Socks4(Socks4 {
        username: username.unwrap_or_default(),
        connect,
    }))
}

fn login(section: &mut Section<'_>, findings: &mut Findings) -> Option<Login> {
    let username = section.text("username", "\"monitor\"", findings);
    let file = section.text(
        "password-file",
        "\"/etc/redirector/monitor.password\"",
        findings,
    );
    let missing = match (&username, &file) {
        (None, Some(file)) => Some((file.span(), "username")),
        (Some(name), None) => Some((name.span(), "password-file")),
        (Some(_), Some(_)) | (None, None) => None,
    };
    if let Some((at, key)) = missing
        && !section.has(key)
    {
        let complaint = Complaint::new(format!("a login needs `{key}` as well"));
        let help = "username = \"monitor\", password-file = \"/etc/redirector/monitor.password\"";
        findings.add(at, complaint.help(help));
    }
    let (username, file) = (username?, file?);
    let name = user(username.get_ref()).and_then(|name| {
        if name.is_empty() {
            return Err(Complaint::new("`username` is empty").help("leave it out for no login"));
        }
        Ok(name)
    });
    Some(Login {
        username: findings.check(username.span(), name)?,
        password_file: findings
            .check(file.span(), values::path("password-file", file.get_ref()))?,
    })
}

fn user(text: &str) -> Result<String, Complaint> {
    if text.len() > MAX_NAME || text.contains('\0') {
        return Err(Complaint::new("`username` is no SOCKS user")
            .help(format!("at most {MAX_NAME} bytes, none of them 0")));
    }
    Ok(text.to_owned())
}

fn canary(section: &mut Section<'_>, findings: &mut Findings) -> Option<Canary> {
    let to = section.text("connect", LIKE_DESTINATION, findings);
    let before = findings.0.len();
    let steps = steps::conversation(section, findings);
    if !steps.is_empty() && !section.has("connect") {
        let complaint = Complaint::new("bytes are sent or expected, and nobody is connected to");
        let help = format!("name the canary: connect = {LIKE_DESTINATION}");
        findings.add(section.place(), complaint.help(help));
    }
    let to = to?;
    let to = findings.check(to.span(), destination("connect", to.get_ref()))?;
    (findings.0.len() == before).then_some(Canary { to, steps })
}

fn associate(section: &mut Section<'_>, findings: &mut Findings) -> Option<Associate> {
    let wanted = section.flag("udp-associate", findings);
    let to = section.text("udp-canary", "\"192.0.2.80:7\"", findings);
    let send = steps::sent(section, DATAGRAMS, findings);
    let expect = steps::expected(section, DATAGRAMS, findings);
    if !wanted.is_some_and(|wanted| wanted) {
        let keys = [
            "udp-canary",
            "udp-send",
            "udp-send-hex",
            "udp-expect",
            "udp-expect-hex",
        ];
        if let Some(key) = keys.into_iter().find(|key| section.has(key)) {
            let complaint = Complaint::new(format!("`{key}` does nothing without an association"));
            findings.add(
                section.place(),
                complaint.help("add udp-associate = true, or remove it"),
            );
        }
        return None;
    }
    let Some(to) = to else {
        if let Some(key) = [
            (send.is_some(), "udp-send"),
            (expect.is_some(), "udp-expect"),
        ]
        .into_iter()
        .find_map(|(is_there, key)| is_there.then_some(key))
        {
            let complaint = Complaint::new(format!("`{key}` has nobody to speak with"));
            let help = "name who answers: udp-canary = \"192.0.2.80:7\"";
            findings.add(section.place(), complaint.help(help));
        }
        return Some(Associate { canary: None });
    };
    let at = to.span();
    let to = findings.check(at.clone(), destination("udp-canary", to.get_ref()))?;
    if send.as_ref().is_some_and(Vec::is_empty) {
        let complaint = Complaint::new("an empty datagram tells nothing");
        findings.add(at, complaint.help("give `udp-send` at least one byte"));
    }
    Some(Associate {
        canary: Some(DatagramCanary { to, send, expect }),
    })
}

/// An address or a name, with a port.
fn destination(key: &str, text: &str) -> Result<Destination, Complaint> {
    if let Ok(socket) = text.parse() {
        return values::port(key, i64::from(std::net::SocketAddr::port(&socket)))
            .map(|_| Destination::Socket(socket));
    }
    let wrong = || {
        Complaint::new(format!("`{key}` is no address with a port: {text:?}")).help(format!(
            "such as {LIKE_DESTINATION}, \"[2001:db8::80]:80\" or \"www.example.net:80\""
        ))
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0);
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let numbers_only = name
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(letters) || numbers_only {
        return Err(wrong());
    }
    Ok(Destination::Name(name.to_owned(), port.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn destinations_are_addresses_or_names_with_a_port() {
        for good in ["192.0.2.80:80", "[2001:db8::1]:80", "www.example.net:80"] {
            assert_eq!(destination("connect", good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "192.0.2.80",
            "192.0.2.80:0",
            "192.0.2.300:80",
            "a b:80",
            "x:",
            ":80",
            "2001:db8::1:80",
        ] {
            assert!(destination("connect", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_absolute() {
        assert_eq!(values::path("f", "/a"), Ok(PathBuf::from("/a")));
        assert!(values::path("f", "a").is_err());
    }
}
