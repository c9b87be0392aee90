//! `[peer.NAME]`: the other relays that the state of connections is had from.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use serde_spanned::Spanned;

use super::http::token_file;
use super::meaning::duration;
use super::problem::{Complaint, Findings};
use super::section::Section;

/// Bounds of `interval`: below, relays would be busy with each other; above, too many new connections would be unknown to
/// the one that takes over.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// Most peers.
const MOST: usize = 16;
/// An example of `url`, for reports.
const LIKE_URL: &str = "\"http://10.9.0.2:9180\"";

/// Another relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name here, unique among peers.
    pub name: String,
    /// Where its HTTP server listens.
    pub address: SocketAddr,
    /// File with the token that its server wants.
    pub token_file: PathBuf,
    /// Time between two exchanges.
    pub interval: Duration,
}

/// The section as written.
pub(super) struct Written {
    name: Spanned<String>,
    url: Option<Spanned<String>>,
    token_file: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
}

pub(super) fn read(
    name: Spanned<String>,
    mut section: Section<'_>,
    findings: &mut Findings,
) -> Written {
    section.require("url", &format!("url = {LIKE_URL}"), findings);
    section.require(
        "token-file",
        "the file with the token of its [http]: token-file = \"/etc/redirector/token\"",
        findings,
    );
    let written = Written {
        url: section.text("url", LIKE_URL, findings),
        token_file: section.text("token-file", "\"/etc/redirector/token\"", findings),
        interval: section.text("interval", "\"1s\"", findings),
        name,
    };
    section.finish(findings);
    written
}

/// Without a key of its own in the file each relay makes one, so peers would never agree: `has_key` says whether there is one.
pub(super) fn mean(written: Vec<Written>, has_key: bool, findings: &mut Findings) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for Written {
        name,
        url,
        token_file: file,
        interval,
    } in written
    {
        let at = name.span();
        if !has_key {
            let complaint = Complaint::new("a peer needs `hash-key`");
            let help = "the same on both relays, so that they send each client to the same node";
            findings.add(at.clone(), complaint.help(help));
        }
        if peers.len() == MOST {
            let complaint = Complaint::new(format!("there are more than {MOST} peers"));
            findings.add(at.clone(), complaint.help("name fewer"));
        }
        let address = url.and_then(|url| findings.check(url.span(), server(url.get_ref())));
        let file = file.and_then(|path| findings.check(path.span(), token_file(path.get_ref())));
        let default = Duration::from_secs(1);
        let interval = duration("interval", interval.as_ref(), &INTERVAL, default, findings);
        let (Some(address), Some(token_file)) = (address, file) else {
            continue;
        };
        if let Some(other) = peers.iter().find(|peer| peer.address == address) {
            let complaint = Complaint::new(format!("{address} is peer {} already", other.name));
            findings.add(at, complaint.help("name each relay once"));
        }
        peers.push(Peer {
            name: name.into_inner(),
            address,
            token_file,
            interval,
        });
    }
    peers
}

/// The address in a URL. There is no name in it, since a name server that is away must not keep relays apart.
fn server(url: &str) -> Result<SocketAddr, Complaint> {
    let address = url.strip_prefix("http://").map(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        rest.parse::<SocketAddr>()
    });
    match address {
        Some(Ok(address)) if address.port() != 0 => Ok(address),
        Some(_) | None => {
            let help = format!(
                "`listen` of its [http] as {LIKE_URL} or \"http://[2001:db8::2]:9180\", with an address and a port"
            );
            Err(Complaint::new(format!("`url` of a peer cannot be \"{url}\"")).help(help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const REST: &str = "interfaces = [\"eth0\"]\nhash-key = \"0123456789abcdef\"\n\
        [pool.p]\nnodes = [\"10.0.1.2\"]\n\
        [redirect.r]\nlisten = [\"10.0.0.1:1080\"]\nforward-to = { pool = \"p\", port = 1080 }\n";

    fn parse(rest: &str, peer: &str) -> Result<Config, String> {
        Config::parse("it", &format!("{rest}{peer}")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn all_that_can_be_said_is_understood() {
        let peer = "[peer.b]\nurl = \"http://[2001:db8::2]:9180/\"\ntoken-file = \"/etc/token\"\ninterval = \"200ms\"\n";
        let config = parse(REST, peer).unwrap();
        let peer = &config.peers[0];
        assert_eq!(peer.name, "b");
        assert_eq!(peer.address, "[2001:db8::2]:9180".parse().unwrap());
        assert_eq!(peer.interval.as_millis(), 200);
        assert!(parse(REST, "").unwrap().peers.is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_reported_with_what_could() {
        const TOKEN: &str = "token-file = \"/etc/token\"\n";
        for (peer, message) in [
            (TOKEN.to_owned(), "`url` is missing in [peer.b]"),
            (
                "url = \"http://10.9.0.2:1\"\n".to_owned(),
                "`token-file` is missing",
            ),
            (
                format!("url = \"https://10.9.0.2:1\"\n{TOKEN}"),
                "`url` of a peer cannot be",
            ),
            (
                format!("url = \"http://relay-b:1\"\n{TOKEN}"),
                "`url` of a peer cannot be",
            ),
            (
                format!("url = \"http://10.9.0.2:0\"\n{TOKEN}"),
                "`url` of a peer cannot be",
            ),
            (
                format!("url = \"http://10.9.0.2:1/x\"\n{TOKEN}"),
                "`url` of a peer cannot be",
            ),
            (
                format!("url = \"http://10.9.0.2:1\"\ninterval = \"1ms\"\n{TOKEN}"),
                "`interval`",
            ),
            (
                format!(
                    "url = \"http://10.9.0.2:1\"\n{TOKEN}[peer.c]\nurl = \"http://10.9.0.2:1\"\n{TOKEN}"
                ),
                "is peer b already",
            ),
        ] {
            let problems = parse(REST, &format!("[peer.b]\n{peer}")).unwrap_err();
            assert!(problems.contains(message), "{peer}: {problems}");
        }
    }

    #[test]
    fn peers_without_a_key_in_the_file_would_never_agree() {
        let rest = REST.replace("hash-key = \"0123456789abcdef\"\n", "");
        let peer = "[peer.b]\nurl = \"http://10.9.0.2:1\"\ntoken-file = \"/etc/token\"\n";
        assert!(
            parse(&rest, peer)
                .unwrap_err()
                .contains("a peer needs `hash-key`")
        );
    }
}
