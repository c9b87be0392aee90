//! The hosts that every lab has, and the cables and routes between them. The nodes are in `nodes.rs`.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use super::gate;
use super::netns::Netns;
use super::options::{LabOptions, Links};
use super::plan::{
    FLOOD_SOURCES, Family, RELAY_INSIDE, ROUTER, ROUTER_FAR, TARGET, Topology, VIP, both,
    far_client, network_of, on_link_client,
};
use super::wiring::{self, Cable};
use super::xdp_pass::XdpPass;

/// The bridge of the nodes' outside interfaces.
pub(super) const OUTSIDE: &str = "br-outside";

/// The hosts. The fields are in the order in which they must go.
#[derive(Debug)]
pub(super) struct Network {
    accept_xdp: Vec<XdpPass>,
    pub(super) target_host: Netns,
    pub(super) relay: Netns,
    pub(super) client_host: Netns,
    pub(super) far_host: Netns,
    pub(super) router: Netns,
    pub(super) gate: Option<Netns>,
    pub(super) switch: Netns,
}

impl Network {
    /// Makes the hosts of the lab `identity`, connects them and brings everything up.
    ///
    /// # Errors
    /// When a privilege or a tool is missing.
    pub(super) fn build(identity: &str, topology: Topology, options: &LabOptions) -> Result<Self> {
        let host = |what: &str| Netns::new(format!("rdl-{identity}-{what}"));
        let switch = host("switch")?;
        // Its bridges have nothing to say.
        for of in ["all", "default"] {
            switch.sysctl(&format!("ipv6/conf/{of}/disable_ipv6"), "1")?;
        }
        let [relay, router] = [host("relay")?, host("router")?];
        let [client_host, far_host, target_host] = [host("client")?, host("far")?, host("target")?];

        let near: Vec<_> = (0..options.on_link_clients).map(on_link_client).collect();
        let far: Vec<_> = (0..options.far_clients).map(far_client).collect();
        let client_side = client_bridge(topology);
        for bridge in topology
            .interfaces()
            .iter()
            .map(|name| bridge_of(name))
            .chain([OUTSIDE, "br-far"])
        {
            wiring::bridge(&switch, bridge)?;
        }
        let mut accept_xdp = Vec::new();
        for (interface, addresses) in relay_addresses(topology) {
            accept_xdp.extend(plug_relay(
                &relay,
                &switch,
                interface,
                addresses,
                &options.links,
            )?);
        }
        let whole = true;
        for (host, interface, addresses, bridge, port, completes_checksums) in [
            (&client_host, "eth0", near, client_side, "client", !whole),
            (&router, "near", vec![ROUTER], client_side, "router", !whole),
            (
                &router,
                "far",
                vec![ROUTER_FAR],
                "br-far",
                "router-far",
                !whole,
            ),
            (&far_host, "eth0", far, "br-far", "far", !whole),
            (&target_host, "eth0", vec![TARGET], OUTSIDE, "target", whole),
        ] {
            Cable {
                addresses,
                completes_checksums,
                ..Cable::new(host, interface, bridge, port)
            }
            .plug_into(&switch, &options.links)?;
        }
        for host in [&relay, &router] {
            host.forward()?;
        }
        default_route(&relay, ROUTER)?;
        default_route(&router, VIP)?;
        router.ip(&format!("route add blackhole {FLOOD_SOURCES}"))?;
        if options.on_link_clients > 0 {
            default_route(&client_host, VIP)?;
        }
        if options.far_clients > 0 {
            default_route(&far_host, ROUTER_FAR)?;
        }
        if let Some(mtu) = options.links.far_path_mtu {
            narrow_far_path(&router, mtu)?;
        }
        let gate = match options.links.node_path_mtu {
            Some(mtu) => {
                let gate = host("gate")?;
                gate::connect(
                    &gate,
                    &switch,
                    bridge_of(topology.node_side()),
                    options,
                    mtu,
                )?;
                Some(gate)
            }
            None => None,
        };
        Ok(Self {
            accept_xdp,
            target_host,
            relay,
            client_host,
            far_host,
            router,
            gate,
            switch,
        })
    }
}

impl Network {
    /// Gives the relay an interface again that was taken away, with its addresses.
    ///
    /// # Errors
    /// When the topology has no such interface, or it is there.
    pub(super) fn plug_in_again(
        &mut self,
        topology: Topology,
        options: &LabOptions,
        interface: &str,
    ) -> Result<()> {
        let mut interfaces = relay_addresses(topology).into_iter();
        let (interface, addresses) = interfaces
            .find(|(name, _)| *name == interface)
            .with_context(|| format!("the relay has no interface {interface}"))?;
        let on_clients_side = addresses.contains(&VIP);
        self.accept_xdp.extend(plug_relay(
            &self.relay,
            &self.switch,
            interface,
            addresses,
            &options.links,
        )?);
        // It went with the interface.
        if on_clients_side {
            default_route(&self.relay, ROUTER)?;
        }
        Ok(())
    }
}

fn plug_relay(
    relay: &Netns,
    switch: &Netns,
    interface: &str,
    addresses: Vec<Ipv4Addr>,
    links: &Links,
) -> Result<Option<XdpPass>> {
    let port = format!("relay-{interface}");
    Cable {
        addresses,
        completes_checksums: true,
        ..Cable::new(relay, interface, bridge_of(interface), &port)
    }
    .plug_into(switch, links)?;
    // It takes segmentation away; GRO makes the port accept what XDP redirects as well.
    if links.segmentation {
        return Ok(None);
    }
    XdpPass::attach(switch, &port).map(Some)
}

/// The bridge that the interface of this name in the relay leads to.
pub(super) fn bridge_of(interface: &str) -> &'static str {
    match interface {
        "clients" => "br-clients",
        "nodes" => "br-nodes",
        _ => "br-lan",
    }
}

/// The bridge of the clients on the relay's own network.
pub(super) fn client_bridge(topology: Topology) -> &'static str {
    bridge_of(topology.interfaces()[0])
}

/// In both families.
pub(super) fn default_route(host: &Netns, via: Ipv4Addr) -> Result<()> {
    for via in both(via) {
        host.ip(&format!("route add default via {via}"))?;
    }
    Ok(())
}

/// A route's MTU, unlike an interface's, narrows one direction only: the interface goes on to take what the far
/// clients send, and nobody but the router knows.
fn narrow_far_path(router: &Netns, mtu: u16) -> Result<()> {
    for far in both(ROUTER_FAR) {
        // What `ip` has to name to replace the kernel's own route.
        let attributes = match Family::of(far) {
            Family::V4 => format!("proto kernel scope link src {far}"),
            Family::V6 => "proto kernel metric 256".to_owned(),
        };
        let network = network_of(far);
        router.ip(&format!(
            "route replace {network} dev far {attributes} mtu {mtu}"
        ))?;
    }
    Ok(())
}

fn relay_addresses(topology: Topology) -> Vec<(&'static str, Vec<Ipv4Addr>)> {
    match topology {
        Topology::TwoArmed => vec![("clients", vec![VIP]), ("nodes", vec![RELAY_INSIDE])],
        Topology::OneArmed => vec![("lan", vec![VIP, RELAY_INSIDE])],
    }
}
