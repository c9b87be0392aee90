//! Cables: veth pairs into the switch, with the offloads that XDP can't live with switched off.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use super::command::{run, run_with_input};
use super::netns::Netns;
use super::options::Links;
use super::plan::{Family, both, mac_of};

/// A host's interface and the port of the switch that it leads to.
pub(super) struct Cable<'a> {
    /// The host.
    pub(super) host: &'a Netns,
    /// The interface's name in the host.
    pub(super) interface: &'a str,
    /// The interface's addresses, of which [`both`] families' are given to it; the MAC address is made of the first.
    pub(super) addresses: Vec<Ipv4Addr>,
    /// The bridge in the switch.
    pub(super) bridge: &'a str,
    /// The port's name in the switch.
    pub(super) port: &'a str,
    /// Whether the host completes its checksums even where [`Links::partial_checksums`] says otherwise.
    pub(super) completes_checksums: bool,
}

impl<'a> Cable<'a> {
    /// One without addresses.
    pub(super) fn new(host: &'a Netns, interface: &'a str, bridge: &'a str, port: &'a str) -> Self {
        Self {
            host,
            interface,
            addresses: Vec::new(),
            bridge,
            port,
            completes_checksums: false,
        }
    }

    /// Makes both ends and brings them up.
    ///
    /// # Errors
    /// When `ip` or `ethtool` fails.
    pub(super) fn plug_into(&self, switch: &Netns, links: &Links) -> Result<()> {
        let Self {
            host,
            interface,
            addresses,
            bridge,
            port,
            completes_checksums,
        } = self;
        let mtu = links.mtu;
        let mac = mac_of(addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED));
        run(&format!(
            "ip link add name {interface} address {mac} mtu {mtu} netns {} type veth \
             peer name {port} mtu {mtu} netns {}",
            host.name(),
            switch.name()
        ))
        .with_context(|| format!("can't connect {}", host.name()))?;
        if links.segmentation {
            for (netns, interface) in [(*host, *interface), (switch, *port)] {
                netns.exec(&format!(
                    "ethtool -K {interface} tx on tso on gso on gro on"
                ))?;
            }
        } else {
            let partial = links.partial_checksums;
            quiet_offloads(host, interface, partial && !completes_checksums)?;
            quiet_offloads(switch, port, partial)?;
        }
        switch.ip(&format!("link set {port} master {bridge} up"))?;
        // One process for all addresses; a client host has many.
        let mut batch = String::new();
        for address in addresses.iter().copied().flat_map(both) {
            let family = Family::of(address);
            // Writing to a string can't fail.
            let _ = writeln!(
                batch,
                "address add {address}/{} dev {interface} {}",
                family.prefix(),
                family.usable_at_once()
            );
        }
        run_with_input(&format!("ip -n {} -batch -", host.name()), &batch)?;
        host.ip(&format!("link set {interface} up")).map(drop)
    }
}

/// Makes the bridge `name` in the switch. It does not listen to who joins which group: neighbour solicitations
/// go everywhere from the first moment on.
///
/// # Errors
/// When `ip` fails.
pub(super) fn bridge(switch: &Netns, name: &str) -> Result<()> {
    switch.ip(&format!(
        "link add name {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    ))?;
    switch.ip(&format!("link set {name} up"))?;
    Ok(())
}

/// Frames larger than the MTU must not reach the relay, and merged ones (GRO) would spoil what is captured.
/// Half-made checksums (`CHECKSUM_PARTIAL`) reach it only in the labs that are about them.
fn quiet_offloads(netns: &Netns, interface: &str, partial_checksums: bool) -> Result<()> {
    let checksums = if partial_checksums { "on" } else { "off" };
    netns
        .exec(&format!(
            "ethtool -K {interface} tx {checksums} tso off gso off gro off"
        ))
        .map(drop)
}
