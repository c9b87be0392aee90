//! The network namespace that the program runs in.

use std::{fs, process::Command};

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::fixture::{
    self, CLIENT_IFINDEX, KERNEL_CLIENT, KERNEL_GATEWAY, KERNEL_HOP, KERNEL_LOCAL, KERNEL_STRANGER,
    LOST_GATEWAY, NODE_IFINDEX,
};

/// Puts the calling thread into a new network namespace with the fixture's interfaces, routes and
/// neighbours. The namespace ends with the thread.
pub(super) fn make_network() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .context("cannot make a network namespace; kernel tests need root (or CAP_SYS_ADMIN)")?;
    let ip = |address: [u8; 4]| std::net::Ipv4Addr::from(address);
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let [a, b, c] = fixture::LOST_NETWORK;
    let commands = [
        "link set lo up".to_owned(),
        format!(
            "link add clients index {CLIENT_IFINDEX} address {} type veth peer name nodes index \
             {NODE_IFINDEX}",
            mac(KERNEL_HOP.source)
        ),
        "link set clients up".to_owned(),
        "link set nodes up".to_owned(),
        "address add 192.0.2.1/24 dev clients".to_owned(),
        format!("address add {}/32 dev clients", ip(KERNEL_LOCAL)),
        format!("route add {} dev clients", ip(KERNEL_STRANGER)),
        format!("route add {a}.{b}.{c}.0/24 via {}", ip(LOST_GATEWAY)),
        format!("route add {} via {}", ip(KERNEL_CLIENT), ip(KERNEL_GATEWAY)),
        format!(
            "neighbour add {} lladdr {} nud permanent dev clients",
            ip(KERNEL_GATEWAY),
            mac(KERNEL_HOP.destination)
        ),
    ];
    for arguments in commands {
        let output = Command::new("ip")
            .args(arguments.split_whitespace())
            .output()
            .context("cannot run `ip`; install iproute2")?;
        ensure!(
            output.status.success(),
            "`ip {arguments}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // Where forwarding is off the kernel gives the data path no routes.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        .context("cannot switch forwarding on in the test's network namespace")
}
