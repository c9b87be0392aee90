//! Values that are right alone and wrong together.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;

use serde_spanned::Spanned;

use super::limits;
use super::model::{Config, Delivery, Listen, Node, Pool, Redirect, UdpAssociate};
use super::problem::{Complaint, Findings};
use crate::family::Family;

/// Where the values of a [`Config`] stand in the text, in the same order.
#[derive(Default)]
pub(super) struct Places {
    /// The address of each node of each pool.
    pub(super) nodes: Vec<Vec<Range<usize>>>,
    /// The nodes of each pool that have a parent, by index, and what it is called.
    pub(super) parents: Vec<Vec<(usize, Spanned<String>)>>,
    /// The redirects.
    pub(super) redirects: Vec<RedirectPlaces>,
}

/// Where the values of a redirect stand.
pub(super) struct RedirectPlaces {
    pub(super) listen: Vec<Range<usize>>,
    pub(super) forward: Range<usize>,
    pub(super) backup: Option<Range<usize>>,
    pub(super) associate: Option<Range<usize>>,
    /// Its pools are known, so what it reaches can be compared.
    pub(super) complete: bool,
}

impl Places {
    /// Of a configuration whose text is not at hand.
    pub(super) fn nowhere(config: &Config) -> Self {
        let redirects = config.redirects.iter();
        let redirects = redirects.map(|redirect| RedirectPlaces {
            listen: vec![0..0; redirect.listen.len()],
            forward: 0..0,
            backup: redirect.backup.map(|_| 1..1),
            associate: Some(0..0),
            complete: true,
        });
        Self {
            redirects: redirects.collect(),
            ..Self::default()
        }
    }
}

/// Reports everything that cannot go together.
pub(super) fn find(config: &Config, places: &Places, findings: &mut Findings) {
    shared_addresses(config, places, findings);
    families(config, places, findings);
    if limits::find(config, places, findings) {
        taken_listeners(config, places, findings);
        shared_nodes(config, places, findings);
        associations(config, places, findings);
    }
}

/// Each redirect with its places.
fn redirects<'a>(
    config: &'a Config,
    places: &'a Places,
) -> impl Iterator<Item = (&'a Redirect, &'a RedirectPlaces)> {
    config.redirects.iter().zip(&places.redirects)
}

/// The main pool and the backup with their places.
fn pools<'a>(
    config: &'a Config,
    redirect: &Redirect,
    places: &RedirectPlaces,
) -> impl Iterator<Item = (&'a Pool, Range<usize>)> {
    let backup = redirect.backup.zip(places.backup.clone());
    [(redirect.pool, places.forward.clone())]
        .into_iter()
        .chain(backup)
        .filter_map(|(pool, at)| Some((config.pools.get(pool)?, at)))
}

/// Reports shared addresses that are a node's.
fn shared_addresses(config: &Config, places: &Places, findings: &mut Findings) {
    let nodes: HashMap<IpAddr, (&Node, &Pool)> = config
        .pools
        .iter()
        .flat_map(|pool| {
            let addresses = |node: &Node| node.addresses.iter();
            let nodes = pool.nodes.iter();
            nodes.flat_map(move |node| addresses(node).map(move |one| (one, (node, pool))))
        })
        .collect();
    for (redirect, places) in redirects(config, places) {
        for (listen, at) in redirect.listen.iter().zip(&places.listen) {
            if let Some((node, pool)) = nodes.get(&listen.address) {
                let complaint = Complaint::new(format!(
                    "{} is shared by redirect `{}` and the address of node `{}` of pool `{}`",
                    listen.address, redirect.name, node.name, pool.name
                ));
                findings.add(
                    at.clone(),
                    complaint.help("the shared address must be the relay's own, not a node's"),
                );
            }
        }
    }
}

/// Reports families that a redirect listens in and has no node of: addresses are not translated from one family
/// to the other.
fn families(config: &Config, places: &Places, findings: &mut Findings) {
    for (redirect, places) in redirects(config, places) {
        if !places.complete {
            continue;
        }
        for family in redirect.families() {
            let of = |address: IpAddr| Family::of(address) == family;
            for (pool, at) in pools(config, redirect, places) {
                let may_be = |node: &Node| node.may_be(family);
                if pool.source.is_some() || pool.nodes.is_empty() || pool.nodes.iter().any(may_be) {
                    continue;
                }
                let is_main = at == places.forward;
                let mut listen = redirect.listen.iter().zip(&places.listen);
                let listener = listen.find(|(listen, _)| of(listen.address));
                let at = match listener {
                    Some((_, listener)) if is_main => listener.clone(),
                    Some(_) | None => at,
                };
                let complaint = Complaint::new(format!(
                    "redirect `{}` listens in {family}, and pool `{}` has no {family} node",
                    redirect.name, pool.name
                ));
                let help = "clients of each family go to nodes of the same: add one, or do not listen in it";
                findings.add(at, complaint.help(help));
            }
        }
    }
}

/// Reports sockets that two listeners want.
fn taken_listeners(config: &Config, places: &Places, findings: &mut Findings) {
    let mut taken: HashMap<(IpAddr, u16, u8), &str> = HashMap::new();
    for (redirect, places) in redirects(config, places) {
        for (listen, at) in redirect.listen.iter().zip(&places.listen) {
            let clash = sockets(redirect, listen)
                .filter_map(|socket| taken.insert(socket, &redirect.name))
                .last();
            if let Some(other) = clash {
                let complaint = if *other == redirect.name {
                    Complaint::new(format!("redirect `{other}` listens on {listen} twice"))
                } else {
                    Complaint::new(format!(
                        "redirect `{}` listens on {listen}, which is taken by redirect `{other}` already",
                        redirect.name
                    ))
                };
                findings.add(at.clone(), complaint.help("use another address or port"));
            }
        }
    }
}

