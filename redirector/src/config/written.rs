//! The configuration as written: the right keys and types, each with its place in the text.

use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::accounts;
use super::check::{self, Check};
use super::dns;
use super::http;
use super::peer;
use super::problem::Findings;
use super::section::{Section, text, wrong_type};
use super::source;

/// An example of each kind of value, for reports.
const LIKE_ADDRESS: &str = "\"10.0.1.2\"";
const LIKE_LISTEN: &str = "[\"10.0.0.1:1080\"]";
const LIKE_DURATION: &str = "\"5s\"";
const LIKE_POOL: &str = "\"socksservers\"";

pub(super) struct Written {
    pub(super) interfaces: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) xdp_mode: Option<Spanned<String>>,
    pub(super) hash_key: Option<Spanned<String>>,
    pub(super) health: Timing,
    pub(super) flows: Flows,
    pub(super) pools: Vec<Pool>,
    pub(super) redirects: Vec<Redirect>,
    pub(super) http: Option<http::Written>,
    pub(super) peers: Vec<peer::Written>,
    pub(super) dns: dns::Written,
    pub(super) accounts: accounts::Written,
}

#[derive(Default)]
pub(super) struct Timing {
    pub(super) interval: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) rise: Option<Spanned<i64>>,
    pub(super) fall: Option<Spanned<i64>>,
    pub(super) fast_interval: Option<Spanned<String>>,
    pub(super) jitter: Option<Spanned<i64>>,
}

#[derive(Default)]
pub(super) struct Flows {
    pub(super) max: Option<Spanned<i64>>,
    pub(super) session_timeout: Option<Spanned<String>>,
    pub(super) udp_timeout: Option<Spanned<String>>,
    pub(super) handshake_timeout: Option<Spanned<String>>,
    pub(super) closing_timeout: Option<Spanned<String>>,
}

pub(super) struct Pool {
    pub(super) name: Spanned<String>,
    pub(super) nodes: Option<(Range<usize>, Vec<Node>)>,
    pub(super) source: source::Written,
    /// As meant already: what a check may have depends on its type.
    pub(super) checks: Vec<Check>,
    pub(super) health: Timing,
    pub(super) min_active: Option<Spanned<i64>>,
    pub(super) failback: Option<Spanned<String>>,
    pub(super) slow_start: Option<Spanned<String>>,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) address: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) weight: Option<Spanned<i64>>,
    pub(super) priority: Option<Spanned<i64>>,
    pub(super) check_port: Option<Spanned<i64>>,
    pub(super) check_ttl: Option<Spanned<i64>>,
    pub(super) parent: Option<Spanned<String>>,
    pub(super) health: Option<Timing>,
}

pub(super) struct Redirect {
    pub(super) name: Spanned<String>,
    pub(super) listen: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) protocol: Option<Spanned<String>>,
    pub(super) forward_to: Option<Target>,
    pub(super) route_to: Option<Target>,
    pub(super) backup: Option<Spanned<String>>,
    pub(super) udp_associate: Option<Spanned<String>>,
    pub(super) direct_tcp: Option<Spanned<String>>,
    pub(super) on_down: Option<Spanned<String>>,
    pub(super) when_empty: Option<Spanned<String>>,
    pub(super) track: Option<Spanned<String>>,
    pub(super) sticky: Option<Sticky>,
}

/// The value of `sticky`.
pub(super) struct Sticky {
    pub(super) at: Range<usize>,
    /// The length for whichever family the redirect listens in.
    pub(super) only: Option<Spanned<i64>>,
    pub(super) ipv4: Option<Spanned<i64>>,
    pub(super) ipv6: Option<Spanned<i64>>,
}

/// The value of `forward-to` or `route-to`.
pub(super) struct Target {
    pub(super) at: Range<usize>,
    pub(super) pool: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) mode: Option<Spanned<String>>,
}

/// Reads the whole file; unknown keys, missing keys and wrong types become findings.
pub(super) fn read(root: &DeTable<'_>, findings: &mut Findings) -> Written {
    let mut section = Section::new("the file", 0..0, root);
    section.require(
        "interfaces",
        "name the NICs of the relay: interfaces = [\"eth0\"]",
        findings,
    );
    let written = Written {
        interfaces: section.texts("interfaces", "[\"eth0\", \"eth1\"]", findings),
        xdp_mode: section.text("xdp-mode", "\"auto\"", findings),
        hash_key: section.text("hash-key", "\"0123456789abcdef0123456789abcdef\"", findings),
        health: section
            .section("health", "[health]", findings)
            .map(|section| timing(section, findings))
            .unwrap_or_default(),
        flows: section
            .section("flows", "[flows]", findings)
            .map(|section| flows(section, findings))
            .unwrap_or_default(),
        pools: section
            .sections("pool", findings)
            .into_iter()
            .map(|(name, section)| pool(name, section, findings))
            .collect(),
        redirects: section
            .sections("redirect", findings)
            .into_iter()
            .map(|(name, section)| redirect(name, section, findings))
            .collect(),
        http: section
            .section("http", "[http]", findings)
            .map(|section| http::read(section, findings)),
        peers: section
            .sections("peer", findings)
            .into_iter()
            .map(|(name, section)| peer::read(name, section, findings))
            .collect(),
        dns: section
            .section("dns", "[dns]", findings)
            .map(|section| dns::read(section, findings))
            .unwrap_or_default(),
        accounts: accounts::read(&mut section, findings),
    };
    section.require(
        "redirect",
        "add a [redirect.NAME] with listen and forward-to",
        findings,
    );
    section.finish(findings);
    written
}

