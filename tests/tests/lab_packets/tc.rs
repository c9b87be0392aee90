//! By tc, where everything is left to the device that Linux leaves to it: segmentation, checksums.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::frames::inspect;
use redirector_tests::lab::plan::{Family, node_inside};
use redirector_tests::lab::{Lab, LabOptions, Links, Transfer, require_unbroken};
use serde_json::Value;

use super::every_way::all_translated;
use super::{SOON, Way, bring_up_with, ends, near_and_far, shared, small};

/// Bytes that are sent to the target and come back.
const PLENTY: usize = 4 << 20;
/// What is longer has not been cut for an MTU of 1500.
const CUT: u64 = 1514;

fn unsegmented() -> LabOptions {
    LabOptions {
        links: Links {
            segmentation: true,
            partial_checksums: true,
            ..Links::default()
        },
        ..small()
    }
}

fn by_tc(way: Way) -> Result<(Lab, Agent)> {
    let (lab, agent) = bring_up_with(way, unsegmented(), |config| config.xdp_mode = "tc")?;
    ensure!(modes(&agent)?.iter().all(|mode| mode == "tc"));
    Ok((lab, agent))
}

/// How the interfaces are attached.
fn modes(agent: &Agent) -> Result<Vec<String>> {
    let summary = agent.show("summary")?;
    let interfaces = summary["interfaces"]
        .as_array()
        .with_context(|| format!("no interfaces in {summary}"))?;
    let mode = |interface: &Value| interface["mode"].as_str().map(str::to_owned);
    Ok(interfaces.iter().filter_map(mode).collect())
}

#[test]
fn nodes_behind_another_arm_serve_all_of_socks_by_tc() -> Result<()> {
    let (lab, mut agent) = by_tc(Way::TWO_ARMED)?;
    all_translated(&lab, &mut agent)
}

#[test]
fn nodes_behind_the_same_arm_serve_all_of_socks_by_tc() -> Result<()> {
    let (lab, mut agent) = by_tc(Way::ONE_ARMED)?;
    all_translated(&lab, &mut agent)
}

