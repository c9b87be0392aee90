//! Both families, by the kernel's own routing.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result};
use redirector_tests::lab::plan::{
    ECHO, Family, HTTP, RELAY_INSIDE, SHARED, TARGET, WHO, node_outside, node_socks,
};
use redirector_tests::lab::socks::connect_from;
use redirector_tests::lab::{Lab, Topology, wait_until};

use super::{payload, small};

#[test]
fn every_client_reaches_every_node_in_its_family_and_the_node_sees_its_address() -> Result<()> {
    for topology in Topology::ALL {
        let lab = Lab::new(topology, small())?;
        for family in Family::ALL {
            let clients = lab.clients_in(family);
            assert_eq!(clients.len(), 8);
            for client in clients {
                for node in 0..lab.node_count() {
                    let session = lab.connect(client, node_socks(node, family))?;
                    assert_eq!(session.client.ip(), client);
                    assert_eq!(session.node, node);
                    assert_eq!(
                        session.node_seen_by_target,
                        family.address(node_outside(node))
                    );
                    lab.dante_line_about(&session)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_client_of_one_family_reaches_a_target_of_the_other_through_dante() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    for (ours, theirs) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let client = lab.clients_in(ours)[0];
        let connection = lab
            .socks(client, node_socks(0, ours))
            .connect(theirs.endpoint(HTTP))?;
        assert_eq!(connection.reply.bound.ip(), theirs.address(node_outside(0)));
    }
    Ok(())
}

#[test]
fn the_targets_page_comes_in_both_families() -> Result<()> {
    let lab = Lab::new(Topology::OneArmed, small())?;
    for family in Family::ALL {
        let page = lab.fetch(lab.clients_in(family)[1], node_socks(1, family))?;
        assert!(page.contains("hello from the target"), "{page}");
    }
    Ok(())
}

#[test]
fn nobody_answers_at_the_shared_address_in_either_family_without_a_redirector() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    for family in Family::ALL {
        for client in lab.clients_in(family) {
            let shared = family.endpoint(SHARED);
            assert!(
                lab.socks(client, shared)
                    .connect(family.endpoint(ECHO))
                    .is_err()
            );
        }
    }
    Ok(())
}

#[test]
fn clients_do_not_reach_the_target_but_through_a_node() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    for family in Family::ALL {
        for client in lab.clients_in(family) {
            let past = lab
                .host_of_client(client)
                .run(|| connect_from(client, family.endpoint(HTTP), Duration::from_millis(200)))?;
            assert!(past.is_err(), "{client}");
        }
    }
    Ok(())
}

#[test]
fn a_node_with_failing_checks_ignores_the_relay_in_both_families_and_serves_its_clients()
-> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let probe = |family: Family| {
        let relay = family.address(RELAY_INSIDE);
        let to = node_socks(0, family);
        lab.relay()
            .run(|| connect_from(relay, to, Duration::from_millis(300)))
    };
    for family in Family::ALL {
        assert!(probe(family)?.is_ok(), "{family:?}");
    }
    lab.fail_checks(0)?;
    for family in Family::ALL {
        assert!(probe(family)?.is_err(), "{family:?}");
        lab.connect(lab.clients_in(family)[0], node_socks(0, family))?;
    }
    lab.heal_checks(0)?;
    for family in Family::ALL {
        assert!(probe(family)?.is_ok(), "{family:?}");
    }
    Ok(())
}

#[test]
fn a_node_behind_a_mended_cable_is_reached_again_in_both_families() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    lab.cut_node(0)?;
    for family in Family::ALL {
        let client = lab.clients_in(family)[0];
        let patience = Duration::from_millis(300);
        assert!(
            lab.connect_within(client, node_socks(0, family), patience)
                .is_err()
        );
    }
    lab.mend_node(0)?;
    for family in Family::ALL {
        let client = lab.clients_in(family)[0];
        wait_until("the node to serve", Duration::from_secs(5), || {
            lab.connect_within(client, node_socks(0, family), Duration::from_millis(500))
        })?;
    }
    Ok(())
}

/// A node of the lab stands for its SOCKS server, which would have the same socket.
#[test]
fn the_target_echoes_datagrams_of_all_sizes_and_tells_who_sent_them() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    for family in Family::ALL {
        let node = family.address(node_outside(1));
        let socket = lab.node_host(1)?.run(|| UdpSocket::bind((node, 0)))??;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut buffer = vec![0; 65_536];
        for size in [0, 1, 1_400, 4_000] {
            let datagram = payload(size);
            socket.send_to(&datagram, family.endpoint(ECHO))?;
            let (length, from) = socket
                .recv_from(&mut buffer)
                .with_context(|| format!("{size} bytes over {family:?}"))?;
            assert_eq!(buffer[..length], datagram);
            assert_eq!(from.ip(), family.address(TARGET));
        }
        socket.send_to(b"?", family.endpoint(WHO))?;
        let length = socket.recv(&mut buffer)?;
        assert_eq!(
            String::from_utf8_lossy(&buffer[..length]),
            socket.local_addr()?.to_string()
        );
    }
    Ok(())
}
