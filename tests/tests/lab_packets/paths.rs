//! Links of different widths: whoever sends too much learns of it, through the relay and from it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::plan::{ECHO, Family, node_inside, on_link_client};
use redirector_tests::lab::socks::Habit;
use redirector_tests::lab::{Lab, LabOptions, Links, Netns, Topology};

use super::{Way, bring_up, bulk, near_and_far, payload, shared, small, start_agent};

const NARROW: u16 = 1300;

fn narrow_nodes() -> Links {
    Links {
        node_path_mtu: Some(NARROW),
        ..Links::default()
    }
}

fn narrow_far() -> Links {
    Links {
        far_path_mtu: Some(NARROW),
        ..Links::default()
    }
}

fn with(links: Links) -> LabOptions {
    LabOptions { links, ..small() }
}

/// From now on the host tells nobody that a packet is too large, and nobody remembers that it did.
fn silence(lab: &Lab, host: &Netns) -> Result<()> {
    for line in [
        "add table inet lab",
        "add chain inet lab output { type filter hook output priority 0 ; }",
        "add rule inet lab output icmp type destination-unreachable drop",
        "add rule inet lab output icmpv6 type packet-too-big drop",
    ] {
        host.exec(&format!("nft {line}"))?;
    }
    let senders = [
        lab.client_host(),
        lab.far_host(),
        lab.node_host(0)?,
        lab.node_host(1)?,
    ];
    for sender in senders {
        for option in ["-4", "-6"] {
            sender.ip(&format!("{option} route flush cache"))?;
        }
    }
    Ok(())
}

#[test]
fn a_narrow_link_before_the_nodes_is_told_to_the_clients_and_is_a_black_hole_otherwise()
-> Result<()> {
    for way in Way::TRANSLATED {
        let (lab, agent) = bring_up(way, with(narrow_nodes()))?;
        for client in near_and_far(&lab) {
            bulk(&lab, client).with_context(|| format!("{way:?}"))?;
        }
        ensure!(agent.counter("reply-icmp")? >= 4);
        datagrams_pass_in_pieces(&lab).with_context(|| format!("{way:?}"))?;
        if way.topology == Topology::TwoArmed {
            silence(&lab, lab.gate()?)?;
            require_black_hole(&lab)?;
        }
    }
    Ok(())
}

#[test]
fn a_narrow_link_before_the_clients_is_told_to_the_nodes_and_is_a_black_hole_otherwise()
-> Result<()> {
    for way in Way::TRANSLATED {
        let (lab, agent) = bring_up(way, with(narrow_far()))?;
        for client in near_and_far(&lab) {
            bulk(&lab, client).with_context(|| format!("{way:?}"))?;
        }
        ensure!(agent.counter("forward-icmp")? >= 2);
        datagrams_pass_in_pieces(&lab).with_context(|| format!("{way:?}"))?;
        if way.topology == Topology::TwoArmed {
            silence(&lab, lab.router())?;
            require_black_hole(&lab)?;
        }
    }
    Ok(())
}

fn require_black_hole(lab: &Lab) -> Result<()> {
    for family in Family::ALL {
        let far = lab.clients_in(family)[1];
        ensure!(bulk(lab, far).is_err(), "{far} was served all the same");
    }
    Ok(())
}

/// The route's, not the interface's: the hosts at both ends go on to send what they like.
#[test]
fn the_relays_own_narrow_routes_are_told_by_the_redirector() -> Result<()> {
    for way in Way::TRANSLATED {
        let lab = Lab::new(way.topology, small())?;
        let interfaces = way.topology.interfaces();
        for family in Family::ALL {
            for node in 0..lab.node_count() {
                narrow_route(
                    &lab,
                    family.address(node_inside(node)),
                    way.topology.node_side(),
                )?;
            }
            narrow_route(&lab, family.address(on_link_client(0)), interfaces[0])?;
        }
        let agent = start_agent(&lab, way, |_| ())?;
        for client in near_and_far(&lab) {
            let before = agent.counter("answer-too-big")?;
            bulk(&lab, client).with_context(|| format!("{way:?}"))?;
            ensure!(
                agent.counter("answer-too-big")? > before,
                "{way:?}: nobody told {client}"
            );
        }
    }
    Ok(())
}

fn narrow_route(lab: &Lab, to: IpAddr, interface: &str) -> Result<()> {
    let bits = Family::of(to).bits();
    lab.relay()
        .ip(&format!(
            "route add {to}/{bits} dev {interface} mtu {NARROW}"
        ))
        .map(drop)
}

/// Datagrams larger than a narrow link, both ways.
fn datagrams_pass_in_pieces(lab: &Lab) -> Result<()> {
    for family in Family::ALL {
        let client = lab.clients_in(family)[1];
        let association = lab
            .socks(client, shared(client))
            .within(Duration::from_millis(500))
            .associate(Habit::ObeysReply)?;
        let data = payload(4_000);
        let mut echo = Ok(Vec::new());
        // What is lost teaches the sender.
        for _ in 0..4 {
            echo = association
                .exchange(family.endpoint(ECHO), &data)
                .map(|datagram| datagram.payload);
            if echo.is_ok() {
                break;
            }
        }
        ensure!(echo.with_context(|| format!("{family:?}"))? == data);
    }
    Ok(())
}
