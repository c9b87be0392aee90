//! What sources name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::failure::{Cause, Failure};
use crate::config::{Discovered, DiscoveredNodes, HostName, Kubernetes, Source, usable};
use crate::dns::AT_A_TIME;
use crate::family::Family;

/// No name is looked up again sooner, whatever its answers say.
const SHORTEST: Duration = Duration::from_secs(1);

/// When a name is looked up again after that has failed, unless the interval is shorter.
const RETRY: Duration = Duration::from_secs(5);

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// These are all its nodes, and what was before is not known to lead to them.
    Listed(Vec<Discovered>),
    /// These are all its nodes, by what has changed since it said so before.
    Changed(Vec<Discovered>),
    /// A name server says that these are its nodes, and for how long that holds.
    Answered(Vec<Discovered>, Duration),
    /// Nothing is known by it.
    Failed(Failure),
}

/// What is known of a pool's source, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The source.
    pub source: Source,
    /// When it last said something that was believed; never before the first time.
    pub at: Option<SystemTime>,
    /// Why the pool's nodes may be others than the source names; none if they are those.
    pub trouble: Option<Trouble>,
    /// How many nodes it has.
    pub nodes: usize,
}

/// What speaks against going by a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The last of it.
    pub failure: Failure,
    /// Since when there is some.
    pub since: SystemTime,
}

/// What a source named, for the next agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The pool.
    pub pool: String,
    /// Its source in words, by which it is seen that it is another now.
    pub source: String,
    /// Its nodes.
    pub nodes: Vec<Discovered>,
    /// When they were last confirmed, seconds since 1970.
    pub at: u64,
}

/// What a report has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Names of nodes that are new.
    pub added: Vec<String>,
    /// Names of nodes that are not named any more.
    pub removed: Vec<String>,
    /// Names of nodes of which something else is said, and what their readiness is.
    pub changed: Vec<(String, &'static str)>,
    /// It cannot be gone by where it could before, and why.
    pub failed: Option<String>,
    /// It can be gone by again.
    pub recovered: bool,
}

impl Taken {
    /// Whether the pool has other nodes than before.
    pub fn has_changed(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
    }
}

#[derive(Clone, Debug)]
struct Entry {
    source: Source,
    families: BTreeSet<Family>,
    /// Another one for whoever is asked anew; what was asked before is left out of account.
    number: u64,
    nodes: Vec<Discovered>,
    at: Option<SystemTime>,
    trouble: Option<Trouble>,
    /// Since when a list that names nobody waits to be believed.
    empty_since: Option<Instant>,
    /// When a name is looked up again.
    due: Instant,
    /// It is watched, or a look-up is under way.
    asked: bool,
}

/// Everything that is known of the sources of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pools: BTreeMap<String, Entry>,
    /// What an earlier agent has left of pools that nobody has wanted yet.
    kept: BTreeMap<String, Kept>,
    /// The last number that was given.
    number: u64,
}

impl Book {
    /// Goes on from what an earlier agent has kept.
    pub fn new(kept: impl IntoIterator<Item = Kept>) -> Self {
        let kept = kept.into_iter();
        Self {
            kept: kept.map(|kept| (kept.pool.clone(), kept)).collect(),
            ..Self::default()
        }
    }

