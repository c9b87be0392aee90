//! relayd(8)'s checks in our words.

use super::print::quote;
use super::written::Check;

/// The value of `check` in TOML, and what to say about it. `port` is the one to check, where the redirect does not
/// tell it.
pub(super) fn translate(check: &Check, port: Option<u16>) -> (String, Option<String>) {
    match check {
        Check::Tcp => (table("tcp", &[], port), None),
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
            if let Some(send) = send {
                keys.push((send_key, quote(send)));
            }
            let expect = if *binary {
                expect.clone()
            } else {
                unescaped(expect)
            };
            keys.push((expect_key, quote(&expect)));
            (table("send", &keys, port), None)
        }
        Check::Icmp
        | Check::Tls
        | Check::Http { .. }
        | Check::Send { tls: true, .. }
        | Check::Script(_) => (
            table("tcp", &[], port),
            Some(format!(
                "`{check}` has no counterpart in this version; the nodes' port is connected to instead"
            )),
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
