//! Tables with the checks that redirects give them become pools.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::super::plan::{Node, Pool, Remark};
use super::super::sources::{At, Place};
use super::super::written::{Check, Host, Target};
use super::super::{checks, names};
use super::{LONGEST, Meaning, Numbering};
use crate::config::problem::Complaint;
use crate::config::values;

/// What two redirects must agree on to share a pool.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    table: String,
    check: String,
    timeout: u32,
    interval: u32,
    /// The port to check, where the redirect's own does not tell it.
    check_port: Option<u16>,
}

impl Meaning<'_> {
    /// The pool of a target; none when it has no node that could serve. A mistake is reported.
    ///
    /// `interval` is the global one where the redirect stands.
    pub(super) fn pool(
        &mut self,
        target: &Target,
        check_port: Option<u16>,
        interval: u32,
        redirect: &str,
    ) -> Option<usize> {
        let name = &target.table;
        let Some(defined) = self.tables.get_mut(&name.value) else {
            let complaint = Complaint::new(format!("there is no table <{}>", name.value));
            let known = self.tables.keys().map(String::as_str);
            let help = crate::config::suggest::nearest(&name.value, known).map_or_else(
                || format!("define it above: table <{}> {{ 10.0.1.2 }}", name.value),
                |meant| format!("did you mean <{meant}>?"),
            );
            self.sources.complain(name.at, complaint.help(help));
            return None;
        };
        defined.used = true;
        let table_timeout = defined.timeout;
        let Some(check) = &target.check else {
            let complaint = Complaint::new(format!("table <{}> has no check here", name.value));
            self.sources
                .complain(target.at, complaint.help("add one, such as: check tcp"));
            return None;
        };
        if let Some(own) = &target.interval
            && (own.value < interval
                || own.value.checked_rem(interval) != Some(0)
                || own.value > LONGEST)
        {
            let complaint = Complaint::new(format!(
                "the interval of a table must be a multiple of the global one, {interval}"
            ));
            self.sources.complain(
                own.at,
                complaint.help("`interval` for all of them stands above the tables"),
            );
            return None;
        }
        let key = Key {
            table: name.value.clone(),
            check: check.value.to_string(),
            timeout: target
                .timeout
                .as_ref()
                .map_or(table_timeout, |own| own.value),
            interval: target.interval.as_ref().map_or(interval, |own| own.value),
            check_port,
        };
        if let Some(made) = self.made.get(&key) {
            return *made;
        }
        let made = self.make_pool(&key, check, target.at, redirect);
        self.made.insert(key, made);
        made
    }

    fn make_pool(
        &mut self,
        key: &Key,
        check: &At<Check>,
        at: Place,
        redirect: &str,
    ) -> Option<usize> {
        // Taken out so that the sources can be complained to meanwhile.
        let hosts = std::mem::take(&mut self.tables.get_mut(&key.table)?.table.hosts);
        let mut remarks = Vec::new();
        let nodes = self.nodes(&hosts, &mut remarks);
        let fall = fall(&hosts, &mut remarks);
        let defined = self.tables.get_mut(&key.table)?;
        defined.table.hosts = hosts;
        let table_at = defined.table.name.at;
        if nodes.is_empty() {
            remarks.push(Remark {
                at,
                text: format!("table <{}>: no host of it could serve", key.table),
            });
            self.plan.remarks.append(&mut remarks);
            return None;
        }
        let (check_here, remark) = checks::translate(&check.value, key.check_port);
        remarks.extend(remark.map(|text| Remark { at: check.at, text }));
        let interval = Duration::from_secs(key.interval.max(1).into());
        let mut timeout = Duration::from_millis(key.timeout.max(1).into());
        if timeout > interval {
            remarks.push(Remark {
                at,
                text: "a check must end before the next one starts: the timeout is made as short as the interval"
                    .to_owned(),
            });
            timeout = interval;
        }
        let name = self.pool_names.take(&key.table, redirect);
        if name != key.table {
            remarks.push(Remark {
                at: table_at,
                text: format!("table <{}> is called `{name}` here", key.table),
            });
        }
        self.plan.pools.push(Pool {
            name,
            at: table_at,
            nodes,
            check: check_here,
            interval: (interval != self.plan.interval).then_some(interval),
            timeout: (timeout != self.plan.timeout).then_some(timeout),
            fall,
            remarks,
        });
        Some(self.plan.pools.len() - 1)
    }

    fn nodes(&mut self, hosts: &[Host], remarks: &mut Vec<Remark>) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut node_names = HashSet::new();
        for host in hosts {
            self.hosts.push(host.address.value.clone());
        }
        for host in hosts {
            let written = &host.address.value;
            let at = host.address.at;
            let mut remark = |text: String| remarks.push(Remark { at, text });
            if let Some(ttl) = &host.ttl {
                remark(format!(
                    "{written} `ip ttl {}`: the TTL of checks is the system's",
                    ttl.value
                ));
            }
            if let Some(priority) = &host.priority {
                remark(format!(
                    "{written} `priority {}`: means something in routers only",
                    priority.value
                ));
            }
            if let Some(parent) = &host.parent {
                remark(self.parent(written, parent.value));
            }
            let Some(address) = self.addresses(&host.address).into_iter().next() else {
                continue;
            };
            if let Err(complaint) = values::usable(address) {
                remark(format!("{written} is left out: {}", complaint.message));
                continue;
            }
            if nodes.iter().any(|node| node.address == address) {
                remark(format!(
                    "{written} is there twice; a node has one place in a pool"
                ));
                continue;
            }
            let mut name = written
                .parse::<IpAddr>()
                .is_err()
                .then(|| names::allowed(written));
            if name
                .as_ref()
                .is_some_and(|name| !node_names.insert(name.clone()))
            {
                name = None;
            }
            nodes.push(Node { address, name });
        }
        nodes
    }

    fn parent(&self, host: &str, parent: u32) -> String {
        let named = usize::try_from(parent)
            .ok()
            .and_then(|number| self.hosts.get(number.checked_sub(1)?));
        let which = match (self.numbering, named) {
            (Numbering::Known, Some(parent)) => format!(" ({parent})"),
            (Numbering::Known | Numbering::Unknown, _) => String::new(),
        };
        format!(
            "{host} `parent {parent}`{which}: has no counterpart in this version; it is checked itself"
        )
    }

    /// The addresses that a text stands for. Where there are none, that is reported.
    pub(super) fn addresses(&mut self, text: &At<String>) -> Vec<IpAddr> {
        if let Ok(address) = text.value.parse() {
            return vec![address];
        }
        let (why, found) = match self.around.lookup(&text.value) {
            Ok(found) => ("it has none".to_owned(), found),
            Err(error) => (error.to_string(), Vec::new()),
        };
        if found.is_empty() {
            let complaint = Complaint::new(format!(
                "cannot find an address of \"{}\": {why}",
                text.value
            ));
            let help = "write the address itself, or run this where the name is known; an interface's name stands for no \
                        address here";
            self.sources.complain(text.at, complaint.help(help));
        }
        found
    }
}

/// How many failures in a row take a node down: relayd(8) tries `retry` times more.
fn fall(hosts: &[Host], remarks: &mut Vec<Remark>) -> u32 {
    let retry = |host: &Host| host.retry.as_ref().map_or(0, |retry| retry.value);
    let most = hosts.iter().map(retry).max().unwrap_or(0);
    if let Some(other) = hosts.iter().find(|host| retry(host) != most) {
        remarks.push(Remark {
            at: other.address.at,
            text: format!(
                "`retry` is not the same for all hosts of the table; all nodes of the pool get the largest, {most}"
            ),
        });
    }
    most + 1
}
