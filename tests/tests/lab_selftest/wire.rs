//! What is on the wire is what the checks of frames expect.

use std::collections::HashSet;

use anyhow::{Result, anyhow};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::frames::{Content, Fault, inspect};
use redirector_tests::lab::plan::{ECHO, Family, node_socks};
use redirector_tests::lab::socks::Habit;
use redirector_tests::lab::{Lab, Topology};

use super::{payload, small};

#[test]
fn all_that_socks_sends_in_both_families_has_good_checksums_and_spoilt_bytes_are_caught()
-> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let capture = Capture::start(lab.relay(), "clients")?;
    for family in Family::ALL {
        for client in lab.clients_in(family).into_iter().take(2) {
            lab.connect(client, node_socks(0, family))?;
            let proxy = lab.socks(client, node_socks(1, family));
            let association = proxy.associate(Habit::ObeysReply)?;
            association.exchange(family.endpoint(ECHO), &payload(100))?;
            association.exchange(family.endpoint(ECHO), &payload(4_000))?;
        }
    }
    let mut seen = HashSet::new();
    for mut frame in capture.stop()? {
        let content = inspect(&frame).map_err(|fault| anyhow!("{fault:?} in {frame:02x?}"))?;
        seen.insert(format!("{content:?}"));
        if let Some(last) = frame.last_mut() {
            *last ^= 1;
        }
        let spoilt = inspect(&frame);
        match content {
            Content::Tcp => assert!(matches!(spoilt, Err(Fault::TcpChecksum { .. }))),
            Content::Udp => assert!(matches!(spoilt, Err(Fault::UdpChecksum { .. }))),
            Content::Icmp | Content::Icmpv6 => {
                assert!(matches!(spoilt, Err(Fault::IcmpChecksum { .. })));
            }
            Content::Fragment | Content::Other => {}
        }
    }
    for content in ["Tcp", "Udp", "Icmpv6", "Fragment"] {
        assert!(seen.contains(content), "no {content} among {seen:?}");
    }
    Ok(())
}
