//! A router between the relay and the nodes that nobody has a route to: it answers neighbour requests for the nodes
//! on one side and for the relay on the other, so relay and nodes keep the configuration that they have
//! without it. Its way to the nodes has a smaller MTU than the cables.

use anyhow::Result;

use super::netns::Netns;
use super::network::default_route;
use super::options::LabOptions;
use super::plan::{Family, GATE, RELAY_INSIDE, both, node_inside};
use super::wiring::{self, Cable};

/// The bridge of the nodes behind it.
pub(super) const BRIDGE: &str = "br-behind";

/// Towards the relay.
const FRONT: &str = "front";
/// Towards the nodes.
const BACK: &str = "back";

/// Connects `gate` to the relay's node side, which is `bridge`, and to a new bridge [`BRIDGE`].
///
/// # Errors
/// When a tool fails.
pub(super) fn connect(
    gate: &Netns,
    switch: &Netns,
    bridge: &str,
    options: &LabOptions,
    mtu: u16,
) -> Result<()> {
    wiring::bridge(switch, BRIDGE)?;
    Cable {
        addresses: vec![GATE],
        ..Cable::new(gate, FRONT, bridge, "gate-front")
    }
    .plug_into(switch, &options.links)?;
    Cable::new(gate, BACK, BRIDGE, "gate-back").plug_into(switch, &options.links)?;
    gate.forward()?;
    for interface in [FRONT, BACK] {
        gate.sysctl(&format!("ipv4/conf/{interface}/proxy_arp"), "1")?;
        gate.sysctl(&format!("ipv6/conf/{interface}/proxy_ndp"), "1")?;
        for family in ["ipv4", "ipv6"] {
            gate.sysctl(&format!("{family}/neigh/{interface}/proxy_delay"), "0")?;
        }
    }
    default_route(gate, RELAY_INSIDE)?;
    let relay = Family::V6.address(RELAY_INSIDE);
    gate.ip(&format!("neigh add proxy {relay} dev {BACK}"))?;
    for node in 0..options.nodes {
        for address in both(node_inside(node)) {
            let family = Family::of(address);
            let bits = family.bits();
            gate.ip(&format!("route add {address}/{bits} dev {BACK} mtu {mtu}"))?;
            // ARP is answered for whatever has a route to the other side.
            if family == Family::V6 {
                gate.ip(&format!("neigh add proxy {address} dev {FRONT}"))?;
            }
        }
    }
    Ok(())
}
