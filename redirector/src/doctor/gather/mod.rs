//! Looks at the host. What cannot be seen is left unknown; nothing here fails.

mod answers;
mod checks;
mod ethtool;
mod generic_netlink;
mod host;
mod names;
mod nodes;
mod peers;
mod sources;
mod subject;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use self::subject::Subject;
use super::facts::{Agent, Facts, Interface, InterfaceState, Shared};
use crate::config::Config;
use crate::family::Family;
use crate::net::monitor::Monitor;
use crate::net::resolve::{Unresolved, resolve};
use crate::net::solicit::Solicitor;
use crate::net::view::NetView;
use crate::privileges;

/// How long neighbours have to answer.
const NEIGHBOURS: Duration = Duration::from_millis(1500);

/// Looks at everything that concerns `config`, or the running agent where there is none.
///
/// # Errors
/// When the kernel's network state cannot be read.
pub async fn gather(
    config: Option<&Config>,
    socket: &Path,
    pin_directory: &Path,
) -> anyhow::Result<Facts> {
    let (agent, status) = host::agent(socket).await;
    let names = names::look(config, status.as_deref()).await;
    let config = config.map(|config| config.with_addresses(&names::known(&names, config)));
    let (sources, named) = sources::look(config.as_ref(), status.as_deref()).await;
    let config = config.map(|config| config.with_discovered(&named));
    let peers = peers::look(config.as_ref(), status.as_deref()).await;
    let subject = match (&config, &status) {
        (Some(config), status) => Subject::of_config(config, status.as_deref()),
        (None, Some(status)) => Subject::of_status(status),
        (None, None) => Subject::default(),
    };
    let monitor = Monitor::start().await?;
    let mut views = monitor.views();
    let view = Arc::clone(&views.borrow_and_update());
    let allowed: BTreeSet<u32> = subject
        .interfaces
        .iter()
        .filter_map(|name| Some(view.link_by_name(name)?.0))
        .collect();
    let solicitor = Solicitor::open(views.clone()).context("cannot ask for neighbours")?;
    let view = neighbours(&solicitor, &views, &subject, &allowed).await;
    let nodes = nodes::look(&subject, &view, &allowed).await;
    let leads_to_node = |name: &str| {
        let mut ways = nodes.iter().filter_map(|node| node.way.as_ref().ok());
        ways.any(|way| way.interface == name)
    };
    // The clients' side, where that is the only one that leads to no node.
    let mut without_nodes = subject
        .interfaces
        .iter()
        .filter(|name| view.link_by_name(name).is_some() && !leads_to_node(name));
    let client_side = match (
        subject.interfaces.as_slice(),
        without_nodes.next(),
        without_nodes.next(),
    ) {
        ([only], ..) => Some(only.clone()),
        (_, Some(one), None) => Some(one.clone()),
        _ => None,
    };
    let families: BTreeSet<Family> = subject
        .shared
        .iter()
        .map(|address| Family::of(*address))
        .collect();
    Ok(Facts {
        kernel: host::kernel(),
        pins: host::pins(pin_directory),
        lacks: privileges::lacking().unwrap_or_default(),
        agent,
        xdp_mode: subject.xdp_mode,
        interfaces: interfaces(&subject, &view),
        forwarding: families
            .iter()
            .map(|family| (*family, host::forwards(*family)))
            .collect(),
        shared: subject
            .shared
            .iter()
            .map(|address| shared(*address, &subject, &view, client_side.as_ref()))
            .collect(),
        names,
        sources,
        peers,
        nodes,
    })
}

/// Asks for the neighbours that lead to nodes and are not known; the view once they are, or have had their time.
async fn neighbours(
    solicitor: &Solicitor,
    views: &tokio::sync::watch::Receiver<Arc<NetView>>,
    subject: &Subject,
    allowed: &BTreeSet<u32>,
) -> Arc<NetView> {
    let limit = Instant::now() + NEIGHBOURS;
    let mut asked = BTreeSet::new();
    loop {
        let view = Arc::clone(&views.borrow());
        let missing: BTreeSet<(u32, IpAddr)> = subject
            .nodes
            .iter()
            .filter_map(|node| match resolve(&view, node.address, allowed) {
                Err(Unresolved::NeighbourUnknown {
                    ifindex, address, ..
                }) => Some((ifindex, address)),
                Ok(_) | Err(_) => None,
            })
            .collect();
        if missing.is_empty() || Instant::now() >= limit {
            return view;
        }
        for (ifindex, address) in missing {
            // Without the privilege the entry stays unknown, which is what is reported.
            if asked.insert((ifindex, address))
                && solicitor.solicit(ifindex, address).await.is_err()
            {
                log::debug!("{address} cannot be asked for");
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn interfaces(subject: &Subject, view: &NetView) -> Vec<Interface> {
    let mut devices = ethtool::Devices::open();
    let look = |name: &String| {
        let state = view
            .link_by_name(name)
            .map(|(ifindex, link)| InterfaceState {
                up: link.up,
                carrier: link.carrier,
                ethernet: link.mac.is_some(),
                mtu: link.mtu,
                kind: link.kind.clone(),
                offloads: devices.offloads(ifindex),
                queues: devices.queues(ifindex),
                xdp: devices.xdp(ifindex),
                rp_filter: host::ipv4_setting(name, "rp_filter"),
                arp_ignore: host::ipv4_setting(name, "arp_ignore"),
            });
        Interface {
            name: name.clone(),
            state,
        }
    };
    subject.interfaces.iter().map(look).collect()
}

fn shared(
    address: IpAddr,
    subject: &Subject,
    view: &NetView,
    client_side: Option<&String>,
) -> Shared {
    let owner = view.addresses.iter().find_map(|(ifindex, own)| {
        let is_it = own.iter().any(|own| own.local == address);
        is_it.then(|| view.link_name(*ifindex))
    });
    let network = subject.interfaces.iter().find_map(|name| {
        let (ifindex, _) = view.link_by_name(name)?;
        let mut own = view.addresses.get(&ifindex)?.iter();
        let network = own.find(|own| {
            own.local != address
                && own.subnet.contains(&address)
                && own.subnet.prefix_len() < Family::of(address).width()
        })?;
        Some((name.clone(), network.subnet.prefix_len()))
    });
    let held_by = view.neighbours.iter().find_map(|((_, of), neighbour)| {
        (*of == address)
            .then(|| neighbour.usable_mac().map(mac_text))
            .flatten()
    });
    Shared {
        address,
        owner,
        network,
        client_side: client_side.cloned(),
        held_by,
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The modes of a running agent by interface.
fn modes(status: &crate::control::Status) -> BTreeMap<String, String> {
    let interfaces = status.interfaces.iter();
    interfaces
        .map(|of| (of.interface.clone(), of.mode.clone()))
        .collect()
}

/// An agent, and everything that it tells.
type Told = (Agent, Option<Box<crate::control::Status>>);
