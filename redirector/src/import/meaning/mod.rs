//! From what relayd.conf says to what our configuration says, with a remark about everything that is not the same.

mod redirect;
mod tables;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Surroundings;
use super::names::Names;
use super::plan::{Plan, Remark};
use super::sources::{At, Place, Sources};
use super::written::{Redirect, Statement, Table};
use crate::config::problem::Complaint;

/// relayd(8)'s interval where the file has none.
const INTERVAL: u32 = 10;

/// relayd(8)'s timeout where the file has none, in milliseconds.
const TIMEOUT: u32 = 200;

/// Bounds of our `interval` and `timeout`, in seconds.
const LONGEST: u32 = 86_400;

/// Understands everything. Mistakes go to the sources; the plan is only good without any.
pub(super) fn mean(
    statements: Vec<Statement>,
    sources: &mut Sources,
    around: &dyn Surroundings,
) -> Plan {
    let mut settings = Settings::default();
    let mut tables: HashMap<String, Defined> = HashMap::new();
    let mut redirects = Vec::new();
    let mut remarks = Vec::new();
    let mut numbering = Numbering::Known;
    for statement in statements {
        match statement {
            Statement::Interval(interval) => settings.interval = Some(interval),
            Statement::Timeout(timeout) => settings.timeout = Some(timeout),
            Statement::Table(table) => {
                let name = table.name.clone();
                let defined = Defined {
                    table,
                    timeout: settings.timeout_ms(),
                    used: false,
                };
                if let Some(first) = tables.insert(name.value.clone(), defined) {
                    let complaint =
                        Complaint::new(format!("table <{}> is defined twice", name.value));
                    let help = format!("the first one is at {}", sources.line(first.table.name.at));
                    sources.complain(name.at, complaint.help(help));
                }
            }
            Statement::Redirect(redirect) => redirects.push((redirect, settings.interval_s())),
            Statement::Other(other) => {
                if other.numbers_hosts {
                    numbering = Numbering::Unknown;
                }
                remarks.push(Remark {
                    at: other.at,
                    text: format!("{}: {}", other.what, other.note),
                });
            }
        }
    }
    let (interval, timeout) = settings.check(sources);
    let mut meaning = Meaning {
        sources,
        around,
        tables,
        plan: Plan {
            interfaces: Vec::new(),
            interval,
            timeout,
            hash_key: None,
            session_timeout: None,
            pools: Vec::new(),
            redirects: Vec::new(),
            remarks,
        },
        pool_names: Names::default(),
        redirect_names: Names::default(),
        made: HashMap::new(),
        hosts: Vec::new(),
        numbered: HashMap::new(),
        instances: HashSet::new(),
        numbering,
        key: None,
    };
    meaning.redirects(redirects);
    meaning.parents();
    meaning.unused_tables();
    meaning.plan
}

/// Whether the numbers that `parent` uses can be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Known,
    /// Relays and routers number hosts, too.
    Unknown,
}

/// The global settings so far.
#[derive(Default)]
struct Settings {
    interval: Option<At<u32>>,
    timeout: Option<At<u32>>,
}

impl Settings {
    fn interval_s(&self) -> u32 {
        self.interval.as_ref().map_or(INTERVAL, |at| at.value)
    }

    fn timeout_ms(&self) -> u32 {
        self.timeout.as_ref().map_or(TIMEOUT, |at| at.value)
    }

    /// The relay's interval and timeout.
    fn check(&self, sources: &mut Sources) -> (Duration, Duration) {
        if let Some(interval) = &self.interval
            && !(1..=LONGEST).contains(&interval.value)
        {
            let complaint = Complaint::new(format!("`interval` cannot be {}", interval.value));
            sources.complain(
                interval.at,
                complaint.help(format!("it can be 1 to {LONGEST} seconds")),
            );
        }
        let interval = Duration::from_secs(self.interval_s().into());
        let timeout = Duration::from_millis(self.timeout_ms().into());
        if let Some(at) = self
            .timeout
            .as_ref()
            .or(self.interval.as_ref())
            .map(|at| at.at)
            && (timeout > interval || timeout.is_zero())
        {
            let complaint = Complaint::new(
                "the timeout of a check must be longer than 0 and no longer than the interval",
            );
            sources.complain(
                at,
                complaint.help("the timeout is in milliseconds, the interval in seconds"),
            );
        }
        (interval, timeout)
    }
}

/// A table, and the global timeout where it is defined: what comes later does not change it.
struct Defined {
    table: Table,
    timeout: u32,
    used: bool,
}

struct Meaning<'a> {
    sources: &'a mut Sources,
    around: &'a dyn Surroundings,
    tables: HashMap<String, Defined>,
    plan: Plan,
    pool_names: Names,
    redirect_names: Names,
    /// Pools by what they are made of.
    made: HashMap<tables::Key, Option<usize>>,
    /// relayd(8) numbers the hosts of each table, port and check that is forwarded to, from 1. Which node of which pool
    /// each is, if it is one.
    hosts: Vec<Option<(usize, usize)>>,
    /// The part of them that each pool has, which its next use repeats.
    numbered: HashMap<usize, Vec<Option<(usize, usize)>>>,
    instances: HashSet<tables::Instance>,
    numbering: Numbering,
    /// The key that is taken over.
    key: Option<At<String>>,
}

impl Meaning<'_> {
    fn redirects(&mut self, redirects: Vec<(Redirect, u32)>) {
        let mut seen: HashMap<String, Place> = HashMap::new();
        for (redirect, interval) in redirects {
            let name = &redirect.name;
            if let Some(first) = seen.insert(name.value.clone(), name.at) {
                let complaint =
                    Complaint::new(format!("redirect \"{}\" is defined twice", name.value));
                let help = format!("the first one is at {}", self.sources.line(first));
                self.sources.complain(name.at, complaint.help(help));
                continue;
            }
            self.redirect(redirect, interval);
        }
    }

    fn unused_tables(&mut self) {
        let unused = self.tables.values().filter(|defined| !defined.used);
        self.plan.remarks.extend(unused.map(|defined| Remark {
            at: defined.table.name.at,
            text: format!("table <{}>: no redirect uses it", defined.table.name.value),
        }));
    }

    fn note_interface(&mut self, name: &str) {
        if !self.plan.interfaces.iter().any(|known| known == name) {
            self.plan.interfaces.push(name.to_owned());
        }
    }
}
