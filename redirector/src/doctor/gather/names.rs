//! What nodes' names stand for: what a running agent says, and what a look-up finds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::{StreamExt as _, stream};

use crate::config::{Addresses, Config, Known};
use crate::control::Status;
use crate::dns::{AT_A_TIME, Answer, Part, look_up};
use crate::doctor::facts::Name;

/// The names of a configuration, or of what an agent serves where there is none.
pub(super) async fn look(config: Option<&Config>, status: Option<&Status>) -> Vec<Name> {
    let told = status.map(told).unwrap_or_default();
    let used = |host: &str| told.get(host).map(|(used, _)| *used);
    let Some(config) = config else {
        let told = told.into_iter().map(|(host, (used, trouble))| Name {
            host,
            found: trouble.map_or(Ok(used), Err),
            used: Some(used),
        });
        return told.collect();
    };
    let hosts = config.hosts();
    let asked = hosts.iter().map(|(host, families)| async {
        let answer = look_up(&config.dns, host, families).await;
        let host = host.to_string();
        Name {
            found: found(&answer, used(&host)),
            used: used(&host),
            host,
        }
    });
    stream::iter(asked).buffered(AT_A_TIME).collect().await
}

/// Where nodes are taken to be: where the agent has them, else where the look-up found them.
pub(super) fn known(names: &[Name], config: &Config) -> Known {
    let hosts = config.hosts().into_keys();
    let known = hosts.filter_map(|host| {
        let name = names.iter().find(|name| name.host == host.as_str())?;
        let used = name.used.filter(|used| !used.is_empty());
        let addresses = used.or_else(|| name.found.as_ref().ok().copied())?;
        Some((host, addresses))
    });
    known.collect()
}

/// What an agent takes names to stand for, and what troubles it.
fn told(status: &Status) -> BTreeMap<String, (Addresses, Option<String>)> {
    let mut told: BTreeMap<String, (Addresses, Option<String>)> = BTreeMap::new();
    for (_, _, node) in status.nodes() {
        if let Some(lookup) = &node.name_lookup {
            let (addresses, trouble) = told.entry(lookup.host.clone()).or_default();
            if let Some(address) = node.address {
                *addresses = addresses.with(address.ip());
            }
            trouble.clone_from(&lookup.error);
        }
    }
    told
}

/// One address of each family, `used` where it is among them.
fn found(answer: &Answer, used: Option<Addresses>) -> Result<Addresses, String> {
    let mut found = Addresses::default();
    for (family, part) in answer {
        match part {
            Part::Addresses { addresses, .. } => {
                let used = used.and_then(|used| used.of(*family));
                let kept = used.filter(|used| addresses.contains(used));
                let lowest: Option<IpAddr> = addresses.iter().min().copied();
                found = kept.or(lowest).map_or(found, |address| found.with(address));
            }
            Part::Nothing => {}
            Part::Failed(why) => return Err(why.clone()),
        }
    }
    if found.is_empty() {
        return Err("it has no address of the families that are needed".to_owned());
    }
    Ok(found)
}
