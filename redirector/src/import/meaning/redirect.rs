//! A redirect in our words.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::modes;
use super::super::plan::{self, Remark};
use super::super::sources::{At, Place};
use super::super::written::{Protocol, Redirect, Target};
use super::Meaning;
use super::tables::Use;
use crate::config::problem::Complaint;
use crate::config::{hash_key, values};
use crate::family::Family;

/// Longest session timeout, in seconds.
const LONGEST_SESSION: u32 = 365 * 86_400;

/// A listener, before it is a text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: IpAddr,
    first: u16,
    last: u16,
    udp: bool,
}

impl Listener {
    fn every_port(self) -> bool {
        self.first <= 1 && self.last == u16::MAX
    }

    /// As our configuration writes it; `port` is the one that all ports become.
    fn text(self, port: Option<u16>) -> String {
        if self.every_port() && port.is_none() {
            return self.address.to_string();
        }
        let first = SocketAddr::from((self.address, self.first.max(1)));
        if self.first == self.last {
            first.to_string()
        } else {
            format!("{first}-{}", self.last)
        }
    }
}

impl Meaning<'_> {
    pub(super) fn redirect(&mut self, redirect: Redirect, interval: u32) {
        let Redirect {
            name,
            listens,
            targets,
            disabled,
            sticky,
            tag,
            session_timeout,
        } = redirect;
        let mut remarks = Vec::new();
        let mut note = |at: Place, text: String| remarks.push(Remark { at, text });
        let mut targets = targets.into_iter();
        let (main, backup, more) = (targets.next(), targets.next(), targets.next());
        let Some(first) = listens.first() else {
            let complaint = Complaint::new(format!("redirect \"{}\" listens nowhere", name.value));
            self.sources
                .complain(name.at, complaint.help("listen on 10.0.0.1 port 1080"));
            return;
        };
        let Some(main) = main else {
            let complaint = Complaint::new(format!("redirect \"{}\" has no table", name.value));
            self.sources.complain(
                name.at,
                complaint.help("forward to <socksservers> check tcp"),
            );
            return;
        };
        if let Some(more) = more {
            self.sources
                .complain(more.at, Complaint::new("only one backup table is allowed"));
        }
        let ranges = listens
            .iter()
            .any(|listen| listen.ports.value.0 != listen.ports.value.1);
        let first_port = first.ports.value.0;
        let port = main.port.as_ref().map(|port| port.value);
        if port.is_none() && first_port == 0 {
            let complaint = Complaint::new("which port of the nodes is checked?");
            self.sources.complain(
                main.at,
                complaint.help("name it: forward to <table> port 1080"),
            );
            return;
        }
        if let Some(backup) = &backup {
            self.check_backup(&main, backup, first_port);
        }
        if let Some(at) = disabled {
            note(at, "`disable`: the redirect is off in relayd until relayctl enables it, so it is a comment here".to_owned());
        }
        if let Some(tag) = tag {
            let text = format!(
                "`pftag {}`: packets are redirected before netfilter sees them, so no rule could use a tag",
                tag.value
            );
            note(tag.at, text);
        }
        for listen in &listens {
            if let Some(interface) = &listen.interface {
                self.note_interface(&interface.value);
                let text = format!(
                    "`interface {}`: clients may come in by each of `interfaces`",
                    interface.value
                );
                note(interface.at, text);
            }
        }
        if let Some(interface) = &main.interface {
            self.note_interface(&interface.value);
            note(
                interface.at,
                format!(
                    "`interface {}`: the way to a node is found by the routing table",
                    interface.value
                ),
            );
        }
        for demote in [Some(&main), backup.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|target| target.demote.as_ref())
        {
            let text = format!(
                "`demote {}`: carp(4) has no counterpart; let a track_script of keepalived ask `redirector show summary --json`",
                demote.value
            );
            note(demote.at, text);
        }
        let mode = main.mode.as_ref();
        let (mode_word, remark) = modes::translate(
            mode.map_or_else(Default::default, |mode| mode.value),
            sticky.is_some(),
            main.routes,
        );
        let mode_at = mode.map_or(main.at, |mode| mode.at);
        if let Some(text) = remark {
            note(mode_at, text);
        }
        if let Some(at) = sticky
            && mode.is_some_and(|mode| mode.value == super::super::written::Mode::SourceHash)
        {
            note(
                at,
                "`sticky-address`: source-hash keeps a client at its node anyway".to_owned(),
            );
        }
        if let Some(text) = main.key.as_ref().and_then(|key| self.hash_key(key)) {
            note(mode_at, text);
        }
        if let Some(timeout) = &session_timeout {
            let text = self.session_timeout(timeout);
            note(timeout.at, text);
        }
        let mut listeners = Vec::new();
        for listen in &listens {
            let udp = match &listen.protocol.value {
                Protocol::Tcp => false,
                Protocol::Udp => true,
                Protocol::Other(other) => {
                    note(
                        listen.protocol.at,
                        format!("protocol {other} has no counterpart; TCP and UDP are redirected"),
                    );
                    continue;
                }
            };
            let (first, last) = listen.ports.value;
            for address in self.addresses(&listen.address) {
                if let Err(complaint) = values::usable(address) {
                    note(
                        listen.address.at,
                        format!(
                            "{} is left out: {}",
                            listen.address.value, complaint.message
                        ),
                    );
                    continue;
                }
                let listener = Listener {
                    address,
                    first,
                    last,
                    udp,
                };
                if !listeners.contains(&listener) {
                    listeners.push(listener);
                }
            }
        }
        let every_port = listeners.iter().any(|listener| listener.every_port());
        if every_port && let Some(port) = port {
            note(
                main.at,
                format!(
                    "every port becomes {port}: such a redirect cannot be had; listen on the ports that are used"
                ),
            );
        }
        // As PF does it: a range keeps its ports unless the target names one, single ports become the target's.
        let translated = match (main.routes, port) {
            (_, Some(port)) => Some(port),
            (false, None) if !ranges => Some(first_port),
            (true | false, None) => None,
        };
        if translated.is_none()
            && !main.routes
            && listens
                .iter()
                .any(|l| l.ports.value.0 == l.ports.value.1 && l.ports.value.0 != first_port)
        {
            note(
                main.at,
                format!(
                    "beside a range, relayd sends single ports to port {first_port}; here they are kept, too"
                ),
            );
        }
        let check_port = (every_port && translated.is_none()).then_some(first_port);
        let used = Use {
            first_port,
            check_port,
            interval,
            redirect: &name.value,
        };
        let Some(pool) = self.pool(&main, &used) else {
            // A mistake has been reported, or a remark says why there are no nodes.
            let text = format!("redirect \"{}\" is left out: it has no nodes", name.value);
            self.plan.remarks.push(Remark { at: name.at, text });
            return;
        };
        let backup = backup
            .and_then(|backup| self.backup(&main, &backup, &used, pool, &listeners, &mut remarks));
        let served = |family| {
            let mut nodes = self.plan.pools[pool].nodes.iter();
            nodes.any(|node| Family::of(node.address) == family)
        };
        let (listeners, stranded): (Vec<_>, Vec<_>) = listeners
            .into_iter()
            .partition(|listener| served(Family::of(listener.address)));
        for stranded in stranded {
            let text = format!(
                "{} is left out: table <{}> has no {} host, and addresses are not translated between families",
                stranded.address,
                main.table.value,
                Family::of(stranded.address)
            );
            remarks.push(Remark { at: main.at, text });
        }
        let off = disabled.is_some()
            || listeners.is_empty()
            || self
                .tables
                .get(&main.table.value)
                .is_some_and(|defined| defined.table.disabled);
        if off && disabled.is_none() {
            let why = if listeners.is_empty() {
                "it listens nowhere"
            } else {
                "its table is off in relayd until relayctl enables it"
            };
            remarks.push(Remark {
                at: main.at,
                text: format!("{why}, so the redirect is a comment here"),
            });
        }
        for (protocol, listen, suffix) in by_protocol(&listeners, translated) {
            let name_here = self.redirect_names.take(&name.value, suffix);
            if name_here != name.value {
                remarks.push(Remark {
                    at: name.at,
                    text: format!("redirect \"{}\" is called `{name_here}` here", name.value),
                });
            }
            self.plan.redirects.push(plan::Redirect {
                name: name_here,
                at: name.at,
                listen,
                protocol,
                routes: main.routes,
                pool: self.plan.pools[pool].name.clone(),
                port: translated,
                mode: mode_word,
                backup: backup.clone(),
                remarks: std::mem::take(&mut remarks),
                off,
            });
        }
    }

    /// What relayd(8) demands of a backup table.
    fn check_backup(&mut self, main: &Target, backup: &Target, first_port: u16) {
        let port = |target: &Target| target.port.as_ref().map_or(first_port, |port| port.value);
        let mode = |target: &Target| {
            target
                .mode
                .as_ref()
                .map_or_else(Default::default, |mode| mode.value)
        };
        if port(main) != port(backup) {
            let complaint = Complaint::new("the backup table must have the port of the main table");
            self.sources.complain(
                backup.at,
                complaint.help(format!("write port {}", port(main))),
            );
        }
        if mode(main) != mode(backup) {
            let complaint = Complaint::new("the backup table must have the mode of the main table");
            self.sources.complain(
                backup.at,
                complaint.help(format!("write mode {}", mode(main))),
            );
        }
    }

    /// The name of the backup pool, if it can be one.
    fn backup(
        &mut self,
        main: &Target,
        backup: &Target,
        used: &Use<'_>,
        pool: usize,
        listeners: &[Listener],
        remarks: &mut Vec<Remark>,
    ) -> Option<String> {
        let table = &backup.table.value;
        let mut refuse = |why: String| {
            remarks.push(Remark {
                at: backup.at,
                text: format!("backup table <{table}> is left out: {why}"),
            });
            None
        };
        if main.routes != backup.routes {
            return refuse("a redirect either forwards or routes to all of its nodes".to_owned());
        }
        if self
            .tables
            .get(table)
            .is_some_and(|defined| defined.table.disabled)
        {
            if let Some(defined) = self.tables.get_mut(table) {
                defined.used = true;
            }
            return refuse(
                "it is off in relayd until relayctl enables it; to use it: backup = \"NAME\""
                    .to_owned(),
            );
        }
        let Some(found) = self.pool(backup, used) else {
            return refuse("it has no nodes".to_owned());
        };
        let [main_pool, found] = [pool, found].map(|index| &self.plan.pools[index]);
        if let Some(shared) = main_pool.nodes.iter().find(|node| {
            found
                .nodes
                .iter()
                .any(|other| other.address == node.address)
        }) {
            return refuse(format!(
                "{} is in the main table, too, and a backup must be other hosts",
                shared.address
            ));
        }
        let has = |pool: &plan::Pool, family| {
            pool.nodes
                .iter()
                .any(|node| Family::of(node.address) == family)
        };
        let lacks = Family::BOTH.into_iter().find(|family| {
            let listens = listeners
                .iter()
                .any(|listener| Family::of(listener.address) == *family);
            listens && has(main_pool, *family) && !has(found, *family)
        });
        if let Some(family) = lacks {
            return refuse(format!(
                "it has no {family} host for clients of that family"
            ));
        }
        Some(found.name.clone())
    }

    /// What to say about a key, which is the relay's here.
    fn hash_key(&mut self, key: &At<String>) -> Option<String> {
        let text = key
            .value
            .strip_prefix("0x")
            .unwrap_or(&key.value)
            .to_owned();
        match &self.key {
            Some(first) if first.value == key.value => None,
            Some(first) => {
                let line = self.sources.line(first.at);
                Some(format!(
                    "the key is another one than that of {line}, which is the relay's; one is enough"
                ))
            }
            None => {
                self.key = Some(key.clone());
                if text.len() < hash_key::MIN_LENGTH {
                    return Some(format!(
                        "the key is too short to keep clients from aiming at one node, so it is not taken over; give both \
                         relays of a pair one of {} characters or more as `hash-key`",
                        hash_key::MIN_LENGTH
                    ));
                }
                self.plan.hash_key = Some(text);
                Some("the key is taken over, so two relays agree; clients may come to other nodes than with relayd".to_owned())
            }
        }
    }

    fn session_timeout(&mut self, timeout: &At<u32>) -> String {
        let seconds = timeout.value.clamp(1, LONGEST_SESSION);
        let this = Duration::from_secs(seconds.into());
        let longest = self
            .plan
            .session_timeout
            .map_or(this, |known| known.max(this));
        self.plan.session_timeout = Some(longest);
        format!(
            "`session timeout {}`: `session-timeout` of [flows] is the relay's, the longest of all redirects",
            timeout.value
        )
    }
}

/// The listeners as redirects of ours: one for both protocols if these have the same, else one for each.
fn by_protocol(
    listeners: &[Listener],
    port: Option<u16>,
) -> Vec<(&'static str, Vec<String>, &'static str)> {
    let of = |udp: bool| -> Vec<String> {
        let these = listeners.iter().filter(|listener| listener.udp == udp);
        these.map(|listener| listener.text(port)).collect()
    };
    let (tcp, udp) = (of(false), of(true));
    match (tcp.is_empty(), udp.is_empty()) {
        (_, true) => vec![("tcp", tcp, "tcp")],
        (true, false) => vec![("udp", udp, "udp")],
        (false, false) if tcp == udp => vec![("both", tcp, "both")],
        (false, false) => vec![("tcp", tcp, "tcp"), ("udp", udp, "udp")],
    }
}
