//! relayd(8)'s checks in our words.

use super::print::quote;
use super::written::{Check, HttpExpect};

/// Longest path, host or script, in bytes.
const MAX_TEXT: usize = 2048;

/// Digits of a SHA-1 digest; the other kind that relayd(8) knows is MD5.
const SHA1_DIGITS: usize = 40;

/// What becomes of a check.
pub(super) struct Translated {
    /// The value of `check`, in TOML.
    pub(super) toml: String,
    /// What is not the same.
    pub(super) remark: Option<String>,
}

/// A check in our words. `port` is the one to check, where the redirect does not tell it.
pub(super) fn translate(check: &Check, port: Option<u16>) -> Translated {
    let same = |toml: String| Translated { toml, remark: None };
    let but = |toml: String, remark: String| Translated {
        toml,
        remark: Some(format!("`{check}`: {remark}")),
    };
    // relayd(8) looks at no certificate.
    let unverified = ("verify", "false".to_owned());
    match check {
        Check::Icmp => same(quote("icmp")),
        Check::Tcp => same(table("tcp", &[], port)),
        Check::Tls => same(table("tls", &[unverified], port)),
        Check::Http {
            tls,
            path,
            host,
            expect,
        } => {
            let fits = |text: &String| {
                text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) && text.len() <= MAX_TEXT
            };
            if !path.starts_with('/') || !fits(path) || !host.iter().all(fits) {
                let remark = "no such path or host can be asked for; the port is connected to";
                return but(table("tcp", &[], port), remark.to_owned());
            }
            let mut keys = vec![("path", quote(path))];
            keys.extend(host.as_ref().map(|host| ("host", quote(host))));
            let mut remark = None;
            match expect {
                HttpExpect::Code(code) if (100..600).contains(code) => {
                    keys.push(("code", code.to_string()));
                }
                HttpExpect::Code(code) => {
                    remark = Some(format!(
                        "{code} is no code of HTTP; any from 200 to 399 will do"
                    ));
                }
                HttpExpect::Digest(digest) if digest.len() == SHA1_DIGITS => {
                    keys.push(("digest", quote(digest)));
                }
                HttpExpect::Digest(_) => {
                    let text = "MD5 has no counterpart, so the page itself is not looked at; take its digest anew with \
                                sha256sum";
                    remark = Some(text.to_owned());
                }
            }
            keys.extend(tls.then_some(unverified));
            let toml = table(if *tls { "https" } else { "http" }, &keys, port);
            match remark {
                None => same(toml),
                Some(remark) => but(toml, remark),
            }
        }
        Check::Send { tls: true, .. } => but(
            table("tls", &[unverified], port),
            "what is said inside TLS has no counterpart; the handshake is checked".to_owned(),
        ),
        Check::Send {
            binary,
            send,
            expect,
            tls: false,
        } => {
            let (send_key, expect_key) = if *binary {
                ("send-hex", "expect-hex")
            } else {
                ("send", "expect")
            };
            let mut keys = Vec::new();
            keys.extend(send.as_ref().map(|send| (send_key, quote(send))));
            let expect = if *binary {
                expect.clone()
            } else {
                unescaped(expect)
            };
            keys.push((expect_key, quote(&expect)));
            same(table("send", &keys, port))
        }
        Check::Script(path) if path.starts_with('/') && path.len() <= MAX_TEXT => {
            let keys = [
                ("command", format!("[{}, \"{{node}}\"]", quote(path))),
                ("up-when", quote("positive")),
            ];
            let remark = "it runs as `nobody`, or as the `user` of the check";
            but(table("script", &keys, port), remark.to_owned())
        }
        Check::Script(_) => but(
            table("tcp", &[], port),
            "a script's path must begin with /; the port is connected to".to_owned(),
        ),
    }
}

/// A check of this type with these keys, and its port.
fn table(kind: &str, keys: &[(&str, String)], port: Option<u16>) -> String {
    if keys.is_empty() && port.is_none() {
        return quote(kind);
    }
    let port = port.map(|port| ("port", port.to_string()));
    let keys = keys.iter().cloned().chain(port);
    let keys: Vec<String> = keys
        .map(|(key, value)| format!(", {key} = {value}"))
        .collect();
    format!("{{ type = {}{} }}", quote(kind), keys.concat())
}

/// What relayd(8) makes of a pattern before it matches: `\n` and `\r` are controls, any other character after a
/// backslash stands for itself.
fn unescaped(pattern: &str) -> String {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}