fn sockets(
    redirect: &Redirect,
    listen: &Listen,
) -> impl Iterator<Item = (IpAddr, u16, u8)> + use<> {
    let address = listen.address;
    let protocols = redirect.protocol.numbers();
    let ports = listen.ports();
    ports.flat_map(move |port| protocols.iter().map(move |number| (address, port, *number)))
}

/// Reports nodes that two redirects, or the two pools of one, reach in ways that do not go together.
fn shared_nodes(config: &Config, places: &Places, findings: &mut Findings) {
    let mut reached: HashMap<IpAddr, Vec<&Redirect>> = HashMap::new();
    for (redirect, places) in redirects(config, places) {
        if !places.complete {
            continue;
        }
        let mut earlier: Option<&Pool> = None;
        for (pool, at) in pools(config, redirect, places) {
            let mut clash = None;
            let twice = earlier.filter(|earlier| earlier.name != pool.name);
            let main: HashSet<IpAddr> = twice.iter().flat_map(|pool| addresses(pool)).collect();
            for address in addresses(pool) {
                let others = reached.entry(address).or_default();
                let found = twice
                    .filter(|_| main.contains(&address))
                    .map(|main| shared_by_pools(pool, main, address));
                let differing = || {
                    let mut others = others.iter();
                    others.find_map(|other| differ(redirect, other, address))
                };
                clash = clash.or_else(|| found.or_else(differing));
                // Of many redirects that say the same one stands for all.
                if !others.iter().any(|other| alike(redirect, other)) {
                    others.push(redirect);
                }
            }
            if let Some(complaint) = clash {
                findings.add(at, complaint);
            }
            earlier = Some(pool);
        }
    }
}

fn addresses(pool: &Pool) -> impl Iterator<Item = IpAddr> + '_ {
    pool.nodes.iter().flat_map(|node| node.addresses.iter())
}

fn shared_by_pools(backup: &Pool, main: &Pool, address: IpAddr) -> Complaint {
    let complaint = Complaint::new(format!(
        "backup pool `{}` and main pool `{}` share node {address}",
        backup.name, main.name
    ));
    complaint.help("a backup must be other hosts: take the node out of one of the pools")
}

/// Whether [`differ`] says the same of both, beside any third one. That is not asked of those that keep ports.
fn alike(one: &Redirect, other: &Redirect) -> bool {
    let terms = |redirect: &Redirect| {
        let Redirect {
            delivery,
            port,
            protocol,
            direct_tcp,
            on_down,
            ..
        } = *redirect;
        (delivery, port, protocol, direct_tcp, on_down)
    };
    one.name == other.name || one.port.is_some() && terms(one) == terms(other)
}

/// Why two redirects cannot both reach a node. An answer of the node tells its socket only, so what is done with
/// that socket must be the same for both.
fn differ(one: &Redirect, other: &Redirect, address: IpAddr) -> Option<Complaint> {
    if one.delivery == Delivery::Route || other.delivery == Delivery::Route {
        return None;
    }
    let names = || format!("redirects `{}` and `{}`", other.name, one.name);
    if one.name == other.name {
        return None;
    }
    if one.port != other.port {
        let keeps = |redirect: &Redirect, port: u16| {
            let mut listen = redirect.listen.iter();
            redirect.port.is_none()
                && listen.any(|l| l.is_every_port() || (l.first..=l.last).contains(&port))
        };
        let (from, to) = (one.protocol.numbers(), other.protocol.numbers());
        let same_protocol = from.iter().any(|number| to.contains(number));
        let port = one.port.filter(|port| keeps(other, *port));
        let port = port.or(other.port.filter(|port| keeps(one, *port)))?;
        return same_protocol.then(|| {
            let complaint = Complaint::new(format!(
                "{} both reach {address} at port {port}, and one of them keeps ports",
                names()
            ));
            complaint
                .help("an answer could belong to either; let the node have another address too")
        });
    }
    let what = if one.direct_tcp != other.direct_tcp {
        "direct-tcp"
    } else if one.on_down != other.on_down {
        "on-down"
    } else {
        return None;
    };
    let complaint = Complaint::new(format!(
        "{} reach {address} at the same port, with different `{what}`",
        names()
    ));
    Some(complaint.help("give both the same, or let the nodes listen on another port too"))
}

/// Reports shared addresses whose datagrams two redirects want: all of them follow the clients of a `route-to`
/// with shared associations.
fn associations(config: &Config, places: &Places, findings: &mut Findings) {
    let mut shared: HashMap<IpAddr, &Redirect> = HashMap::new();
    for (redirect, places) in redirects(config, places) {
        let Some(at) = &places.associate else {
            continue;
        };
        if redirect.udp_associate != UdpAssociate::Shared {
            continue;
        }
        let addresses: HashSet<IpAddr> = redirect.listen.iter().map(|l| l.address).collect();
        let clash = redirect.listen.iter().find_map(|listen| {
            let other = shared.get(&listen.address)?;
            let routes = [*other, redirect].map(|redirect| redirect.delivery);
            routes
                .contains(&Delivery::Route)
                .then_some((listen.address, *other))
        });
        if let Some((address, other)) = clash {
            let complaint = Complaint::new(format!(
                "the associations of {address} are redirect `{}`'s already",
                other.name
            ));
            findings.add(
                at.clone(),
                complaint.help("with route-to, use an address for each redirect"),
            );
        }
        for address in addresses {
            shared.entry(address).or_insert(redirect);
        }
    }
}
