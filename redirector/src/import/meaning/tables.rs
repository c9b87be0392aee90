//! Tables with the checks that redirects give them become pools.

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

/// What a redirect says of all of its targets.
#[derive(Clone, Copy)]
pub(super) struct Use<'a> {
    /// The port of targets that name none.
    pub(super) first_port: u16,
    /// The port to check, where the redirect's own does not tell it.
    pub(super) check_port: Option<u16>,
    /// The global interval where the redirect stands.
    pub(super) interval: u32,
    /// Its name.
    pub(super) redirect: &'a str,
}

/// What relayd(8) makes a table of its own for, with numbers of its own for the hosts.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Instance {
    key: Key,
    port: u16,
    demote: Option<String>,
}

impl Meaning<'_> {
    /// The pool of a target; none when it has no node that could serve. A mistake is reported.
    pub(super) fn pool(&mut self, target: &Target, used: &Use<'_>) -> Option<usize> {
        let Use {
            first_port,
            check_port,
            interval,
            redirect,
        } = *used;
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
        let instance = Instance {
            key: key.clone(),
            port: target.port.as_ref().map_or(first_port, |port| port.value),
            demote: target.demote.as_ref().map(|group| group.value.clone()),
        };
        if let Some(made) = self.made.get(&key).copied() {
            if self.instances.insert(instance)
                && let Some(pool) = made
            {
                let again = self.numbered.get(&pool).cloned();
                self.hosts.extend(again.into_iter().flatten());
            }
            return made;
        }
        let made = self.make_pool(&key, check, target.at, redirect);
        self.instances.insert(instance);
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
        let numbers_from = self.hosts.len();
        let fall = hosts.first().map_or(1, failures);
        let nodes = self.nodes(&hosts, fall, &mut remarks);
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
        let translated = checks::translate(&check.value, key.check_port);
        let remark = translated.remark;
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
        let numbered = self.hosts[numbers_from..].to_vec();
        self.numbered.insert(self.plan.pools.len(), numbered);
        self.plan.pools.push(Pool {
            name,
            at: table_at,
            nodes,
            check: translated.toml,
            interval: (interval != self.plan.interval).then_some(interval),
            timeout: (timeout != self.plan.timeout).then_some(timeout),
            fall,
            remarks,
        });
        Some(self.plan.pools.len() - 1)
    }

    /// The hosts as nodes of the pool that is made next. `fall` is the pool's.
    fn nodes(&mut self, hosts: &[Host], fall: u32, remarks: &mut Vec<Remark>) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for host in hosts {
            let place = self.node(host, fall, &nodes, remarks).map(|node| {
                nodes.push(node);
                (self.plan.pools.len(), nodes.len() - 1)
            });
            self.hosts.push(place);
        }
        nodes
    }

    /// A node, if the host can be one.
    fn node(
        &mut self,
        host: &Host,
        fall: u32,
        others: &[Node],
        remarks: &mut Vec<Remark>,
    ) -> Option<Node> {
        let written = &host.address.value;
        let at = host.address.at;
        let mut remark = |text: String| remarks.push(Remark { at, text });
        if let Some(priority) = &host.priority {
            remark(format!(
                "{written} `priority {}`: relayd uses it for routes only; `priority` of a node means another thing here",
                priority.value
            ));
        }
        let address = self.addresses(&host.address).into_iter().next()?;
        if let Err(complaint) = values::usable(address) {
            remark(format!("{written} is left out: {}", complaint.message));
            return None;
        }
        if others.iter().any(|node| node.address == address) {
            remark(format!(
                "{written} is there twice; a node has one place in a pool"
            ));
            return None;
        }
        let name = written
            .parse::<IpAddr>()
            .is_err()
            .then(|| names::allowed(written))
            .filter(|name| others.iter().all(|other| other.name.as_ref() != Some(name)));
        Some(Node {
            address,
            name,
            fall: Some(failures(host)).filter(|own| *own != fall),
            ttl: host
                .ttl
                .as_ref()
                .map(|ttl| ttl.value)
                .filter(|ttl| *ttl > 0),
            parent: host.parent.clone().filter(|parent| parent.value > 0),
            parent_name: None,
        })
    }

    /// Gives each node that has a parent the parent's name. relayd(8) looks for parents when everything is read, too.
    pub(super) fn parents(&mut self) {
        let mut named = Vec::new();
        for (pool_index, pool) in self.plan.pools.iter().enumerate() {
            for (node_index, node) in pool.nodes.iter().enumerate() {
                let Some(parent) = &node.parent else {
                    continue;
                };
                let found = usize::try_from(parent.value)
                    .ok()
                    .and_then(|number| *self.hosts.get(number.checked_sub(1)?)?)
                    .filter(|_| self.numbering == Numbering::Known)
                    .and_then(|(pool, node)| {
                        let pool = self.plan.pools.get(pool)?;
                        Some((pool, pool.nodes.get(node)?))
                    })
                    // The state of a node that has a parent itself is not its own.
                    .filter(|(_, node)| node.parent.is_none());
                let name = found.map(|(pool, node)| format!("{}/{}", pool.name, node.name()));
                named.push((pool_index, node_index, name, parent.clone()));
            }
        }
        for (pool, node, name, parent) in named {
            let pool = &mut self.plan.pools[pool];
            if name.is_none() {
                pool.remarks.push(Remark {
                    at: parent.at,
                    text: format!(
                        "`parent {}`: which host that is cannot be told (relayctl show hosts numbers them), so the node is \
                         checked itself; write parent = \"POOL/NODE\"",
                        parent.value
                    ),
                });
            }
            pool.nodes[node].parent_name = name;
        }
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
fn failures(host: &Host) -> u32 {
    1 + host.retry.as_ref().map_or(0, |retry| retry.value)
}
