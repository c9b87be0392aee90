//! From the `EndpointSlices` of a cluster to nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use crate::config::{Discovered, EndpointPort, HostName, Kubernetes, Readiness, is_name};
use crate::family::Family;

/// An endpoint as a node without addresses, and its address.
pub(super) type Placed = (Discovered, IpAddr);

/// The nodes that endpoints are, in the order of their names.
///
/// An endpoint may be in several slices for a moment, as `EndpointSlices` are rewritten; then the better word counts. The address
/// of a pod that ends may be another's already, as with host networking: it is the one's that takes clients.
pub(super) fn discovered<'p>(placed: impl IntoIterator<Item = &'p Placed>) -> Vec<Discovered> {
    let mut all: Vec<&Placed> = placed.into_iter().collect();
    all.sort_by(|(node, address), (other, other_address)| {
        (node.readiness, &node.name, address).cmp(&(other.readiness, &other.name, other_address))
    });
    let mut taken = BTreeSet::new();
    let mut nodes: BTreeMap<String, Discovered> = BTreeMap::new();
    for (node, address) in all {
        let known = nodes.get(&node.name);
        let family = Family::of(*address);
        let is_placed = known.is_some_and(|known| {
            let mut addresses = known.addresses.iter();
            addresses.any(|one| Family::of(*one) == family)
        });
        if is_placed || !taken.insert(*address) {
            continue;
        }
        let readiness = node.readiness;
        let node = nodes
            .entry(node.name.clone())
            .or_insert_with(|| node.clone());
        node.addresses.push(*address);
        node.addresses.sort();
        // In one family it may be ready before it is in the other.
        node.readiness = node.readiness.max(readiness);
    }
    nodes.into_values().collect()
}

/// The endpoints of a slice that count. What is no address is left out.
pub(super) fn placed(kubernetes: &Kubernetes, slice: &EndpointSlice) -> Vec<Placed> {
    let family = match slice.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    };
    let family = family.filter(|family| kubernetes.family.is_none_or(|only| only == *family));
    let port = port(kubernetes, slice);
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        let address = endpoint.addresses.first()?.parse::<IpAddr>().ok()?;
        if family != Some(Family::of(address)) {
            return None;
        }
        Some((node(endpoint, address, port?), address))
    });
    endpoints.flatten().collect()
}

/// The port of a slice's endpoints; an inner none where any will do, an outer one where they don't have the one that is wanted.
#[expect(clippy::option_option, reason = "the two nones differ")]
fn port(kubernetes: &Kubernetes, slice: &EndpointSlice) -> Option<Option<u16>> {
    let Some(wanted) = &kubernetes.port else {
        return Some(None);
    };
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|port| match wanted {
        EndpointPort::Number(number) => port.port == Some(i32::from(*number)),
        EndpointPort::Name(name) => port.name.as_deref() == Some(name),
    })?;
    u16::try_from(port.port?).ok().map(Some)
}

/// A node is called like its pod, where it is one.
fn node(endpoint: &Endpoint, address: IpAddr, port: Option<u16>) -> Discovered {
    let target = endpoint.target_ref.as_ref();
    let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
    let pod = pod.and_then(|pod| pod.name.as_deref());
    let hostname = endpoint.hostname.as_deref();
    let usable = |name: &&str| is_name(name) && name.parse::<IpAddr>().is_err();
    let name = pod.or(hostname).filter(usable);
    // Only pods that come back by the same name, as those of a StatefulSet do, have a host name in a service.
    let lasting = name.is_some_and(|name| hostname == Some(name) && HostName::new(name).is_some());
    let name = name.map_or_else(|| address.to_string(), str::to_owned);
    Discovered {
        lasting,
        port,
        readiness: readiness(endpoint.conditions.as_ref()),
        ..Discovered::new(name, Vec::new())
    }
}

/// What a condition is that nobody has set, the API says: ready, and not terminating.
fn readiness(conditions: Option<&EndpointConditions>) -> Readiness {
    let Some(conditions) = conditions else {
        return Readiness::Ready;
    };
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (conditions.terminating.unwrap_or(false), ready, serving) {
        (true, _, true) => Readiness::Terminating,
        (false, true, _) => Readiness::Ready,
        (true, _, false) | (false, false, _) => Readiness::NotReady,
    }
}

#[cfg(test)]
pub(super) mod tests;
