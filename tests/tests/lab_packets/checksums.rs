//! Checksums that senders left to the device, and the kernel's generic path.

use anyhow::{Context as _, Result, anyhow, ensure};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::frames::inspect;
use redirector_tests::lab::plan::{ECHO, Family, SHARED, node_inside};
use redirector_tests::lab::socks::Habit;
use redirector_tests::lab::{Lab, LabOptions, Links};

use super::{Way, bring_up, bring_up_with, bulk, ends, near_and_far, payload, shared, small};

fn partial() -> LabOptions {
    LabOptions {
        links: Links {
            partial_checksums: true,
            ..Links::default()
        },
        ..small()
    }
}

/// Segments and datagrams both ways.
fn talk(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        bulk(lab, client)?;
        let association = lab
            .socks(client, shared(client))
            .associate(Habit::ObeysReply)?;
        for size in [10, 1_400, 4_000] {
            let data = payload(size);
            let echo = association
                .exchange(Family::of(client).endpoint(ECHO), &data)
                .with_context(|| format!("{size} bytes of {client}"))?;
            ensure!(echo.payload == data);
        }
    }
    Ok(())
}

/// How many of the frames that the relay has sent are good; the others' checksums are their senders' business.
fn good_frames(frames: &[Vec<u8>]) -> Result<usize> {
    let mut good = 0;
    for frame in frames {
        let Some((from, to)) = ends(frame) else {
            continue;
        };
        let family = Family::of(from);
        let to_a_node = [0, 1]
            .map(node_inside)
            .into_iter()
            .any(|node| family.address(node) == to);
        if to_a_node || from == family.endpoint(SHARED).ip() {
            inspect(frame).map_err(|fault| anyhow!("{fault:?} in {frame:02x?}"))?;
            good += 1;
        }
    }
    Ok(good)
}

#[test]
fn half_made_checksums_are_completed_on_both_sides() -> Result<()> {
    for way in Way::TRANSLATED {
        let (lab, _agent) = bring_up(way, partial())?;
        let captures = [
            Capture::start(lab.client_host(), "eth0")?,
            Capture::start(lab.router(), "near")?,
            Capture::start(lab.node_host(0)?, "inside")?,
            Capture::start(lab.node_host(1)?, "inside")?,
        ];
        talk(&lab).with_context(|| format!("{way:?}"))?;
        let mut good = 0;
        for capture in captures {
            good += good_frames(&capture.stop()?).with_context(|| format!("{way:?}"))?;
        }
        ensure!(good > 100, "only {good} frames");
    }
    Ok(())
}

#[test]
fn the_generic_path_serves_clients_whole_and_half_made_checksums_alike() -> Result<()> {
    for (way, options) in [
        (Way::ONE_ARMED, small()),
        (Way::TWO_ARMED, partial()),
        (Way::TWO_ARMED_DIRECT_RETURN, partial()),
    ] {
        let (lab, agent) = bring_up_with(way, options, |config| config.xdp_mode = "generic")?;
        let summary = agent.show("summary")?;
        ensure!(summary.to_string().contains("generic"), "{summary}");
        talk(&lab).with_context(|| format!("{way:?}"))?;
    }
    Ok(())
}
