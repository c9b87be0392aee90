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
pub const AT_A_TIME: usize = 32;

/// Addresses of an answer that are tried, the lowest first: trying one may take milliseconds, and nothing else is done
/// meanwhile.
const TRIED: usize = 8;

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

/// What speaks against nodes being where their names say.
pub trait Objections {
    /// Against a node of this name at this address, as far as that is told at once.
    fn to_address(&self, host: &HostName, address: IpAddr) -> Option<String>;

    /// Against all nodes where these names put them.
    fn to_all(&self, known: &Known) -> Option<String>;
}

impl<F: Fn(&Known) -> Option<String>> Objections for F {
    fn to_address(&self, _: &HostName, _: IpAddr) -> Option<String> {
        None
    }

    fn to_all(&self, known: &Known) -> Option<String> {
        self(known)
    }
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
    /// The names that had addresses by no answer any more which this one has now, and what is left to them.
    pub ousted: Vec<(HostName, Addresses)>,
    /// The last look-up failed where the one before did not, and why.
    pub failed: Option<String>,
    /// The last look-up did not fail, and the one before did.
    pub recovered: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    families: BTreeSet<Family>,
    resolution: Resolution,
    /// The families whose address the last look-up has not confirmed.
    unconfirmed: BTreeSet<Family>,
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
    /// Counts who was asked: the servers of one configuration after those of another.
    asking: u64,
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
            asking: 0,
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
                unconfirmed: BTreeSet::new(),
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

    /// Has all names looked up at once, since others are asked from now on. What those before still answer is to be left out of
    /// account, by what [`Names::asking`] was when they were asked.
    pub fn ask_others(&mut self, now: Instant) {
        self.asking += 1;
        for entry in self.entries.values_mut() {
            entry.asked = false;
            entry.due = now;
        }
    }

    /// Another number whenever others are asked.
    pub fn asking(&self) -> u64 {
        self.asking
    }

