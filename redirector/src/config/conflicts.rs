//! Values that are right alone and wrong together.

use std::collections::HashMap;
use std::ops::Range;

use redirector_common::abi::{MAX_BACKENDS, MAX_ENDPOINTS, MAX_REDIRECTS};

use super::model::Config;
use super::problem::{Complaint, Findings};

/// Where the values of a [`Config`] stand in the text, in the same order.
#[derive(Default)]
pub(super) struct Places {
    /// The address of each node of each pool.
    pub(super) nodes: Vec<Vec<Range<usize>>>,
    /// The redirects.
    pub(super) redirects: Vec<RedirectPlaces>,
}

/// Where the values of a redirect stand.
pub(super) struct RedirectPlaces {
    pub(super) listen: Vec<Range<usize>>,
    pub(super) forward: Range<usize>,
    pub(super) backup: Option<Range<usize>>,
    /// Its pools and port are known, so what it reaches can be compared.
    pub(super) complete: bool,
}

/// Reports everything that cannot go together.
pub(super) fn find(config: &Config, places: &Places, findings: &mut Findings) {
    listeners(config, places, findings);
    shared_nodes(config, places, findings);
    limits(config, places, findings);
}

fn listeners(config: &Config, places: &Places, findings: &mut Findings) {
    let nodes: HashMap<_, _> = config
        .pools
        .iter()
        .flat_map(|pool| {
            pool.nodes
                .iter()
                .map(move |node| (node.address, (node, pool)))
        })
        .collect();
    let mut taken = HashMap::new();
    for (redirect, places) in config.redirects.iter().zip(&places.redirects) {
        for (listen, at) in redirect.listen.iter().zip(&places.listen) {
            if let Some((node, pool)) = nodes.get(listen.ip()) {
                let complaint = Complaint::new(format!(
                    "{} is shared by redirect `{}` and the address of node `{}` of pool `{}`",
                    listen.ip(),
                    redirect.name,
                    node.name,
                    pool.name
                ));
                findings.add(
                    at.clone(),
                    complaint.help("the shared address must be the relay's own, not a node's"),
                );
            }
            if let Some(other) = taken.insert(*listen, &redirect.name) {
                let complaint = if *other == redirect.name {
                    Complaint::new(format!("redirect `{other}` listens on {listen} twice"))
                } else {
                    Complaint::new(format!("{listen} is taken by redirect `{other}` already"))
                };
                findings.add(at.clone(), complaint.help("use another address or port"));
            }
        }
        // A node's answer carries its own address and port only, which must lead to one listener.
        if let Some(second) = places.listen.get(1) {
            findings.add(
                second.clone(),
                Complaint::not_yet(
                    "listening on several addresses with one redirect",
                    "write a redirect for each address, each with its own port of the nodes",
                ),
            );
        }
    }
}

/// Reports nodes' ports that two redirects, or the two pools of one, reach: an answer from there
/// could belong to either.
fn shared_nodes(config: &Config, places: &Places, findings: &mut Findings) {
    let mut reached = HashMap::new();
    for (redirect, places) in config.redirects.iter().zip(&places.redirects) {
        if !places.complete {
            continue;
        }
        let backup = redirect.backup.zip(places.backup.clone());
        for (pool, at) in [(redirect.pool, places.forward.clone())]
            .into_iter()
            .chain(backup)
        {
            let pool = &config.pools[pool];
            let mut clash = None;
            for node in &pool.nodes {
                let key = (node.address, redirect.port);
                let other = *reached.entry(key).or_insert((&redirect.name, &pool.name));
                if other != (&redirect.name, &pool.name) {
                    clash.get_or_insert((node.address, other));
                }
            }
            let Some((address, (other, other_pool))) = clash else {
                continue;
            };
            let port = redirect.port;
            findings.add(
                at,
                if *other == redirect.name {
                    Complaint::new(format!(
                        "backup pool `{}` and main pool `{other_pool}` share node {address}",
                        pool.name
                    ))
                    .help("a backup must be other hosts: take the node out of one of the pools")
                } else {
                    Complaint::not_yet(
                        format!(
                            "reaching {address}:{port} by two redirects (`{other}` and `{}`)",
                            redirect.name
                        ),
                        "its answers could belong to either; let the nodes listen on another port too",
                    )
                },
            );
        }
    }
}

fn limits(config: &Config, places: &Places, findings: &mut Findings) {
    let nodes = |pool: usize| config.pools.get(pool).map_or(0, |pool| pool.nodes.len());
    let mut backends = 0;
    let mut endpoints = 0;
    for (index, (redirect, places)) in config.redirects.iter().zip(&places.redirects).enumerate() {
        let before = (backends, endpoints);
        backends += nodes(redirect.pool) + redirect.backup.map_or(0, nodes);
        endpoints = backends + index + 1;
        let mut limit = |before: usize, now: usize, most: u32, what: &str| {
            let most = most as usize;
            if before <= most && now > most {
                let complaint = Complaint::new(format!(
                    "with redirect `{}` the relay has more than {most} {what}",
                    redirect.name
                ));
                findings.add(
                    places.forward.clone(),
                    complaint.help("use another relay for it"),
                );
            }
        };
        limit(index, index + 1, MAX_REDIRECTS, "redirects");
        limit(before.0, backends, MAX_BACKENDS - 1, "nodes to reach");
        limit(before.1, endpoints, MAX_ENDPOINTS, "addresses and ports");
    }
}
