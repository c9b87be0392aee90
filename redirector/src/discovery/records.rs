//! Asking name servers for all nodes of a name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use hickory_resolver::proto::rr::{RData, rdata::SRV};

use crate::config::{DEFAULT_PRIORITY, Discovered, Dns, HostName, MAX_WEIGHT, is_name};
use crate::dns::{self, Answer, Part};
use crate::family::Family;

/// Most services of an answer that are looked at; each takes sockets.
const MAX_SERVICES: usize = 64;

/// A service of a name (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    host: HostName,
    priority: u16,
    weight: u16,
    port: u16,
}

/// The nodes that a name stands for, and for how long that holds.
///
/// # Errors
/// Whatever keeps the whole answer from being known, or that there is nobody.
pub async fn look_up(
    dns: &Dns,
    name: &HostName,
    families: &BTreeSet<Family>,
) -> Result<(Vec<Discovered>, Duration), String> {
    if !name.as_str().starts_with('_') {
        let answer = dns::look_up(dns, name, families).await;
        let (addresses, holds) = addresses(name, answer)?;
        let nodes = addresses.into_iter();
        let nodes = nodes.map(|address| Discovered::new(address.to_string(), vec![address]));
        return Ok((nodes.collect(), holds));
    }
    let (records, holds) = dns::services(dns, name).await?;
    let services = services(&records)?;
    let answers = services
        .iter()
        .map(|service| dns::look_up(dns, &service.host, families));
    let answers = join_all(answers).await;
    nodes(services, answers, holds)
}

/// All addresses of a host. One family that is not known makes none known.
fn addresses(name: &HostName, answer: Answer) -> Result<(BTreeSet<IpAddr>, Duration), String> {
    let mut all = BTreeSet::new();
    let mut shortest = Duration::MAX;
    for (family, part) in answer {
        match part {
            Part::Addresses { addresses, holds } => {
                let of_family = addresses.into_iter();
                all.extend(of_family.filter(|address| Family::of(*address) == family));
                shortest = shortest.min(holds);
            }
            Part::Nothing => {}
            Part::Failed(why) => return Err(why),
        }
    }
    if all.is_empty() {
        return Err(format!("{name} has no address"));
    }
    Ok((all, shortest))
}

/// The services of an answer, each host once: by its best record.
fn services(records: &[RData]) -> Result<Vec<Service>, String> {
    let mut best: BTreeMap<HostName, Service> = BTreeMap::new();
    for record in records {
        let RData::SRV(SRV {
            priority,
            weight,
            port,
            target,
            ..
        }) = record
        else {
            continue;
        };
        // The root is nobody. The others are whole names, which end in a dot.
        let Some(host) = HostName::new(&target.to_utf8()) else {
            continue;
        };
        let service = Service {
            host: host.clone(),
            priority: *priority,
            weight: *weight,
            port: *port,
        };
        let rank = |service: &Service| (service.priority, service.port);
        let known = best.get(&host).map(rank);
        if known.is_none_or(|known| rank(&service) < known) {
            best.insert(host, service);
        }
    }
    if best.is_empty() {
        return Err("it has no SRV record".to_owned());
    }
    Ok(best.into_values().take(MAX_SERVICES).collect())
}

/// The hosts of services as nodes. A host that has no address at all is left out; one that is not known makes none known.
fn nodes(
    services: Vec<Service>,
    answers: Vec<Answer>,
    mut holds: Duration,
) -> Result<(Vec<Discovered>, Duration), String> {
    // A lower number is better there, a higher one here.
    let priorities: BTreeSet<u16> = services.iter().map(|service| service.priority).collect();
    let heaviest = services
        .iter()
        .map(|service| u32::from(service.weight))
        .max();
    let scale = heaviest.unwrap_or_default().max(MAX_WEIGHT);
    let mut taken = BTreeSet::new();
    let mut nodes = Vec::new();
    for (service, answer) in services.into_iter().zip(answers) {
        let mut place = Vec::new();
        for (family, part) in answer {
            match part {
                Part::Addresses {
                    addresses,
                    holds: its,
                } => {
                    holds = holds.min(its);
                    let lowest = addresses
                        .into_iter()
                        .filter(|one| Family::of(*one) == family);
                    place.extend(lowest.min().filter(|address| taken.insert(*address)));
                }
                Part::Nothing => {}
                Part::Failed(why) => return Err(format!("{}: {why}", service.host)),
            }
        }
        let Some(first) = place.first() else {
            continue;
        };
        let below = priorities.range(..service.priority).count();
        let below = u32::try_from(below).unwrap_or(u32::MAX);
        let host = service.host.as_str().trim_end_matches('.');
        let lasting = is_name(host);
        let name = if lasting {
            host.to_owned()
        } else {
            first.to_string()
        };
        nodes.push(Discovered {
            lasting,
            weight: (u32::from(service.weight) * MAX_WEIGHT / scale).max(1),
            priority: DEFAULT_PRIORITY.saturating_sub(below),
            port: Some(service.port),
            ..Discovered::new(name, place)
        });
    }
    if nodes.is_empty() {
        return Err("none of its hosts has an address".to_owned());
    }
    Ok((nodes, holds))
}

#[cfg(test)]
mod tests;
