//! What differs between two configurations, in the words of the file.
//!
//! Every setting is listed with its value as text, by taking the structures of the model apart: a setting that is new
//! there does not compile here until it is listed. Secrets are only said to differ.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::dns::Dns;
use super::model::{
    Config, Control, Delivery, Flows, Http, Node, Pool, Privileges, Redirect, Timing, Track,
};
use super::peer::Peer;
use super::words;
use crate::units::exact;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum Difference {
    /// Only the new configuration has it.
    Added {
        /// What, such as `node socksservers/p2`.
        what: String,
    },
    /// Only the old configuration has it.
    Removed {
        /// What.
        what: String,
    },
    /// Both have it, with another value of a setting.
    Changed {
        /// What.
        what: String,
        /// The setting, as in the file.
        key: String,
        /// Its old value.
        from: String,
        /// Its new value.
        to: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { what } => write!(f, "{what}: added"),
            Self::Removed { what } => write!(f, "{what}: removed"),
            Self::Changed {
                what,
                key,
                from,
                to,
            } => write!(f, "{what}: {key} {from} -> {to}"),
        }
    }
}

/// A setting and its value.
type Setting = (&'static str, String);

/// Everything that has a name in a configuration, with its settings.
type Things = BTreeMap<String, Vec<Setting>>;

/// What differs from `before` to `after`: what was removed, what was added, then what has changed.
pub fn differences(before: &Config, after: &Config) -> Vec<Difference> {
    let (old, new) = (things(before), things(after));
    let removed = old.keys().filter(|what| !new.contains_key(*what)).cloned();
    let added = new.keys().filter(|what| !old.contains_key(*what)).cloned();
    let mut all: Vec<Difference> = removed.map(|what| Difference::Removed { what }).collect();
    all.extend(added.map(|what| Difference::Added { what }));
    for (what, before) in &old {
        let after = new.get(what).into_iter().flatten();
        let pairs = before.iter().zip(after);
        for ((key, from), (_, to)) in pairs.filter(|(from, to)| from != to) {
            all.push(Difference::Changed {
                what: what.clone(),
                key: (*key).to_owned(),
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    all.extend(hidden(before, after));
    all
}

/// What differs without a text that could be shown: the key, and settings of checks.
fn hidden(before: &Config, after: &Config) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut changed = |what: String, key: &str, from: String, to: &str| {
        all.push(Difference::Changed {
            what,
            key: key.to_owned(),
            from,
            to: to.to_owned(),
        });
    };
    if before.hash_key != after.hash_key {
        let said = |key: Option<_>| if key.is_some() { "given" } else { "none" };
        let to = match (before.hash_key, after.hash_key) {
            (Some(_), Some(_)) => "another",
            (_, key) => said(key),
        };
        let from = said(before.hash_key).to_owned();
        changed("configuration".to_owned(), "hash-key", from, to);
    }
    for old in &before.pools {
        let new = after.pools.iter().find(|new| new.name == old.name);
        let names = check_names(&old.checks);
        if let Some(new) = new
            && new.checks != old.checks
            && check_names(&new.checks) == names
        {
            changed(pool_name(old), "checks", names, "others of these types");
        }
    }
    all
}

fn pool_name(pool: &Pool) -> String {
    format!("pool {}", pool.name)
}

fn things(config: &Config) -> Things {
    let Config {
        interfaces,
        xdp_mode,
        // It is a secret; see `hidden`.
        hash_key: _,
        flows,
        pools,
        redirects,
        http,
        peers,
        dns,
        privileges,
        control,
    } = config;
    let mut things = Things::new();
    let mut whole = vec![
        ("interfaces", interfaces.join(", ")),
        ("xdp-mode", word(&words::XDP_MODES, xdp_mode)),
    ];
    whole.extend(flow_settings(flows));
    whole.extend(http_settings(http.as_ref()));
    whole.extend(dns_settings(dns));
    whole.extend(account_settings(privileges, control));
    things.insert("configuration".to_owned(), whole);
    for pool in pools {
        things.insert(pool_name(pool), pool_settings(pool));
        for node in &pool.nodes {
            let name = format!("node {}/{}", pool.name, node.name);
            things.insert(name, node_settings(node, pools));
        }
    }
    for peer in peers {
        things.insert(format!("peer {}", peer.name), peer_settings(peer));
    }
    for redirect in redirects {
        let name = format!("redirect {}", redirect.name);
        things.insert(name, redirect_settings(redirect, pools));
    }
    things
}

fn flow_settings(flows: &Flows) -> Vec<Setting> {
    let Flows {
        max,
        session_timeout,
        udp_timeout,
        handshake_timeout,
        closing_timeout,
    } = flows;
    vec![
        ("flows.max", max.to_string()),
        ("flows.session-timeout", exact(*session_timeout)),
        ("flows.udp-timeout", exact(*udp_timeout)),
        ("flows.handshake-timeout", exact(*handshake_timeout)),
        ("flows.closing-timeout", exact(*closing_timeout)),
    ]
}

fn http_settings(http: Option<&Http>) -> Vec<Setting> {
    let (listen, names, token) = http.map_or_else(Default::default, |http| {
        let Http {
            listen,
            hosts,
            token_file,
        } = http;
        let token = token_file.as_ref().map(|file| file.display().to_string());
        (Some(listen.to_string()), hosts.join(", "), token)
    });
    vec![
        ("http.listen", or_none(listen)),
        ("http.hosts", or_none(Some(names).filter(|n| !n.is_empty()))),
        ("http.token-file", or_none(token)),
    ]
}

fn peer_settings(peer: &Peer) -> Vec<Setting> {
    let Peer {
        name: _,
        address,
        token_file,
        interval,
    } = peer;
    vec![
        ("url", format!("http://{address}")),
        ("token-file", token_file.display().to_string()),
        ("interval", exact(*interval)),
    ]
}

fn dns_settings(dns: &Dns) -> Vec<Setting> {
    let Dns {
        interval,
        timeout,
        servers,
    } = dns;
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    let servers = Some(servers.join(", ")).filter(|servers| !servers.is_empty());
    vec![
        ("dns.interval", exact(*interval)),
        ("dns.timeout", exact(*timeout)),
        (
            "dns.servers",
            servers.unwrap_or_else(|| "those of the host".to_owned()),
        ),
    ]
}

fn account_settings(privileges: &Privileges, control: &Control) -> Vec<Setting> {
    let Privileges { user, group } = privileges;
    let Control { socket_group } = control;
    vec![
        ("privileges.user", or_none(user.clone())),
        ("privileges.group", or_none(group.clone())),
        ("control.socket-group", or_none(socket_group.clone())),
    ]
}

fn pool_settings(pool: &Pool) -> Vec<Setting> {
    let Pool {
        name: _,
        source,
        // Things of their own.
        nodes: _,
        checks,
        timing,
        min_active,
        failback,
        slow_start,
    } = pool;
    let source = source.as_ref().map(ToString::to_string);
    let mut settings = vec![
        ("nodes", source.unwrap_or_else(|| "listed".to_owned())),
        ("checks", check_names(checks)),
        ("min-active", min_active.to_string()),
        ("failback", word(&words::FAILBACKS, failback)),
        ("slow-start", exact(*slow_start)),
    ];
    settings.extend(timing_settings(timing));
    settings
}

fn timing_settings(timing: &Timing) -> Vec<Setting> {
    let Timing {
        interval,
        timeout,
        rise,
        fall,
        fast_interval,
        jitter,
    } = timing;
    vec![
        ("health.interval", exact(*interval)),
        ("health.timeout", exact(*timeout)),
        ("health.rise", rise.to_string()),
        ("health.fall", fall.to_string()),
        ("health.fast-interval", or_none(fast_interval.map(exact))),
        ("health.jitter", jitter.to_string()),
    ]
}

fn node_settings(node: &Node, pools: &[Pool]) -> Vec<Setting> {
    let Node {
        name: _,
        host,
        addresses,
        weight,
        priority,
        check_port,
        check_ttl,
        parent,
        timing,
        // It is said elsewhere than in the file.
        standing: _,
    } = node;
    let parent = parent.map(|parent| {
        let pool = &pools[parent.pool];
        format!("{}/{}", pool.name, pool.nodes[parent.node].name)
    });
    let health = timing.as_ref().map(|timing| {
        let settings = timing_settings(timing).into_iter();
        let settings: Vec<_> = settings
            .map(|(key, value)| format!("{} {value}", key.trim_start_matches("health.")))
            .collect();
        settings.join(", ")
    });
    vec![
        // What a name stands for is no setting.
        (
            "address",
            host.as_ref()
                .map_or_else(|| addresses.to_string(), ToString::to_string),
        ),
        ("weight", weight.to_string()),
        ("priority", priority.to_string()),
        (
            "check-port",
            or_none(check_port.map(|port| port.to_string())),
        ),
        ("check-ttl", or_none(check_ttl.map(|ttl| ttl.to_string()))),
        ("parent", or_none(parent)),
        (
            "health",
            health.unwrap_or_else(|| "that of the pool".to_owned()),
        ),
    ]
}

fn redirect_settings(redirect: &Redirect, pools: &[Pool]) -> Vec<Setting> {
    let Redirect {
        name: _,
        listen,
        protocol,
        pool,
        delivery,
        port,
        // Follows from the others.
        check_port: _,
        backup,
        mode,
        track,
        sticky,
        on_down,
        when_empty,
        udp_associate,
        direct_tcp,
    } = redirect;
    let track = match track {
        Track::Auto => "auto",
        Track::All => "all",
    };
    let listen: Vec<_> = listen.iter().map(ToString::to_string).collect();
    let delivery = match delivery {
        Delivery::Translate => "forward-to",
        Delivery::Route => "route-to",
    };
    vec![
        ("listen", listen.join(", ")),
        ("protocol", word(&words::PROTOCOLS, protocol)),
        ("delivery", delivery.to_owned()),
        ("pool", pools[*pool].name.clone()),
        ("port", or_none(port.map(|port| port.to_string()))),
        (
            "backup",
            or_none(backup.map(|pool| pools[pool].name.clone())),
        ),
        ("mode", mode.word().to_owned()),
        ("track", track.to_owned()),
        (
            "sticky",
            format!("IPv4 /{}, IPv6 /{}", sticky.ipv4, sticky.ipv6),
        ),
        ("on-down", word(&words::ON_DOWN, on_down)),
        ("when-empty", word(&words::WHEN_EMPTY, when_empty)),
        ("udp-associate", word(&words::UDP_ASSOCIATE, udp_associate)),
        ("direct-tcp", word(&words::DIRECT_TCP, direct_tcp)),
    ]
}

fn check_names(checks: &[Check]) -> String {
    let names: Vec<_> = checks.iter().map(Check::name).collect();
    names.join(", ")
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "none".to_owned())
}

/// The word that the file has for a value.
fn word<T: PartialEq>(words: &[(&str, Result<T, &str>)], value: &T) -> String {
    let found = words.iter().find(|(_, meant)| meant.as_ref() == Ok(value));
    found.map_or_else(String::new, |(word, _)| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
interfaces = ["eth0"]
[pool.a]
nodes = ["10.0.1.2", { address = "10.0.1.3", name = "p2", weight = 2 }]
check = { type = "tcp", port = 1080 }
[pool.spare]
nodes = ["10.0.1.9"]
[redirect.r]
listen = ["10.0.0.1:1080"]
forward-to = { pool = "a", port = 1080 }
"#;

    fn after(changes: &[(&str, &str)]) -> Vec<String> {
        let mut text = BEFORE.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let parse = |text: &str| Config::parse("t", text).unwrap_or_else(|p| panic!("{p}"));
        let found = differences(&parse(BEFORE), &parse(&text));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_differs_from_itself_or_from_another_order() {
        assert!(after(&[]).is_empty());
        let other = "nodes = [{ address = \"10.0.1.3\", name = \"p2\", weight = 2 }, \"10.0.1.2\"]";
        let first = "nodes = [\"10.0.1.2\", { address = \"10.0.1.3\", name = \"p2\", weight = 2 }]";
        assert!(after(&[(first, other)]).is_empty());
    }

    #[test]
    fn what_is_added_removed_and_changed_is_named_with_its_values() {
        assert_eq!(
            after(&[
                ("\"10.0.1.2\", ", "\"10.0.1.4\", "),
                ("weight = 2", "weight = 5, parent = \"10.0.1.4\""),
                (
                    "[\"eth0\"]",
                    "[\"eth0\", \"eth1\"]\n[flows]\nsession-timeout = \"1h\""
                ),
                (
                    "port = 1080 }\n[pool.spare]",
                    "port = 1080 }\nslow-start = \"30s\"\n[pool.spare]"
                ),
                (
                    "[redirect.r]",
                    "[redirect.r]\nbackup = \"spare\"\non-down = \"keep\""
                ),
            ]),
            [
                "node a/10.0.1.2: removed",
                "node a/10.0.1.4: added",
                "configuration: interfaces eth0 -> eth0, eth1",
                "configuration: flows.session-timeout 1d -> 1h",
                "node a/p2: weight 2 -> 5",
                "node a/p2: parent none -> a/10.0.1.4",
                "pool a: slow-start 0s -> 30s",
                "redirect r: backup none -> spare",
                "redirect r: on-down auto -> keep",
            ]
        );
    }

    #[test]
    fn secrets_are_only_said_to_differ_and_so_are_settings_of_checks() {
        let key = after(&[("[\"eth0\"]", "[\"eth0\"]\nhash-key = \"a secret of ours\"")]);
        assert_eq!(key, ["configuration: hash-key none -> given"]);
        let check = after(&[("type = \"tcp\", port = 1080", "type = \"tcp\", port = 1081")]);
        assert_eq!(check, ["pool a: checks tcp -> others of these types"]);
        let check = after(&[("{ type = \"tcp\", port = 1080 }", "\"icmp\"")]);
        assert_eq!(check, ["pool a: checks tcp -> icmp"]);
    }
}
