//! The kernel's own NAT as a redirector, to test the lab without the one it is for.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::command::{available, run_with_input};
use super::netns::Netns;
use super::plan::{SOCKS_PORT, VIP, node_inside};

/// Spreads SOCKS clients over the first `nodes` nodes by their source address.
///
/// # Errors
/// When nftables is not installed or the kernel refuses the rules.
pub fn redirect(relay: &Netns, nodes: usize) -> Result<()> {
    redirect_ports(relay, &[SOCKS_PORT], nodes)
}

/// The same of those who connect to any of these ports.
///
/// # Errors
/// As above.
pub fn redirect_ports(relay: &Netns, ports: &[u16], nodes: usize) -> Result<()> {
    ensure!(
        available("nft"),
        "the stand-in redirector needs nft; install Debian's nftables"
    );
    let mut map = String::new();
    for node in 0..nodes {
        // Writing to a string can't fail.
        let _ = write!(map, "{node} : {}, ", node_inside(node));
    }
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let ports = ports.join(", ");
    let rules = format!(
        "table ip lab {{\n chain prerouting {{\n  type nat hook prerouting priority dstnat\n  \
         ip daddr {VIP} tcp dport {{ {ports} }} dnat to jhash ip saddr mod {nodes} seed 0x1 map {{ {map} }}\n }}\n}}\n"
    );
    run_with_input(&format!("ip netns exec {} nft -f -", relay.name()), &rules).map(drop)
}
