//! A shared address: is it here, and does anybody answer for it.

use std::net::IpAddr;

use super::super::facts::{Facts, Shared};
use super::super::finding::Finding;
use crate::family::Family;

pub(super) fn judge(facts: &Facts, shared: &Shared, findings: &mut Vec<Finding>) {
    let of = shared.address.to_string();
    let Some(owner) = &shared.owner else {
        findings.push(absent(shared, of));
        return;
    };
    findings.push(Finding::ok(
        "shared-address",
        &of,
        format!("it is an address of {owner}"),
    ));
    if shared.address.is_ipv6() {
        return;
    }
    // Which interface clients ask on is only known for certain where the address's network is.
    let asked_on = shared
        .network
        .as_ref()
        .map(|(interface, _)| interface)
        .or(shared.client_side.as_ref());
    let ignores = |interface: &&String| {
        let states = facts.interfaces.iter().filter(|of| of.name == **interface);
        states
            .filter_map(|of| of.state.as_ref())
            .any(|state| match state.arp_ignore {
                0 => false,
                1 | 2 => *interface != owner,
                _ => true,
            })
    };
    if let Some(interface) = asked_on.filter(ignores) {
        findings.push(
            Finding::problem(
                "arp",
                of,
                format!("nobody answers ARP for it on {interface} (arp_ignore), so clients of that network do not find it"),
            )
            .here(format!("sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{interface}.arp_ignore=0")),
        );
    } else {
        findings.push(Finding::ok("arp", of, "this host answers ARP for it"));
    }
}

fn absent(shared: &Shared, of: String) -> Finding {
    let bits = Family::of(shared.address).width();
    if let Some(mac) = &shared.held_by {
        return Finding::warning(
            "shared-address",
            of,
            format!(
                "another host has it now ({mac}); if that is the other relay of a pair, all is well"
            ),
        );
    }
    let (interface, bits) = match (&shared.network, &shared.client_side) {
        (Some((interface, network)), _) => (interface, *network),
        (None, Some(interface)) => (interface, bits),
        (None, None) => {
            return Finding::warning(
                "shared-address",
                of,
                "it is no address of this host; whether clients' packets are routed here cannot be told from here",
            );
        }
    };
    let asked_by = match shared.address {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    };
    Finding::problem(
        "shared-address",
        of,
        format!("it is no address of this host, so nobody answers {asked_by} for it, unless clients are routed here"),
    )
    .here(format!("ip address add {}/{bits} dev {interface}", shared.address))
}
