//! Frames that need several buffers in the driver (`xdp.frags`), to the last byte.

use std::net::IpAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::frames::inspect;
use redirector_tests::lab::plan::{ECHO, Family, node_inside};
use redirector_tests::lab::socks::Habit;
use redirector_tests::lab::{LabOptions, Links};

use super::{Way, bring_up_with, bulk, ends, near_and_far, payload, shared, small};

const MTU: u16 = 9000;
/// Longer than what fits into one page, which is where native XDP without fragments ends.
const SEVERAL_BUFFERS: usize = 4096;

#[test]
fn jumbo_frames_are_translated_in_the_driver_with_whole_and_with_half_made_checksums() -> Result<()>
{
    for (way, partial_checksums) in [
        (Way::TWO_ARMED, false),
        (Way::TWO_ARMED, true),
        (Way::ONE_ARMED, true),
    ] {
        let options = LabOptions {
            links: Links {
                mtu: MTU,
                partial_checksums,
                ..Links::default()
            },
            ..small()
        };
        let (lab, _agent) = bring_up_with(way, options, |config| config.xdp_mode = "native")?;
        let at_node = [0, 1].map(|node| Capture::start(lab.node_host(node)?, "inside"));
        let at_clients = Capture::start(lab.client_host(), "eth0")?;
        let at_router = Capture::start(lab.router(), "near")?;
        for client in near_and_far(&lab) {
            bulk(&lab, client).with_context(|| format!("{way:?}"))?;
            let association = lab
                .socks(client, shared(client))
                .associate(Habit::ObeysReply)?;
            let data = payload(8_000);
            let echo = association
                .exchange(Family::of(client).endpoint(ECHO), &data)
                .with_context(|| format!("{way:?}: 8000 bytes of {client}"))?;
            ensure!(echo.payload == data);
        }
        let mut there = Vec::new();
        for capture in at_node {
            there.extend(capture?.stop()?);
        }
        let back = [at_clients.stop()?, at_router.stop()?].concat();
        let from_clients = good_jumbo_frames(&there, |from, to| {
            let family = Family::of(from);
            lab.clients_in(family).contains(&from)
                && [0, 1]
                    .map(node_inside)
                    .map(|node| family.address(node))
                    .contains(&to)
        })
        .with_context(|| format!("{way:?}, to nodes"))?;
        let to_clients = good_jumbo_frames(&back, |from, _| from == shared(from).ip())
            .with_context(|| format!("{way:?}, to clients"))?;
        ensure!(
            from_clients > 10 && to_clients > 10,
            "{way:?}: {from_clients} jumbo frames there, {to_clients} back"
        );
    }
    Ok(())
}

/// How many of the frames between such ends need several buffers; all of those must be whole.
fn good_jumbo_frames(frames: &[Vec<u8>], of: impl Fn(IpAddr, IpAddr) -> bool) -> Result<usize> {
    let mut good = 0;
    for frame in frames.iter().filter(|frame| frame.len() > SEVERAL_BUFFERS) {
        if ends(frame).is_some_and(|(from, to)| of(from, to)) {
            inspect(frame).map_err(|fault| anyhow!("{fault:?} in {} bytes", frame.len()))?;
            good += 1;
        }
    }
    Ok(good)
}
