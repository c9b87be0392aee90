//! Narrow, jumbo and lazy links do what they are for.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::frames::{Fault, inspect};
use redirector_tests::lab::plan::{
    ECHO, Family, far_client, node_inside, node_socks, on_link_client,
};
use redirector_tests::lab::socks::Habit;
use redirector_tests::lab::{Lab, LabOptions, Links, Netns, Topology};

use super::{payload, small};

const NARROW: u16 = 1300;
const ETHERNET: usize = 14;

fn lab(topology: Topology, links: Links) -> Result<Lab> {
    Lab::new(topology, LabOptions { links, ..small() })
}

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

/// Much to the target and back in segments as long as the hosts think fit; the target's checks want numbered records.
fn bulk(lab: &Lab, client: IpAddr, via: SocketAddr) -> Result<()> {
    let records = (0..80_u64).flat_map(|number| number.to_be_bytes().repeat(64));
    let records: Vec<u8> = records.collect();
    let mut stream = lab.connect(client, via)?.stream;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&records)?;
    let mut back = vec![0; records.len()];
    stream
        .read_exact(&mut back)
        .context("it did not come back")?;
    ensure!(back == records, "it came back otherwise");
    Ok(())
}

/// The longest IP packet, the number of ICMP errors that tell of a smaller MTU, and how many frames are not good.
fn measure(frames: &[Vec<u8>]) -> (usize, usize, usize) {
    let longest = frames.iter().map(Vec::len).max().unwrap_or(0);
    let too_big = frames.iter().filter(|frame| {
        let packet = SlicedPacket::from_ethernet(frame);
        match packet.ok().and_then(|packet| packet.transport) {
            Some(TransportSlice::Icmpv4(icmp)) => (icmp.type_u8(), icmp.code_u8()) == (3, 4),
            Some(TransportSlice::Icmpv6(icmp)) => icmp.type_u8() == 2,
            _ => false,
        }
    });
    let bad = frames.iter().filter(|frame| inspect(frame).is_err());
    (
        longest.saturating_sub(ETHERNET),
        too_big.count(),
        bad.count(),
    )
}

/// From now on the host passes no ICMP on.
fn drop_icmp(host: &Netns) -> Result<()> {
    for line in [
        "add table inet lab",
        "add chain inet lab forward { type filter hook forward priority 0 ; }",
        "add rule inet lab forward meta l4proto { icmp, ipv6-icmp } drop",
    ] {
        host.exec(&format!("nft {line}"))?;
    }
    Ok(())
}

#[test]
fn a_narrow_path_to_the_nodes_is_told_to_the_clients_through_the_relay() -> Result<()> {
    for topology in Topology::ALL {
        let lab = lab(topology, narrow_nodes())?;
        for family in Family::ALL {
            for client in lab.clients_in(family).into_iter().take(2) {
                let behind = Capture::start(lab.gate()?, "back")?;
                let before = Capture::start(lab.relay(), topology.node_side())?;
                bulk(&lab, client, node_socks(1, family))?;
                let (_, too_big, bad) = measure(&before.stop()?);
                assert!(too_big > 0, "{client}: nobody was told");
                assert_eq!(bad, 0);
                let frames = behind.stop()?;
                let to_node: Vec<_> = frames
                    .into_iter()
                    .filter(|frame| goes_to_a_node(frame))
                    .collect();
                assert_eq!(measure(&to_node).0, usize::from(NARROW), "{client}");
            }
        }
    }
    Ok(())
}

fn goes_to_a_node(frame: &[u8]) -> bool {
    let to = SlicedPacket::from_ethernet(frame)
        .ok()
        .and_then(|packet| match packet.net? {
            NetSlice::Ipv4(ip) => Some(IpAddr::from(ip.header().destination_addr())),
            NetSlice::Ipv6(ip) => Some(IpAddr::from(ip.header().destination_addr())),
            NetSlice::Arp(_) => None,
        });
    let nodes = [0, 1].map(node_inside);
    to.is_some_and(|to| nodes.iter().any(|node| Family::of(to).address(*node) == to))
}