    /// Gives up addresses where nodes cannot be, by what `objections` say of all that is known; tells the names and why.
    pub fn admit(&mut self, objections: &impl Objections) -> Vec<(HostName, String)> {
        let all = self.known();
        if objections.to_all(&all).is_none() {
            return Vec::new();
        }
        let mut refused = Vec::new();
        let mut admitted = Known::new();
        for (host, addresses) in all {
            admitted.insert(host.clone(), addresses);
            let Some(why) = objections.to_all(&admitted) else {
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
        self.due_of(now, |_| true)
    }

    /// The same of those names only that are `wanted`.
    pub fn due_of(
        &mut self,
        now: Instant,
        wanted: impl Fn(&HostName) -> bool,
    ) -> Vec<(HostName, BTreeSet<Family>)> {
        let under_way = self.entries.values().filter(|entry| entry.asked).count();
        let mut due = Vec::new();
        for (host, entry) in &mut self.entries {
            if under_way + due.len() >= AT_A_TIME {
                break;
            }
            if !entry.asked && entry.due <= now && wanted(host) {
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

    /// Takes an answer. `interval` is the longest time to the next look-up; `objections` say why nodes cannot be where this
    /// would put them.
    pub fn take(
        &mut self,
        host: &HostName,
        answer: &Answer,
        interval: Duration,
        now: (Instant, SystemTime),
        objections: &impl Objections,
    ) -> Taken {
        let Some(entry) = self.entries.get(host) else {
            return Taken::default();
        };
        let (families, before) = (entry.families.clone(), entry.resolution.clone());
        let mut place = Placing {
            known: self.known(),
            after: before.addresses,
            ousted: Vec::new(),
        };
        let mut next = interval;
        let mut troubles: Vec<String> = Vec::new();
        let mut unconfirmed = BTreeSet::new();
        let answered = |family: &&Family| answer.contains_key(*family);
        let is_whole = families.iter().filter(answered).count() == families.len();
        for (family, part) in answer {
            if !families.contains(family) {
                continue;
            }
            let current = before.addresses.of(*family);
            let trouble = match part {
                Part::Addresses { addresses, holds } => {
                    next = next.min(*holds);
                    if current.is_some_and(|current| addresses.contains(&current)) {
                        continue;
                    }
                    match self.place(host, addresses, &mut place, objections) {
                        Ok(()) => continue,
                        Err(why) => why,
                    }
                }
                Part::Nothing if current.is_some() => {
                    format!("it has no {} any more", record(*family))
                }
                Part::Nothing => continue,
                Part::Failed(why) => why.clone(),
            };
            unconfirmed.insert(*family);
            troubles.push(trouble);
        }
        let Placing { after, ousted, .. } = place;
        if after.is_empty() && troubles.is_empty() && is_whole {
            let records: Vec<_> = families.iter().map(|family| record(*family)).collect();
            troubles.push(format!("it has no {}", records.join(" and no ")));
        }
        troubles.dedup();
        let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
        if trouble.is_some() {
            next = next.min(RETRY);
        }
        let due = if is_whole {
            now.0 + next.max(SHORTEST).min(interval.max(SHORTEST))
        } else {
            // It was asked for before the other family was wanted.
            now.0
        };
        let at = if trouble.is_none() && is_whole {
            Some(now.1)
        } else {
            before.at
        };
        if let Some(entry) = self.entries.get_mut(host) {
            entry.asked = false;
            entry.due = due;
            entry.unconfirmed = unconfirmed;
            entry.resolution = Resolution {
                addresses: after,
                at,
                trouble: trouble.clone(),
            };
        }
        for (other, left) in &ousted {
            if let Some(entry) = self.entries.get_mut(other) {
                entry.resolution.addresses = *left;
                entry.due = now.0;
            }
        }
        Taken {
            moved: (after != before.addresses).then_some((before.addresses, after)),
            ousted,
            recovered: trouble.is_none() && before.trouble.is_some(),
            failed: trouble.filter(|_| before.trouble.is_none()),
        }
    }

    /// Puts a name at the lowest address that nothing speaks against, or tells what speaks against the lowest. Another name that
    /// has the address by an old answer only does not keep it from this one.
    fn place(
        &self,
        host: &HostName,
        addresses: &[IpAddr],
        place: &mut Placing,
        objections: &impl Objections,
    ) -> Result<(), String> {
        let mut first = None;
        let lowest: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        for address in lowest.into_iter().take(TRIED) {
            let at_once = usable(address)
                .err()
                .or_else(|| objections.to_address(host, address));
            if let Some(why) = at_once {
                first.get_or_insert(why);
                continue;
            }
            let after = place.after.with(address);
            let mut known = place.known.clone();
            known.insert(host.clone(), after);
            let mut ousted = Vec::new();
            let mut objection = objections.to_all(&known);
            if objection.is_some() {
                ousted = self.without(&mut known, host, address);
                if !ousted.is_empty() {
                    objection = objection.and_then(|why| objections.to_all(&known).and(Some(why)));
                }
            }
            match objection {
                None => {
                    place.known = known;
                    place.after = after;
                    place.ousted.extend(ousted);
                    return Ok(());
                }
                Some(why) => {
                    first.get_or_insert(why);
                }
            }
        }
        Err(first.unwrap_or_else(|| "the answer is empty".to_owned()))
    }

    /// Takes an address from those other names that have it by no answer any more; gives what is left to them.
    fn without(
        &self,
        known: &mut Known,
        host: &HostName,
        address: IpAddr,
    ) -> Vec<(HostName, Addresses)> {
        let family = Family::of(address);
        let mut ousted = Vec::new();
        for (other, addresses) in known.iter_mut() {
            let entry = self.entries.get(other);
            let is_old = entry.is_some_and(|entry| entry.unconfirmed.contains(&family));
            if other != host && is_old && addresses.of(family) == Some(address) {
                *addresses = addresses.iter().filter(|one| *one != address).collect();
                ousted.push((other.clone(), *addresses));
            }
        }
        ousted
    }
}

/// Where an answer puts names.
struct Placing {
    known: Known,
    /// What the name stands for that was answered.
    after: Addresses,
    ousted: Vec<(HostName, Addresses)>,
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
