//! The kernel's own routing as a redirector that changes nothing but MAC addresses, to test the lab's direct return
//! without the one it is for.

use anyhow::Result;

use super::Lab;
use super::plan::{Family, VIP, node_inside};

/// The routing table for what goes to the shared address.
const TABLE: u32 = 100;

/// Sends TCP and UDP from clients to the shared address, in both families, to this node. ICMP and neighbour
/// requests stay the relay's.
///
/// # Errors
/// When `ip` fails.
pub fn redirect(lab: &Lab, node: usize) -> Result<()> {
    let relay = lab.relay();
    let topology = lab.topology();
    let (client_side, node_side) = (topology.interfaces()[0], topology.node_side());
    for family in Family::ALL {
        let option = match family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        let (vip, node) = (family.address(VIP), family.address(node_inside(node)));
        relay.ip(&format!(
            "{option} route add default via {node} dev {node_side} table {TABLE}"
        ))?;
        for protocol in ["tcp", "udp"] {
            relay.ip(&format!(
                "{option} rule add pref 5 iif {client_side} to {vip} ipproto {protocol} lookup {TABLE}"
            ))?;
        }
        // The kernel looks for its own addresses first of all.
        relay.ip(&format!("{option} rule add pref 10 lookup local"))?;
        relay.ip(&format!("{option} rule del pref 0"))?;
    }
    Ok(())
}
