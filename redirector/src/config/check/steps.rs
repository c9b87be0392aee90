//! What a check sends and expects, as text or as hexadecimal digits.

use serde_spanned::Spanned;
use toml::de::DeValue;

use super::{Expect, Step};
use crate::config::problem::{Complaint, Findings};
use crate::config::section::{Section, wrong_type};
use crate::health::glob::Glob;

/// Most turns of a conversation.
const MAX_STEPS: usize = 32;
/// Most bytes of one turn, sent or expected.
const MAX_BYTES: usize = 4096;
const LIKE_HEX: &str = "\"05 01 00\"";

/// The keys of one turn.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) send: &'static str,
    pub(super) send_hex: &'static str,
    pub(super) expect: &'static str,
    pub(super) expect_hex: &'static str,
}

/// Those of a conversation.
pub(super) const TALK: Keys = Keys {
    send: "send",
    send_hex: "send-hex",
    expect: "expect",
    expect_hex: "expect-hex",
};

/// A whole conversation: `steps`, or the keys of a single turn.
pub(super) fn conversation(section: &mut Section<'_>, findings: &mut Findings) -> Vec<Step> {
    let at = section.value("steps").map(Spanned::span);
    let list = section.list("steps", "[{ send = \"a\", expect = \"b*\" }]", findings);
    let single = turn(section, TALK, findings);
    let Some(at) = at else {
        return single.into_iter().collect();
    };
    if single.is_some() {
        let complaint = Complaint::new("a check has either `steps` or one turn of its own");
        findings.add(at, complaint.help("write every turn into `steps`"));
        return Vec::new();
    }
    let (at, list) = list.unwrap_or((at, &[]));
    if list.len() > MAX_STEPS {
        let complaint = Complaint::new(format!("{} steps are too many", list.len()));
        findings.add(at, complaint.help(format!("at most {MAX_STEPS}")));
        return Vec::new();
    }
    list.iter().filter_map(|step| one(step, findings)).collect()
}

fn one(value: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Option<Step> {
    let DeValue::Table(table) = value.get_ref() else {
        let expected = "a table such as { send = \"a\", expect = \"b*\" }";
        wrong_type(value, "steps", expected, findings);
        return None;
    };
    let mut section = Section::new("a step", value.span(), table);
    let before = findings.0.len();
    let step = turn(&mut section, TALK, findings);
    section.finish(findings);
    if step.is_none() && findings.0.len() == before {
        let complaint = Complaint::new("a step sends nothing and expects nothing");
        findings.add(
            value.span(),
            complaint.help("give it `send`, `expect` or both"),
        );
    }
    step
}

/// One turn, where there is one.
pub(super) fn turn(section: &mut Section<'_>, keys: Keys, findings: &mut Findings) -> Option<Step> {
    let send = sent(section, keys, findings);
    let expect = expected(section, keys, findings);
    (send.is_some() || expect.is_some()).then(|| Step {
        send: send.unwrap_or_default(),
        expect,
    })
}

pub(super) fn sent(
    section: &mut Section<'_>,
    keys: Keys,
    findings: &mut Findings,
) -> Option<Vec<u8>> {
    let text = section.text(keys.send, "\"PING\\r\\n\"", findings);
    let digits = section.text(keys.send_hex, LIKE_HEX, findings);
    either(keys.send, text.as_ref(), digits.as_ref(), findings)?;
    let (at, bytes) = match (text, digits) {
        (Some(text), _) => (text.span(), Ok(text.into_inner().into_bytes())),
        (None, Some(digits)) => (digits.span(), hex(keys.send_hex, digits.get_ref())),
        (None, None) => return None,
    };
    let bytes = bytes.and_then(|bytes| bounded(keys.send, bytes));
    findings.check(at, bytes)
}

pub(super) fn expected(
    section: &mut Section<'_>,
    keys: Keys,
    findings: &mut Findings,
) -> Option<Expect> {
    let text = section.text(keys.expect, "\"220 *\"", findings);
    let digits = section.text(keys.expect_hex, LIKE_HEX, findings);
    either(keys.expect, text.as_ref(), digits.as_ref(), findings)?;
    let (at, expect) = match (text, digits) {
        (Some(text), _) => {
            let pattern = bounded(keys.expect, text.get_ref().clone().into_bytes());
            let pattern = pattern.and_then(|_| not_empty(keys.expect, text.get_ref()));
            let glob = pattern.map(|()| Expect::Text(Glob::new(text.get_ref())));
            (text.span(), glob)
        }
        (None, Some(digits)) => {
            let bytes = not_empty(keys.expect_hex, digits.get_ref())
                .and_then(|()| hex(keys.expect_hex, digits.get_ref()))
                .and_then(|bytes| bounded(keys.expect_hex, bytes));
            (digits.span(), bytes.map(Expect::Bytes))
        }
        (None, None) => return None,
    };
    findings.check(at, expect)
}

/// Refuses the same thing written twice.
fn either(
    key: &str,
    text: Option<&Spanned<String>>,
    digits: Option<&Spanned<String>>,
    findings: &mut Findings,
) -> Option<()> {
    if let (Some(_), Some(digits)) = (text, digits) {
        let complaint = Complaint::new(format!("`{key}` is there twice, as text and in digits"));
        findings.add(digits.span(), complaint.help("keep one of them"));
        return None;
    }
    Some(())
}

fn not_empty(key: &str, text: &str) -> Result<(), Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new(format!("`{key}` is empty"))
            .help("leave it out where nothing needs to come"));
    }
    Ok(())
}

fn bounded(key: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Complaint> {
    if bytes.len() > MAX_BYTES {
        return Err(Complaint::new(format!("`{key}` has {} bytes", bytes.len()))
            .help(format!("at most {MAX_BYTES}")));
    }
    Ok(bytes)
}

/// Bytes from pairs of hexadecimal digits; spaces may stand between the pairs.
pub(super) fn hex(key: &str, text: &str) -> Result<Vec<u8>, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{key}` is not hexadecimal: {text:?}")).help(format!(
            "two digits from 0 to f for each byte, such as {LIKE_HEX}"
        ))
    };
    let mut bytes = Vec::new();
    for word in text.split_ascii_whitespace() {
        if !word.len().is_multiple_of(2) {
            return Err(wrong());
        }
        for pair in word.as_bytes().chunks_exact(2) {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(wrong());
            };
            bytes.push(u8::try_from(high << 4 | low).map_err(|_| wrong())?);
        }
    }
    Ok(bytes)
}