/// Much to the target and back, as large as senders make it.
fn plenty(lab: &Lab, client: IpAddr) -> Result<()> {
    let records = (0..PLENTY as u64 / 512).flat_map(|number| number.to_be_bytes().repeat(64));
    let records: Vec<u8> = records.collect();
    let mut stream = lab.connect(client, shared(client))?.stream;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut writer = stream.try_clone()?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write_all(&records));
        let mut back = vec![0; records.len()];
        stream
            .read_exact(&mut back)
            .with_context(|| format!("it did not come back to {client}"))?;
        ensure!(back == records, "it came back otherwise");
        match writing.join() {
            Ok(written) => Ok(written?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Bytes of an average packet towards nodes, by the data path's own count.
fn average(agent: &Agent) -> Result<u64> {
    fn sum(value: &Value, key: &str) -> u64 {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| match value.as_u64() {
                    Some(number) if name == key => number,
                    _ => sum(value, key),
                })
                .sum(),
            Value::Array(items) => items.iter().map(|item| sum(item, key)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    let nodes = agent.show("nodes")?;
    let packets = sum(&nodes, "forward_packets");
    ensure!(packets > 0, "no packet in {nodes}");
    Ok(sum(&nodes, "forward_bytes") / packets)
}

#[test]
fn by_tc_packets_stay_as_large_as_they_were_and_arrive_whole() -> Result<()> {
    for way in Way::TRANSLATED {
        let (lab, agent) = by_tc(way)?;
        for client in near_and_far(&lab) {
            plenty(&lab, client).with_context(|| format!("{way:?}"))?;
        }
        // Acknowledgements are small, so many are much larger.
        let average = average(&agent)?;
        ensure!(average > CUT, "{average} bytes on average, {way:?}");
        // From here on the kernel completes checksums behind the program, and receivers look at them.
        for interface in way.topology.interfaces() {
            lab.relay()
                .exec(&format!("ethtool -K {interface} tx off"))?;
        }
        let captures = way.topology.interfaces().iter();
        let captures: Vec<_> = captures
            .map(|interface| Capture::start(lab.relay(), interface))
            .collect::<Result<_>>()?;
        for client in near_and_far(&lab) {
            plenty(&lab, client).with_context(|| format!("{way:?}, completed checksums"))?;
        }
        let mut good = 0;
        for capture in captures {
            good += good_frames(&capture.stop()?).with_context(|| format!("{way:?}"))?;
        }
        ensure!(good > 100, "only {good} frames, {way:?}");
    }
    Ok(())
}

/// How many frames the relay has sent; all must be good.
fn good_frames(frames: &[Vec<u8>]) -> Result<usize> {
    let mut good = 0;
    for frame in frames {
        let Some((from, to)) = ends(frame) else {
            continue;
        };
        let nodes = [0, 1].map(|node| Family::of(to).address(node_inside(node)));
        if nodes.contains(&to) || from == shared(from).ip() {
            inspect(frame).map_err(|fault| anyhow!("{fault:?} in {:02x?}", &frame[..66]))?;
            good += 1;
        }
    }
    Ok(good)
}

/// The twin of the test above, and the way from one mode to another.
#[test]
fn native_packets_are_cut_up_and_a_restart_changes_to_tc_with_connections_kept() -> Result<()> {
    let way = Way::TWO_ARMED;
    let (lab, mut agent) = bring_up_with(way, unsegmented(), |_| ())?;
    let client = lab.clients()[0].into();
    plenty(&lab, client)?;
    let average = average(&agent)?;
    ensure!(average <= CUT, "{average} bytes on average in native mode");
    let mut transfers = Vec::new();
    for client in near_and_far(&lab) {
        transfers.push(Transfer::start(lab.connect(client, shared(client))?)?);
    }
    let mut config = AgentConfig {
        families: Family::ALL.to_vec(),
        udp_associate: "shared",
        interval: "300ms".to_owned(),
        ..AgentConfig::new(way.topology, lab.node_count())
    };
    config.xdp_mode = "tc";
    let Err(refused) = agent.reload(&config.to_toml()) else {
        bail!("an agent without privileges has loaded programs");
    };
    let refused = format!("{refused:#}");
    ensure!(refused.contains("start it again"), "{refused}");
    ensure!(modes(&agent)?.iter().all(|mode| mode == "native"));
    for (wanted, mode) in [("tc", "tc"), ("auto", "tc"), ("native", "native")] {
        agent.kill()?;
        config.xdp_mode = wanted;
        agent.write_config(&config.to_toml())?;
        agent.start_again()?;
        let modes = modes(&agent)?;
        ensure!(modes.iter().all(|one| one == mode), "{wanted}: {modes:?}");
        std::thread::sleep(SOON);
        require_unbroken(&transfers).with_context(|| format!("from then on {wanted}"))?;
        plenty(&lab, client).with_context(|| format!("from then on {wanted}"))?;
    }
    Ok(())
}

#[test]
fn auto_takes_tc_on_a_veth_and_says_why_and_clients_without_a_node_are_reset() -> Result<()> {
    let (lab, agent) = bring_up_with(Way::ONE_ARMED, unsegmented(), |config| {
        config.xdp_mode = "auto";
    })?;
    ensure!(modes(&agent)? == ["tc"], "{:?}", modes(&agent)?);
    let log = agent.log();
    ensure!(log.contains("auto takes tc"), "{log}");
    let refused = agent.cli_output(&["capture", "--count", "1"])?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && told.contains("tcpdump"),
        "{told}"
    );
    agent.cli(&["pool", "disable", "socksservers"])?;
    for client in near_and_far(&lab) {
        let Err(error) = lab.connect_within(client, shared(client), 10 * SOON) else {
            bail!("somebody serves {client}");
        };
        let cause = error.root_cause().downcast_ref::<std::io::Error>();
        let refused = cause.is_some_and(|cause| cause.kind() == ErrorKind::ConnectionRefused);
        ensure!(refused, "{client}: {error:#}");
    }
    Ok(())
}
