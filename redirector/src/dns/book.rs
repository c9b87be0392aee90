//! What names stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::config::{Addresses, HostName, Known, usable};
use crate::family::Family;

/// No name is looked up again sooner, whatever its answers say.
const SHORTEST: Duration = Duration::from_secs(1);

/// When a name is looked up again after that has failed, unless the interval is shorter.
const RETRY: Duration = Duration::from_secs(5);

/// Names that are looked up at a time: each takes sockets.
const AT_A_TIME: usize = 32;

/// What was answered in each family that was asked for.
pub type Answer = BTreeMap<Family, Part>;

/// What was answered in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name has these addresses.
    Addresses {
        /// At least one, in any order.
        addresses: Vec<IpAddr>,
        /// For how long the answer holds.
        holds: Duration,
    },
    /// The name exists, and has no address of this family.
    Nothing,
    /// Nothing is known by this look-up.
    Failed(String),
}

/// What is known of a name, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Where the node is.
    pub addresses: Addresses,
    /// When that was last confirmed; never before the first answer.
    pub at: Option<SystemTime>,
    /// Why the last look-up has failed; none if it has not.
    pub trouble: Option<String>,
}

/// What a name stood for, for the next agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The name.
    pub host: HostName,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// When they were last confirmed, seconds since 1970.
    pub at: u64,
}

/// What an answer has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The addresses before and after, where they differ.
    pub moved: Option<(Addresses, Addresses)>,
    /// The last look-up failed where the one before did not, and why.
    pub failed: Option<String>,
    /// The last look-up did not fail, and the one before did.
    pub recovered: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    families: BTreeSet<Family>,
    resolution: Resolution,
    due: Instant,
    /// A look-up is under way.
    asked: bool,
}

/// Everything that is known of the names of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Names {
    entries: BTreeMap<HostName, Entry>,
    /// What an earlier agent has left of names that nobody has wanted yet.
    kept: BTreeMap<HostName, (Addresses, SystemTime)>,
}

