//! The lab itself, with the kernel's NAT where the redirector would be.
#![cfg(feature = "lab")]

mod direct_return;
mod families;
mod links;
mod socks;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::flood::Flood;
use redirector_tests::lab::plan::{SHARED, SOCKS_PORT, node_inside, node_outside};
use redirector_tests::lab::socks_server::Kind;
use redirector_tests::lab::{
    Lab, LabOptions, Topology, Transfer, frames, kernel_nat, leftovers, wait_until,
};

fn small() -> LabOptions {
    LabOptions {
        nodes: 2,
        on_link_clients: 4,
        far_clients: 4,
        ..LabOptions::default()
    }
}

/// Bytes of which no two neighbours are the same.
fn payload(size: usize) -> Vec<u8> {
    (0..=250).cycle().take(size).collect()
}

fn direct(node: usize) -> std::net::SocketAddrV4 {
    std::net::SocketAddrV4::new(node_inside(node), SOCKS_PORT)
}

#[test]
fn every_client_reaches_every_node_in_both_topologies_and_the_node_sees_its_address() -> Result<()>
{
    for topology in Topology::ALL {
        let lab = Lab::new(topology, small())?;
        for client in lab.clients() {
            for node in 0..lab.node_count() {
                let session = lab.connect(client, direct(node))?;
                assert_eq!(session.node, node);
                assert_eq!(session.node_seen_by_target, node_outside(node));
                lab.dante_line_about(&session)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_redirector_at_the_shared_address_serves_all_clients_from_several_nodes() -> Result<()> {
    for topology in Topology::ALL {
        let lab = Lab::new(
            topology,
            LabOptions {
                nodes: 3,
                ..LabOptions::default()
            },
        )?;
        kernel_nat::redirect(lab.relay(), 3)?;
        let mut nodes = BTreeSet::new();
        for client in lab.clients() {
            let session = lab.connect(client, SHARED)?;
            nodes.insert(session.node);
            lab.dante_line_about(&session)?;
        }
        assert_eq!(nodes.len(), 3, "64 clients should meet all three nodes");
        assert!(
            lab.fetch(lab.clients()[0], SHARED)?
                .contains("hello from the target")
        );
    }
    Ok(())
}

#[test]
fn nobody_answers_at_the_shared_address_without_a_redirector() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    assert!(lab.connect(lab.clients()[0], SHARED).is_err());
    Ok(())
}

#[test]
fn the_embedded_server_stands_in_for_dante() -> Result<()> {
    let lab = Lab::new(
        Topology::TwoArmed,
        LabOptions {
            server: Kind::Embedded,
            ..small()
        },
    )?;
    let session = lab.connect(lab.clients()[0], direct(1))?;
    assert_eq!(session.node, 1);
    lab.dante_line_about(&session)?;
    Ok(())
}

#[test]
fn transfers_survive_what_happens_to_other_nodes_and_break_with_their_own() -> Result<()> {
    let mut lab = Lab::new(Topology::TwoArmed, small())?;
    let clients = lab.clients();
    let kept = Transfer::start(lab.connect(clients[0], direct(0))?)?;
    let reset = Transfer::start(lab.connect(clients[1], direct(1))?)?;
    std::thread::sleep(Duration::from_millis(300));
    lab.kill_dante(1);
    wait_until("the transfer to notice", Duration::from_secs(2), || {
        ensure!(reset.is_broken(), "it goes on");
        Ok(())
    })?;
    lab.start_dante(1)?;
    let silent = Transfer::start(lab.connect(clients[2], direct(1))?)?;
    lab.kill_node(1)?;
    assert!(
        lab.connect_within(clients[3], direct(1), Duration::from_millis(500))
            .is_err()
    );
    lab.revive_node(1)?;
    lab.connect(clients[3], direct(1))?;
    // The host that came back has no memory of the connection and resets it.
    wait_until("the transfer to notice", Duration::from_secs(10), || {
        ensure!(silent.is_broken(), "it goes on");
        Ok(())
    })?;
    let report = kept.stop();
    assert_eq!(report.broken, None);
    assert!(report.bytes > 10_000, "{report:?}");
    Ok(())
}

#[test]
fn a_pulled_cable_stalls_a_transfer_and_does_not_break_it() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let transfer = Transfer::start(lab.connect(lab.clients()[0], direct(0))?)?;
    std::thread::sleep(Duration::from_millis(200));
    lab.cut_node(0)?;
    std::thread::sleep(Duration::from_millis(700));
    lab.mend_node(0)?;
    let before = transfer.report().bytes;
    wait_until("the transfer to go on", Duration::from_secs(5), || {
        ensure!(transfer.report().bytes > before + 20_000, "it does not");
        Ok(())
    })?;
    let report = transfer.stop();
    assert_eq!(report.broken, None);
    assert!(report.max_gap >= Duration::from_millis(600), "{report:?}");
    Ok(())
}

#[test]
fn a_node_with_failing_checks_serves_its_clients_and_ignores_the_relay() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let probe = || {
        lab.relay().run(|| {
            redirector_tests::lab::socks::connect_from(
                redirector_tests::lab::plan::RELAY_INSIDE,
                direct(0),
                Duration::from_millis(300),
            )
        })
    };
    assert!(probe()?.is_ok());
    lab.fail_checks(0)?;
    assert!(probe()?.is_err());
    lab.connect(lab.clients()[0], direct(0))?;
    lab.heal_checks(0)?;
    assert!(probe()?.is_ok());
    Ok(())
}

#[test]
fn captured_frames_are_checked_and_a_bad_checksum_among_them_is_caught() -> Result<()> {
    let lab = Lab::new(Topology::OneArmed, small())?;
    let capture = Capture::start(lab.client_host(), "eth0")?;
    lab.connect(lab.clients()[0], direct(0))?;
    let mut captured = capture.stop()?;
    assert!(captured.len() > 10, "{} frames", captured.len());
    let mut tcp = None;
    for (index, frame) in captured.iter().enumerate() {
        if frames::check(frame).map_err(|fault| anyhow::anyhow!("{fault:?} in {frame:02x?}"))? {
            tcp = Some(index);
        }
    }
    let frame = &mut captured[tcp.expect("TCP was captured")];
    frame[14 + 20 + 4] ^= 1;
    assert!(matches!(
        frames::check(frame),
        Err(frames::Fault::TcpChecksum { .. })
    ));
    Ok(())
}

#[test]
fn a_flood_arrives_with_good_checksums_and_ends_by_itself() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let capture = Capture::start(lab.relay(), "clients")?;
    let sent = Flood::start(lab.router(), SHARED, 2_000, 20_000)?.finish()?;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(sent, 2_000);
    let tcp = capture.stop_and_check()?;
    assert!(tcp >= 2_000, "{tcp} of 2000 SYNs arrived");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_dropped_lab_nor_of_one_whose_test_panics() -> Result<()> {
    for panics in [false, true] {
        let lab = Lab::new(Topology::OneArmed, small())?;
        let identity = lab.identity().to_owned();
        assert!(!leftovers::of(&identity)?.is_empty());
        let thread = std::thread::spawn(move || {
            let _lab = lab;
            assert!(!panics, "on purpose");
        });
        assert_eq!(thread.join().is_err(), panics);
        assert!(
            leftovers::of(&identity)?.is_empty(),
            "{:?}",
            leftovers::of(&identity)?
        );
    }
    Ok(())
}

#[test]
fn a_living_lab_is_not_taken_for_a_dead_one() -> Result<()> {
    let lab = Lab::new(Topology::OneArmed, small())?;
    let found = leftovers::of_dead_labs()?;
    let ours = |name: &str| name.contains(&format!("rdl-{}-", lab.identity()));
    assert!(!found.namespaces.iter().any(|name| ours(name)), "{found:?}");
    assert!(
        !found
            .directories
            .iter()
            .any(|path| path.ends_with(lab.identity())),
        "{found:?}"
    );
    Ok(())
}
