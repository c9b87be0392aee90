//! Nodes that hold the shared address and answer the clients past the relay, with the kernel's routing for the redirector.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use etherparse::{NetSlice, SlicedPacket};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::plan::{
    ECHO, Family, RELAY_INSIDE, SHARED, VIP, mac_of, node_beside_clients, node_outside, node_socks,
};
use redirector_tests::lab::socks::{Habit, connect_from};
use redirector_tests::lab::{Lab, LabOptions, Topology, kernel_route_to, wait_until};

use super::{payload, small};

fn lab(topology: Topology) -> Result<Lab> {
    Lab::new(
        topology,
        LabOptions {
            direct_return: true,
            ..small()
        },
    )
}

/// How many of the frames come from the shared address and, by their MAC address, from the relay or not.
fn answers(frames: &[Vec<u8>]) -> (usize, usize) {
    let relay = mac_of(VIP);
    let (mut through, mut past) = (0, 0);
    for frame in frames {
        let source =
            SlicedPacket::from_ethernet(frame)
                .ok()
                .and_then(|packet| match packet.net? {
                    NetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
                    NetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
                    NetSlice::Arp(_) => None,
                });
        if Family::ALL
            .map(|family| Some(family.address(VIP)))
            .contains(&source)
        {
            let mac = frame[6..12].iter().map(|byte| format!("{byte:02x}"));
            if mac.collect::<Vec<_>>().join(":") == relay {
                through += 1;
            } else {
                past += 1;
            }
        }
    }
    (through, past)
}

#[test]
fn every_client_is_answered_by_the_node_from_the_shared_address_and_past_the_relay() -> Result<()> {
    for topology in Topology::ALL {
        let lab = lab(topology)?;
        kernel_route_to::redirect(&lab, 1)?;
        let captures = [
            Capture::start(lab.client_host(), "eth0")?,
            Capture::start(lab.router(), "near")?,
        ];
        for family in Family::ALL {
            for client in lab.clients_in(family) {
                let session = lab.connect(client, family.endpoint(SHARED))?;
                assert_eq!(session.node, 1);
                lab.dante_line_about(&session)?;
            }
        }
        for capture in captures {
            let (through, past) = answers(&capture.stop()?);
            assert!(past > 20, "{past} frames past the relay, {topology:?}");
            // The relay speaks with its neighbours by neighbour discovery.
            assert!(
                through < 10,
                "{through} frames through the relay, {topology:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn dante_answers_an_associate_with_the_shared_address_and_datagrams_of_both_kinds_of_clients_pass()
-> Result<()> {
    for topology in Topology::ALL {
        let lab = lab(topology)?;
        kernel_route_to::redirect(&lab, 0)?;
        for family in Family::ALL {
            for client in [lab.clients_in(family)[0], lab.clients_in(family)[1]] {
                for habit in Habit::ALL {
                    let shared: SocketAddr = family.endpoint(SHARED);
                    let association = lab.socks(client, shared).associate(habit)?;
                    assert_eq!(association.reply.bound.ip(), shared.ip());
                    for size in [10, 4_000] {
                        let data = payload(size);
                        let echo = association.exchange(family.endpoint(ECHO), &data)?;
                        assert_eq!(echo.sender, association.relay);
                        assert_eq!(echo.payload, data);
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_nodes_own_addresses_go_on_to_work() -> Result<()> {
    for topology in Topology::ALL {
        let lab = lab(topology)?;
        for family in Family::ALL {
            let relay = family.address(RELAY_INSIDE);
            let probe = lab
                .relay()
                .run(|| connect_from(relay, node_socks(0, family), Duration::from_secs(1)))?;
            assert!(probe.is_ok(), "{family:?}");
            let session = lab.connect(lab.clients_in(family)[0], node_socks(0, family))?;
            assert_eq!(session.node_seen_by_target, family.address(node_outside(0)));
        }
    }
    Ok(())
}

#[test]
fn a_node_that_comes_back_holds_the_shared_address_again() -> Result<()> {
    let mut lab = lab(Topology::TwoArmed)?;
    kernel_route_to::redirect(&lab, 1)?;
    lab.kill_node(1)?;
    let client = lab.clients()[0];
    assert!(
        lab.connect_within(client, SHARED, Duration::from_millis(300))
            .is_err()
    );
    lab.revive_node(1)?;
    wait_until("the node to serve", Duration::from_secs(5), || {
        lab.connect_within(client, SHARED, Duration::from_millis(300))
    })?;
    Ok(())
}

/// Whether the client's host finds somebody who has the shared address.
fn finds(lab: &Lab, family: Family) -> Result<bool> {
    let host = lab.client_host();
    host.ip("neigh flush all")?;
    let (client, shared) = (lab.clients_in(family)[0], family.endpoint(SHARED));
    // Whoever has it may refuse: being asked is enough.
    let _ = host.run(|| connect_from(client, shared, Duration::from_millis(300)))?;
    let entry = host.ip(&format!("neigh show {} dev eth0", shared.ip()))?;
    Ok(entry.contains("lladdr"))
}

#[test]
fn only_the_relay_says_on_the_wire_that_it_has_the_shared_address() -> Result<()> {
    let lab = lab(Topology::TwoArmed)?;
    for family in Family::ALL {
        assert!(finds(&lab, family)?, "the relay answers, {family:?}");
    }
    lab.relay().ip("link set clients down")?;
    for family in Family::ALL {
        assert!(!finds(&lab, family)?, "nobody answers, {family:?}");
    }
    // With the kernel's default the nodes would.
    for node in 0..lab.node_count() {
        lab.node_host(node)?
            .sysctl("ipv4/conf/all/arp_ignore", "0")?;
    }
    ensure!(finds(&lab, Family::V4)?, "arp_ignore makes no difference");
    let entry = lab
        .client_host()
        .ip(&format!("neigh show {VIP} dev eth0"))?;
    let macs = [0, 1].map(|node| mac_of(node_beside_clients(node)));
    assert!(macs.iter().any(|mac| entry.contains(mac)), "{entry}");
    Ok(())
}