impl Names {
    /// Goes on from what an earlier agent has kept.
    pub fn new(kept: impl IntoIterator<Item = Kept>) -> Self {
        let kept = kept.into_iter().map(|kept| {
            let usable = kept
                .addresses
                .into_iter()
                .filter(|one| usable(*one).is_ok());
            let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(kept.at));
            (
                kept.host,
                (usable.collect(), at.unwrap_or(SystemTime::UNIX_EPOCH)),
            )
        });
        Self {
            entries: BTreeMap::new(),
            kept: kept.collect(),
        }
    }

    /// Wants these names, each in these families, and no others. New ones are due at once.
    pub fn want(&mut self, hosts: BTreeMap<HostName, BTreeSet<Family>>, now: Instant) {
        self.entries.retain(|host, _| hosts.contains_key(host));
        for (host, families) in hosts {
            let kept = self.kept.remove(&host);
            let entry = self.entries.entry(host).or_insert_with(|| Entry {
                families: BTreeSet::new(),
                resolution: kept.map_or_else(Resolution::default, |(addresses, at)| Resolution {
                    addresses,
                    at: Some(at),
                    trouble: None,
                }),
                due: now,
                asked: false,
            });
            if entry.families != families {
                entry.resolution.addresses = entry.resolution.addresses.only(&families);
                entry.families = families;
                entry.due = now;
            }
        }
        self.kept.clear();
    }

    /// Gives up addresses where nodes cannot be, by what `objection` says of all that is known; tells the names and why.
    pub fn admit(
        &mut self,
        objection: impl Fn(&Known) -> Option<String>,
    ) -> Vec<(HostName, String)> {
        let all = self.known();
        if objection(&all).is_none() {
            return Vec::new();
        }
        let mut refused = Vec::new();
        let mut admitted = Known::new();
        for (host, addresses) in all {
            admitted.insert(host.clone(), addresses);
            let Some(why) = objection(&admitted) else {
                continue;
            };
            admitted.remove(&host);
            if let Some(entry) = self.entries.get_mut(&host) {
                entry.resolution = Resolution {
                    trouble: Some(why.clone()),
                    ..Resolution::default()
                };
            }
            refused.push((host, why));
        }
        refused
    }

    /// What all names stand for that stand for something.
    pub fn known(&self) -> Known {
        let entries = self.entries.iter();
        entries
            .map(|(host, entry)| (host.clone(), entry.resolution.addresses))
            .filter(|(_, addresses)| !addresses.is_empty())
            .collect()
    }

    /// What is known of one.
    pub fn of(&self, host: &HostName) -> Option<&Resolution> {
        self.entries.get(host).map(|entry| &entry.resolution)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those that have never been found.
    pub fn unresolved(&self) -> impl Iterator<Item = &HostName> {
        let entries = self.entries.iter();
        entries
            .filter(|(_, entry)| entry.resolution.addresses.is_empty())
            .map(|(host, _)| host)
    }

    /// For the next agent.
    pub fn to_keep(&self) -> Vec<Kept> {
        let seconds = |at: SystemTime| {
            let since = at.duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs())
        };
        let entries = self.entries.iter();
        entries
            .filter(|(_, entry)| !entry.resolution.addresses.is_empty())
            .map(|(host, entry)| Kept {
                host: host.clone(),
                addresses: entry.resolution.addresses.iter().collect(),
                at: entry.resolution.at.map_or(0, seconds),
            })
            .collect()
    }

    /// The names to look up now, each in these families. Each is given once, until [`Names::take`] has its answer.
    pub fn due(&mut self, now: Instant) -> Vec<(HostName, BTreeSet<Family>)> {
        let under_way = self.entries.values().filter(|entry| entry.asked).count();
        let mut due = Vec::new();
        for (host, entry) in &mut self.entries {
            if under_way + due.len() >= AT_A_TIME {
                break;
            }
            if !entry.asked && entry.due <= now {
                entry.asked = true;
                due.push((host.clone(), entry.families.clone()));
            }
        }
        due
    }

    /// Has those asked for again whose answers will not come.
    pub fn ask_again(&mut self) {
        for entry in self.entries.values_mut() {
            entry.asked = false;
        }
    }

    /// Takes an answer. `interval` is the longest time to the next look-up; `objection` says why nodes cannot be where this
    /// would put them.
    pub fn take(
        &mut self,
        host: &HostName,
        answer: &Answer,
        interval: Duration,
        now: (Instant, SystemTime),
        objection: impl Fn(&Known) -> Option<String>,
    ) -> Taken {
        let mut known = self.known();
        let Some(entry) = self.entries.get_mut(host) else {
            return Taken::default();
        };
        let before = entry.resolution.clone();
        let mut after = before.addresses;
        let mut next = interval;
        let mut troubles: Vec<String> = Vec::new();
        for (family, part) in answer {
            let current = before.addresses.of(*family);
            match part {
                Part::Addresses { addresses, holds } => {
                    next = next.min(*holds);
                    if current.is_some_and(|current| addresses.contains(&current)) {
                        continue;
                    }
                    let chosen = choose(addresses, |address| {
                        known.insert(host.clone(), after.with(address));
                        objection(&known)
                    });
                    match chosen {
                        Ok(address) => after = after.with(address),
                        Err(why) => troubles.push(why),
                    }
                }
                Part::Nothing if current.is_some() => {
                    troubles.push(format!("it has no {} any more", record(*family)));
                }
                Part::Nothing => {}
                Part::Failed(why) => troubles.push(why.clone()),
            }
        }
        if after.is_empty() && troubles.is_empty() {
            let records: Vec<_> = answer.keys().map(|family| record(*family)).collect();
            troubles.push(format!("it has no {}", records.join(" and no ")));
        }
        troubles.dedup();
        let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
        if trouble.is_some() {
            next = next.min(RETRY);
        }
        entry.asked = false;
        entry.due = now.0 + next.max(SHORTEST).min(interval.max(SHORTEST));
        entry.resolution = Resolution {
            addresses: after,
            at: if trouble.is_none() {
                Some(now.1)
            } else {
                before.at
            },
            trouble: trouble.clone(),
        };
        Taken {
            moved: (after != before.addresses).then_some((before.addresses, after)),
            recovered: trouble.is_none() && before.trouble.is_some(),
            failed: trouble.filter(|_| before.trouble.is_none()),
        }
    }
}

/// The lowest address that nothing speaks against, or what speaks against the lowest.
fn choose(
    addresses: &[IpAddr],
    mut objection: impl FnMut(IpAddr) -> Option<String>,
) -> Result<IpAddr, String> {
    let mut first = None;
    for address in addresses.iter().copied().collect::<BTreeSet<_>>() {
        let why = usable(address).err().or_else(|| objection(address));
        match why {
            None => return Ok(address),
            Some(why) => {
                first.get_or_insert(why);
            }
        }
    }
    Err(first.unwrap_or_else(|| "the answer is empty".to_owned()))
}

/// What the records are called that have addresses of a family.
const fn record(family: Family) -> &'static str {
    match family {
        Family::V4 => "A record",
        Family::V6 => "AAAA record",
    }
}

#[cfg(test)]
mod tests;