fn timing(mut section: Section<'_>, findings: &mut Findings) -> Timing {
    let timing = Timing {
        interval: section.text("interval", LIKE_DURATION, findings),
        timeout: section.text("timeout", LIKE_DURATION, findings),
        rise: section.integer("rise", findings),
        fall: section.integer("fall", findings),
        fast_interval: section.text("fast-interval", "\"1s\"", findings),
        jitter: section.integer("jitter", findings),
    };
    section.finish(findings);
    timing
}

fn flows(mut section: Section<'_>, findings: &mut Findings) -> Flows {
    let flows = Flows {
        max: section.integer("max", findings),
        session_timeout: section.text("session-timeout", "\"24h\"", findings),
        udp_timeout: section.text("udp-timeout", "\"60s\"", findings),
        handshake_timeout: section.text("handshake-timeout", "\"60s\"", findings),
        closing_timeout: section.text("closing-timeout", "\"90s\"", findings),
    };
    section.finish(findings);
    flows
}

fn pool(name: Spanned<String>, mut section: Section<'_>, findings: &mut Findings) -> Pool {
    if !section.has("kubernetes") && !section.has("dns") {
        section.require(
            "nodes",
            "list them: nodes = [\"10.0.1.2\", \"10.0.1.3\"]",
            findings,
        );
    }
    let health = format!("[pool.{}.health]", name.get_ref());
    let pool = Pool {
        nodes: section
            .list("nodes", "[\"10.0.1.2\", \"10.0.1.3\"]", findings)
            .map(|(at, nodes)| {
                (
                    at,
                    nodes.iter().map(|value| node(value, findings)).collect(),
                )
            }),
        source: source::read(name.get_ref(), &mut section, findings),
        checks: check::read::checks(&mut section, findings),
        health: section
            .section("health", health, findings)
            .map(|section| timing(section, findings))
            .unwrap_or_default(),
        min_active: section.integer("min-active", findings),
        failback: section.text("failback", "\"auto\"", findings),
        slow_start: section.text("slow-start", "\"30s\"", findings),
        name,
    };
    section.finish(findings);
    pool
}

/// A node is an address, or a table that has one.
fn node(value: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Node {
    match value.get_ref() {
        DeValue::Table(table) => {
            let mut section = Section::new("a node", value.span(), table);
            section.require(
                "address",
                "{ address = \"10.0.1.2\", weight = 2 }",
                findings,
            );
            let node = Node {
                address: section.text("address", LIKE_ADDRESS, findings),
                name: section.text("name", "\"p2\"", findings),
                weight: section.integer("weight", findings),
                priority: section.integer("priority", findings),
                check_port: section.integer("check-port", findings),
                check_ttl: section.integer("check-ttl", findings),
                parent: section.text("parent", "\"p1\"", findings),
                health: section
                    .section("health", "`health` of a node", findings)
                    .map(|section| timing(section, findings)),
            };
            section.finish(findings);
            node
        }
        DeValue::String(_) => Node {
            address: text(value, "nodes", LIKE_ADDRESS, findings),
            ..Node::default()
        },
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            let expected = format!("addresses such as {LIKE_ADDRESS}, or tables that have one");
            wrong_type(value, "nodes", &expected, findings);
            Node::default()
        }
    }
}

fn redirect(name: Spanned<String>, mut section: Section<'_>, findings: &mut Findings) -> Redirect {
    section.require("listen", &format!("listen = {LIKE_LISTEN}"), findings);
    let mut target = |key: &'static str, findings: &mut Findings| {
        let what = format!("`{key}` of [redirect.{}]", name.get_ref());
        let section = section.section(key, what, findings)?;
        Some(written_target(section, findings))
    };
    let (forward_to, route_to) = (target("forward-to", findings), target("route-to", findings));
    let redirect = Redirect {
        listen: section.texts("listen", LIKE_LISTEN, findings),
        protocol: section.text("protocol", "\"tcp\"", findings),
        forward_to,
        route_to,
        backup: section.text("backup", LIKE_POOL, findings),
        udp_associate: section.text("udp-associate", "\"direct\"", findings),
        direct_tcp: section.text("direct-tcp", "\"drop\"", findings),
        on_down: section.text("on-down", "\"auto\"", findings),
        when_empty: section.text("when-empty", "\"reset\"", findings),
        track: section.text("track", "\"auto\"", findings),
        sticky: sticky(&mut section, findings),
        name,
    };
    if !section.has("route-to") {
        let example = format!("forward-to = {{ pool = {LIKE_POOL}, port = 1080 }}");
        section.require("forward-to", &example, findings);
    }
    section.finish(findings);
    redirect
}

/// One length, or a table with one of each family.
fn sticky(section: &mut Section<'_>, findings: &mut Findings) -> Option<Sticky> {
    if section.holds_table("sticky") {
        let mut section = section.section("sticky", "`sticky` of a redirect", findings)?;
        let sticky = Sticky {
            at: section.place(),
            only: None,
            ipv4: section.integer("ipv4", findings),
            ipv6: section.integer("ipv6", findings),
        };
        section.finish(findings);
        return Some(sticky);
    }
    let only = section.integer("sticky", findings)?;
    Some(Sticky {
        at: only.span(),
        only: Some(only),
        ipv4: None,
        ipv6: None,
    })
}

fn written_target(mut section: Section<'_>, findings: &mut Findings) -> Target {
    section.require("pool", "name a [pool.NAME] of this file", findings);
    let target = Target {
        at: section.place(),
        pool: section.text("pool", LIKE_POOL, findings),
        port: section.integer("port", findings),
        mode: section.text("mode", "\"source-hash\"", findings),
    };
    section.finish(findings);
    target
}