    /// Wants the nodes of these pools, and of no others. A pool that has another source than before keeps its nodes until that
    /// names some.
    pub fn want(&mut self, sources: BTreeMap<String, (Source, BTreeSet<Family>)>, now: Instant) {
        self.pools.retain(|pool, _| sources.contains_key(pool));
        for (pool, (source, families)) in sources {
            let known = self.pools.get(&pool);
            let same =
                known.is_some_and(|known| known.source == source && known.families == families);
            if same {
                continue;
            }
            self.number += 1;
            let kept = self.kept.remove(&pool);
            let kept = kept.filter(|kept| kept.source == source.to_string());
            let (nodes, at) = match (known, kept) {
                (Some(known), _) => (known.nodes.clone(), known.at),
                (None, Some(kept)) => {
                    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(kept.at));
                    (kept.nodes, at)
                }
                (None, None) => (Vec::new(), None),
            };
            let entry = Entry {
                source,
                families,
                number: self.number,
                nodes,
                at,
                trouble: None,
                empty_since: None,
                due: now,
                asked: false,
            };
            self.pools.insert(pool, entry);
        }
        self.kept.clear();
    }

    /// Has all names looked up at once, since others are asked from now on.
    pub fn ask_others(&mut self, now: Instant) {
        for entry in self.pools.values_mut() {
            if let Source::Dns(_) = entry.source {
                self.number += 1;
                (entry.number, entry.due, entry.asked) = (self.number, now, false);
            }
        }
    }

    /// Gives up nodes that cannot be, by what `objection` says of all that is known; tells the pools and why.
    pub fn admit(
        &mut self,
        objection: impl Fn(&DiscoveredNodes) -> Option<String>,
    ) -> Vec<(String, String)> {
        let mut refused = Vec::new();
        let mut admitted = DiscoveredNodes::new();
        for (pool, entry) in &mut self.pools {
            let wanted = std::mem::take(&mut entry.nodes);
            let (nodes, why) = place(pool, wanted, &admitted, &objection);
            admitted.insert(pool.clone(), nodes.clone());
            entry.nodes = nodes;
            refused.extend(why.map(|why| (pool.clone(), why)));
        }
        refused
    }

    /// The clusters that nobody watches yet, each with its pool and the number by which reports of it are to be given. Each is
    /// given once.
    pub fn to_watch(&mut self) -> Vec<(String, u64, Kubernetes)> {
        let mut all = Vec::new();
        for (pool, entry) in &mut self.pools {
            if let Source::Kubernetes(kubernetes) = &entry.source
                && !entry.asked
            {
                entry.asked = true;
                all.push((pool.clone(), entry.number, kubernetes.clone()));
            }
        }
        all
    }

    /// The names to look up now, with pool, number and families. Each is given once, until [`Book::take`] has its answer.
    pub fn due(&mut self, now: Instant) -> Vec<(String, u64, HostName, BTreeSet<Family>)> {
        let mut all = Vec::new();
        for (pool, entry) in &mut self.pools {
            if let Source::Dns(name) = &entry.source
                && !entry.asked
                && entry.due <= now
                && all.len() < AT_A_TIME
            {
                entry.asked = true;
                let families = entry.families.clone();
                all.push((pool.clone(), entry.number, name.clone(), families));
            }
        }
        all
    }

    /// Has those asked for again whose answers will not come.
    pub fn ask_again(&mut self) {
        for entry in self.pools.values_mut() {
            entry.asked = false;
        }
    }

    /// Whether reports by this number still count.
    pub fn heeds(&self, number: u64) -> bool {
        self.pools.values().any(|entry| entry.number == number)
    }

    /// Takes a report. `interval` is the longest time to the next look-up of a name; `objection` says why nodes cannot be where
    /// this would put them.
    pub fn take(
        &mut self,
        pool: &str,
        report: Report,
        interval: Duration,
        now: (Instant, SystemTime),
        objection: impl Fn(&DiscoveredNodes) -> Option<String>,
    ) -> Taken {
        let all = self.nodes();
        let Some(entry) = self.pools.get_mut(pool) else {
            return Taken::default();
        };
        let mut next = interval;
        let nodes = match report {
            Report::Failed(why) => {
                entry.wait_for_next(next.min(RETRY), interval, now.0);
                // An empty list counts for as long as its watch would have told better.
                entry.empty_since = None;
                return entry.doubt(Some(why), now.1);
            }
            Report::Listed(nodes) if nodes.is_empty() && !entry.nodes.is_empty() => {
                let since = *entry.empty_since.get_or_insert(now.0);
                if !entry.is_over(since, now.0) {
                    let why = Failure::new(Cause::Empty, "it names no node at all");
                    return entry.doubt(Some(why), now.1);
                }
                nodes
            }
            // What is added and taken away again while an empty list is doubted does not make it true.
            Report::Changed(nodes) if nodes.is_empty() && entry.empty_since.is_some() => {
                return Taken::default();
            }
            Report::Listed(nodes) | Report::Changed(nodes) => nodes,
            Report::Answered(nodes, holds) => {
                next = next.min(holds);
                nodes
            }
        };
        entry.wait_for_next(next, interval, now.0);
        entry.empty_since = None;
        entry.at = Some(now.1);
        entry.settle(pool, nodes, &all, now.1, &objection)
    }

    /// Believes the lists that have named nobody for long enough; tells the pools and what has changed.
    pub fn believe(
        &mut self,
        now: (Instant, SystemTime),
        objection: impl Fn(&DiscoveredNodes) -> Option<String>,
    ) -> Vec<(String, Taken)> {
        let all = self.nodes();
        let mut believed = Vec::new();
        for (pool, entry) in &mut self.pools {
            if entry
                .empty_since
                .is_some_and(|since| entry.is_over(since, now.0))
            {
                entry.empty_since = None;
                entry.at = Some(now.1);
                let taken = entry.settle(pool, Vec::new(), &all, now.1, &objection);
                believed.push((pool.clone(), taken));
            }
        }
        believed
    }

    /// The nodes of all pools.
    pub fn nodes(&self) -> DiscoveredNodes {
        let pools = self.pools.iter();
        pools
            .map(|(pool, entry)| (pool.clone(), entry.nodes.clone()))
            .collect()
    }

    /// What is known of each source.
    pub fn known(&self) -> impl Iterator<Item = (&str, Known)> {
        self.pools.iter().map(|(pool, entry)| {
            let known = Known {
                source: entry.source.clone(),
                at: entry.at,
                trouble: entry.trouble.clone(),
                nodes: entry.nodes.len(),
            };
            (pool.as_str(), known)
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// The pools of which nobody has ever named a node.
    pub fn unknown(&self) -> BTreeSet<String> {
        let pools = self.pools.iter();
        pools
            .filter(|(_, entry)| entry.nodes.is_empty())
            .map(|(pool, _)| pool.clone())
            .collect()
    }

    /// For the next agent.
    pub fn to_keep(&self) -> Vec<Kept> {
        let seconds = |at: SystemTime| {
            let since = at.duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs())
        };
        let pools = self
            .pools
            .iter()
            .filter(|(_, entry)| !entry.nodes.is_empty());
        pools
            .map(|(pool, entry)| Kept {
                pool: pool.clone(),
                source: entry.source.to_string(),
                nodes: entry.nodes.clone(),
                at: entry.at.map_or(0, seconds),
            })
            .collect()
    }
}

impl Entry {
    /// Whether an empty list has been doubted for long enough.
    fn is_over(&self, since: Instant, now: Instant) -> bool {
        match &self.source {
            Source::Kubernetes(kubernetes) => now.duration_since(since) >= kubernetes.empty_grace,
            Source::Dns(_) => false,
        }
    }

    fn wait_for_next(&mut self, next: Duration, interval: Duration, now: Instant) {
        if let Source::Dns(_) = self.source {
            self.asked = false;
            self.due = now + next.max(SHORTEST).min(interval.max(SHORTEST));
        }
    }

    /// Notes what speaks against going by the source, or that nothing does.
    fn doubt(&mut self, why: Option<Failure>, now: SystemTime) -> Taken {
        let before = self.trouble.take();
        let since = before.as_ref().map_or(now, |trouble| trouble.since);
        let failed = why.as_ref().map(ToString::to_string);
        self.trouble = why.map(|failure| Trouble { failure, since });
        Taken {
            failed: failed.filter(|_| before.is_none()),
            recovered: self.trouble.is_none() && before.is_some(),
            ..Taken::default()
        }
    }

    /// Has these nodes, as far as nothing speaks against them.
    fn settle(
        &mut self,
        pool: &str,
        mut nodes: Vec<Discovered>,
        all: &DiscoveredNodes,
        now: SystemTime,
        objection: &impl Fn(&DiscoveredNodes) -> Option<String>,
    ) -> Taken {
        // Who is there already gives way to nobody.
        let is_new = |node: &Discovered| !self.nodes.iter().any(|known| known.name == node.name);
        nodes.sort_by(|one, other| (is_new(one), &one.name).cmp(&(is_new(other), &other.name)));
        let (mut nodes, why) = place(pool, nodes, all, objection);
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        let by_name = |nodes: &[Discovered]| -> BTreeMap<String, Discovered> {
            let nodes = nodes.iter().map(|node| (node.name.clone(), node.clone()));
            nodes.collect()
        };
        let (before, after) = (by_name(&self.nodes), by_name(&nodes));
        self.nodes = nodes;
        let why = why.map(|why| Failure::new(Cause::LeftOut, why));
        let doubted = self.doubt(why, now);
        let missing_in = |one: &BTreeMap<String, Discovered>, other: &BTreeMap<_, _>| {
            let names = one.keys().filter(|name| !other.contains_key(*name));
            names.cloned().collect()
        };
        let changed = after
            .iter()
            .filter(|(name, node)| before.get(*name).is_some_and(|before| before != *node))
            .map(|(name, node)| (name.clone(), node.readiness.word()));
        Taken {
            added: missing_in(&after, &before),
            removed: missing_in(&before, &after),
            changed: changed.collect(),
            ..doubted
        }
    }
}

/// Those of a pool's nodes against which nothing speaks, and what speaks against the first of the others. `all` are the nodes of the
/// other pools.
fn place(
    pool: &str,
    nodes: Vec<Discovered>,
    all: &DiscoveredNodes,
    objection: &impl Fn(&DiscoveredNodes) -> Option<String>,
) -> (Vec<Discovered>, Option<String>) {
    let mut first = None;
    let mut all = all.clone();
    let mut fit = Vec::new();
    for node in nodes {
        match node
            .addresses
            .iter()
            .find_map(|one: &IpAddr| usable(*one).err())
        {
            Some(why) => drop(first.get_or_insert(format!("{} is left out: {why}", node.name))),
            None => fit.push(node),
        }
    }
    all.insert(pool.to_owned(), fit.clone());
    if objection(&all).is_none() {
        return (fit, first);
    }
    // One after the other, to find those that it is about.
    let mut admitted = Vec::new();
    for node in fit {
        admitted.push(node);
        all.insert(pool.to_owned(), admitted.clone());
        if let Some(why) = objection(&all)
            && let Some(node) = admitted.pop()
        {
            first.get_or_insert(format!("{} is left out: {why}", node.name));
        }
    }
    (admitted, first)
}

#[cfg(test)]
mod tests;
