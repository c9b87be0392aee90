//! `[http]`: from the words of the file to the address, the hosts and the token of the HTTP server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_spanned::Spanned;

use super::model::Http;
use super::problem::{Complaint, Findings};
use super::section::Section;

/// An example of `listen`, for reports.
const LIKE_LISTEN: &str = "\"127.0.0.1:9180\"";

/// `[http]` as written.
pub(super) struct Written {
    listen: Option<Spanned<String>>,
    hosts: Option<Spanned<Vec<Spanned<String>>>>,
    token_file: Option<Spanned<String>>,
}

pub(super) fn read(mut section: Section<'_>, findings: &mut Findings) -> Written {
    section.require("listen", &format!("listen = {LIKE_LISTEN}"), findings);
    let written = Written {
        listen: section.text("listen", LIKE_LISTEN, findings),
        hosts: section.texts("hosts", "[\"relay.example.net\"]", findings),
        token_file: section.text("token-file", "\"/etc/redirector/token\"", findings),
    };
    section.finish(findings);
    written
}

/// Gives nothing where `listen` cannot be meant.
pub(super) fn mean(written: Written, findings: &mut Findings) -> Option<Http> {
    let hosts = written.hosts.map(Spanned::into_inner).unwrap_or_default();
    let hosts = hosts
        .into_iter()
        .filter_map(|name| findings.check(name.span(), host(name.get_ref())))
        .collect();
    let token_file = written
        .token_file
        .and_then(|path| findings.check(path.span(), token_file(path.get_ref())));
    let listen = written.listen?;
    Some(Http {
        listen: findings.check(listen.span(), socket(listen.get_ref()))?,
        hosts,
        token_file,
    })
}

fn socket(text: &str) -> Result<SocketAddr, Complaint> {
    let help =
        format!("an address of this host and a port, such as {LIKE_LISTEN} or \"[::1]:9180\"");
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() != 0 => Ok(socket),
        Ok(_) | Err(_) => {
            Err(Complaint::new(format!("`listen` of [http] cannot be \"{text}\"")).help(help))
        }
    }
}

/// A name that browsers may use; addresses and `localhost` need not be listed.
fn host(text: &str) -> Result<String, Complaint> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if text.parse::<IpAddr>().is_ok() || name.len() > 253 || !name.split('.').all(label) {
        let help =
            "a name without a port, such as \"relay.example.net\"; addresses need not be listed";
        return Err(Complaint::new(format!("`hosts` cannot name \"{text}\"")).help(help));
    }
    Ok(name)
}

pub(super) fn token_file(text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        let help = "name it from the root, such as \"/etc/redirector/token\"";
        Err(Complaint::new(format!("`token-file` \"{text}\" is a relative path")).help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const REST: &str = "interfaces = [\"eth0\"]\n\
        [pool.p]\nnodes = [\"10.0.1.2\"]\n\
        [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"p\", port = 1080 }\n";

    fn parse(http: &str) -> Result<Config, String> {
        Config::parse("it", &format!("{REST}{http}")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn without_the_section_there_is_no_server() {
        assert_eq!(parse("").unwrap().http, None);
    }

    #[test]
    fn all_that_can_be_said_is_understood() {
        let http = parse(
            "[http]\nlisten = \"[::1]:9180\"\nhosts = [\"Relay.example.net.\"]\n\
             token-file = \"/etc/redirector/token\"\n",
        );
        let http = http.unwrap().http.unwrap();
        assert_eq!(http.listen, "[::1]:9180".parse().unwrap());
        assert_eq!(http.hosts, ["relay.example.net"]);
        assert_eq!(
            http.token_file.unwrap().to_str(),
            Some("/etc/redirector/token")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_reported_with_what_could() {
        for (http, message) in [
            ("[http]\n", "`listen` is missing"),
            (
                "[http]\nlisten = \"9180\"\n",
                "`listen` of [http] cannot be \"9180\"",
            ),
            (
                "[http]\nlisten = \"127.0.0.1:0\"\n",
                "cannot be \"127.0.0.1:0\"",
            ),
            (
                "[http]\nlisten = \"relay:9180\"\n",
                "cannot be \"relay:9180\"",
            ),
            (
                "[http]\nlisten = \"[::1]:1\"\nhosts = [\"a:80\"]\n",
                "`hosts` cannot name \"a:80\"",
            ),
            (
                "[http]\nlisten = \"[::1]:1\"\nhosts = [\"10.0.0.1\"]\n",
                "`hosts` cannot name",
            ),
            (
                "[http]\nlisten = \"[::1]:1\"\ntoken-file = \"token\"\n",
                "is a relative path",
            ),
            (
                "[http]\nlisten = \"[::1]:1\"\ntoken = \"abc\"\n",
                "unknown key `token` in [http]",
            ),
        ] {
            let problems = parse(http).unwrap_err();
            assert!(problems.contains(message), "{http}: {problems}");
        }
    }
}
