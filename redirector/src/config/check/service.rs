//! Checks of services that speak TLS or HTTP, and by programs of the operator's.

use std::ops::RangeInclusive;

use serde_spanned::Spanned;
use toml::de::DeValue;

use super::{Digest, Method, Page, Script, Tls};
use crate::config::meaning::choice;
use crate::config::problem::{Complaint, Findings};
use crate::config::section::{Section, wrong_type};
use crate::config::{values, words};

const LIKE_NAME: &str = "\"dante.example.net\"";
/// Longest path, host or argument, in bytes.
const MAX_TEXT: usize = 2048;
/// Most arguments of a script.
const MAX_ARGUMENTS: usize = 64;
const CODES: RangeInclusive<u32> = 100..=599;

pub(super) fn tls(section: &mut Section<'_>, findings: &mut Findings) -> Tls {
    let verify = section.flag("verify", findings).unwrap_or(true);
    let name = section.text("server-name", LIKE_NAME, findings);
    let file = section.text("ca-file", "\"/etc/redirector/ca.pem\"", findings);
    if let Some(file) = &file
        && !verify
    {
        let complaint = Complaint::new("`ca-file` does nothing with verify = false");
        findings.add(file.span(), complaint.help("remove one of them"));
    }
    Tls {
        verify,
        server_name: name.and_then(|name| findings.check(name.span(), dns(name.get_ref()))),
        ca_file: file
            .and_then(|file| findings.check(file.span(), values::path("ca-file", file.get_ref()))),
    }
}

/// A name as certificates have it.
fn dns(text: &str) -> Result<String, Complaint> {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numbers_only = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if text.len() > 253 || numbers_only || !text.split('.').all(fits) {
        return Err(
            Complaint::new(format!("`server-name` is no name: {text:?}"))
                .help(format!("such as {LIKE_NAME}; an address needs no name")),
        );
    }
    Ok(text.to_owned())
}

pub(super) fn http(section: &mut Section<'_>, secure: bool, findings: &mut Findings) -> Page {
    let default = Page::default();
    let tls = secure.then(|| tls(section, findings));
    let method_at = section.value("method").map(Spanned::span);
    let method = section.text("method", "\"HEAD\"", findings);
    let method = choice("method", method, &words::METHODS, findings);
    let path = section.text("path", "\"/\"", findings);
    let path = path.and_then(|path| {
        let value = one_line("path", path.get_ref(), |text| text.starts_with('/'));
        findings.check(path.span(), value)
    });
    let host = section.text("host", LIKE_NAME, findings);
    let host = host.and_then(|host| {
        let value = one_line("host", host.get_ref(), |text| !text.is_empty());
        findings.check(host.span(), value)
    });
    let codes = codes(section, findings);
    let digits = section.text(
        "digest",
        "\"da39a3ee5e6b4b0d3255bfef95601890afd80709\"",
        findings,
    );
    let digest = digits.and_then(|digits| {
        let value = Digest::parse(digits.get_ref()).ok_or_else(|| {
            Complaint::new(format!("`digest` is no digest: {:?}", digits.get_ref()))
                .help("40 hexadecimal digits of SHA-1, or 64 of SHA-256: curl -s URL | sha256sum")
        });
        findings.check(digits.span(), value)
    });
    if let (Some(at), Some(Method::Head), Some(_)) = (method_at, method, &digest) {
        let complaint = Complaint::new("a digest needs a page, and HEAD asks for none");
        findings.add(
            at,
            complaint.help("use method = \"GET\", or leave `method` out"),
        );
    }
    let unsaid = if digest.is_some() {
        Method::Get
    } else {
        Method::Head
    };
    Page {
        tls,
        method: method.unwrap_or(unsaid),
        path: path.unwrap_or(default.path),
        host,
        codes: codes.unwrap_or(default.codes),
        digest,
    }
}

/// A text that can stand in a line of a request.
fn one_line(key: &str, text: &str, fits: impl Fn(&str) -> bool) -> Result<String, Complaint> {
    let printable = text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if !printable || text.len() > MAX_TEXT || !fits(text) {
        let like = if key == "path" {
            "\"/health?x=1\""
        } else {
            LIKE_NAME
        };
        return Err(Complaint::new(format!("`{key}` cannot be {text:?}"))
            .help(format!("such as {like}, without spaces")));
    }
    Ok(text.to_owned())
}

/// A code, or a list of them.
fn codes(section: &mut Section<'_>, findings: &mut Findings) -> Option<Vec<RangeInclusive<u16>>> {
    let is_list = section
        .value("code")
        .is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)));
    if !is_list {
        let code = section.integer("code", findings)?;
        return code_of(&code, findings).map(|code| vec![code]);
    }
    let (at, list) = section.list("code", "[200, 204]", findings)?;
    if list.is_empty() {
        let complaint = Complaint::new("`code` is empty");
        findings.add(at, complaint.help("leave it out for all from 200 to 399"));
        return None;
    }
    let codes = list.iter().filter_map(|value| {
        let DeValue::Integer(integer) = value.get_ref() else {
            wrong_type(
                value,
                "code",
                "a list of whole numbers such as [200, 204]",
                findings,
            );
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(-1);
        code_of(&Spanned::new(value.span(), number), findings)
    });
    Some(codes.collect())
}

fn code_of(code: &Spanned<i64>, findings: &mut Findings) -> Option<RangeInclusive<u16>> {
    let number = values::number("code", *code.get_ref(), &CODES);
    let number = findings.check(code.span(), number)?;
    u16::try_from(number).ok().map(|code| code..=code)
}

pub(super) fn script(section: &mut Section<'_>, findings: &mut Findings) -> Option<Script> {
    let like = "[\"/usr/local/lib/check-dante\", \"{address}\"]";
    section.require("command", &format!("command = {like}"), findings);
    let command = section.texts("command", like, findings);
    let user = section.text("user", "\"nobody\"", findings);
    let user = user.and_then(|user| {
        let value = values::name(user.get_ref());
        findings.check(user.span(), value)
    });
    let up_when = section.text("up-when", "\"zero\"", findings);
    let up_when = choice("up-when", up_when, &words::UP_WHEN, findings);
    let command = command?;
    let at = command.span();
    let command: Vec<_> = command.into_inner();
    let Some(program) = command.first() else {
        let complaint = Complaint::new("`command` is empty");
        findings.add(at, complaint.help(format!("command = {like}")));
        return None;
    };
    findings.check(program.span(), values::path("command", program.get_ref()))?;
    let wrong = |argument: &&Spanned<String>| {
        argument.get_ref().len() > MAX_TEXT || argument.get_ref().contains('\0')
    };
    if let Some(argument) = command.iter().find(wrong) {
        let complaint = Complaint::new("this argument cannot be given to a program");
        let help = format!("at most {MAX_TEXT} bytes, none of them 0");
        findings.add(argument.span(), complaint.help(help));
    }
    if command.len() > MAX_ARGUMENTS {
        let complaint = Complaint::new(format!("`command` has {} words", command.len()));
        findings.add(at, complaint.help(format!("at most {MAX_ARGUMENTS}")));
    }
    Some(Script {
        command: command.into_iter().map(Spanned::into_inner).collect(),
        user,
        up_when: up_when.unwrap_or_default(),
    })
}