#[test]
fn a_narrow_path_to_the_far_clients_is_told_to_the_nodes_through_the_relay() -> Result<()> {
    for topology in Topology::ALL {
        let lab = lab(topology, narrow_far())?;
        for family in Family::ALL {
            let client = family.address(far_client(0));
            let relay = Capture::start(lab.relay(), topology.interfaces()[0])?;
            bulk(&lab, client, node_socks(1, family))?;
            let (longest, too_big, bad) = measure(&relay.stop()?);
            assert!(too_big > 0, "{client}: nobody was told");
            assert_eq!((longest, bad), (1500, 0));
            // Those on this side of the router have the whole width.
            let near = family.address(on_link_client(0));
            let relay = Capture::start(lab.relay(), topology.interfaces()[0])?;
            bulk(&lab, near, node_socks(0, family))?;
            assert_eq!(measure(&relay.stop()?), (1500, 0, 0));
        }
    }
    Ok(())
}

#[test]
fn a_narrow_path_is_a_black_hole_if_the_relay_does_not_pass_the_errors_on() -> Result<()> {
    for (links, client) in [
        (narrow_nodes(), on_link_client(0)),
        (narrow_far(), far_client(0)),
    ] {
        let lab = lab(Topology::TwoArmed, links)?;
        drop_icmp(lab.relay())?;
        for family in Family::ALL {
            assert!(
                bulk(&lab, family.address(client), node_socks(0, family)).is_err(),
                "{links:?}, {family:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn datagrams_larger_than_a_narrow_path_pass_it_in_pieces() -> Result<()> {
    for links in [narrow_nodes(), narrow_far()] {
        let lab = lab(Topology::TwoArmed, links)?;
        for family in Family::ALL {
            let client = family.address(far_client(0));
            let association = lab
                .socks(client, node_socks(0, family))
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
            assert_eq!(echo?, data, "{links:?}, {family:?}");
        }
    }
    Ok(())
}

#[test]
fn jumbo_frames_cross_the_whole_lab_and_without_the_knob_there_are_none() -> Result<()> {
    for (mtu, topology) in [
        (9000, Topology::TwoArmed),
        (9000, Topology::OneArmed),
        (1500, Topology::TwoArmed),
    ] {
        let links = Links {
            mtu,
            ..Links::default()
        };
        let lab = lab(topology, links)?;
        for family in Family::ALL {
            for client in lab.clients_in(family).into_iter().take(2) {
                let relay = Capture::start(lab.relay(), topology.interfaces()[0])?;
                bulk(&lab, client, node_socks(0, family))?;
                assert_eq!(measure(&relay.stop()?), (usize::from(mtu), 0, 0));
            }
        }
    }
    Ok(())
}

#[test]
fn checksums_are_left_to_the_relay_only_where_the_knob_says_so() -> Result<()> {
    for (partial_checksums, topology) in [
        (true, Topology::TwoArmed),
        (true, Topology::OneArmed),
        (false, Topology::TwoArmed),
    ] {
        let links = Links {
            partial_checksums,
            ..Links::default()
        };
        let lab = lab(topology, links)?;
        for family in Family::ALL {
            for client in lab.clients_in(family).into_iter().take(2) {
                for interface in topology.interfaces() {
                    let relay = Capture::start(lab.relay(), interface)?;
                    let sent = lab.connect(client, node_socks(0, family))?;
                    drop(sent);
                    let frames = relay.stop()?;
                    let lazy = frames
                        .iter()
                        .filter(|frame| matches!(inspect(frame), Err(Fault::TcpChecksum { .. })))
                        .count();
                    assert_eq!(lazy > 0, partial_checksums, "{client} at {interface}");
                }
            }
        }
    }
    Ok(())
}
