//! `redirector capture` on a relay that serves clients.
#![cfg(feature = "lab")]

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::{Array, Map, MapData, MapInfo, PerCpuArray};
use etherparse::{NetSlice, SlicedPacket};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redirector_common::abi::{CaptureCounts, map};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::frames::{Content, inspect};
use redirector_tests::lab::pcapng::{self, Packet};
use redirector_tests::lab::plan::{Family, SHARED, VIP, node_inside, node_socks};
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn bring_up() -> Result<(Lab, Agent, Inside)> {
    let lab = Lab::new(
        Topology::TwoArmed,
        LabOptions {
            nodes: 2,
            ..LabOptions::default()
        },
    )?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = Agent::start(&lab, &config.to_toml())?;
    agent.wait_for_all(&config, SOON)?;
    let inside = Inside::of(&agent)?;
    Ok((lab, agent, inside))
}

/// `redirector capture` at work; killed when dropped.
struct Capturing {
    child: Child,
    file: PathBuf,
}

impl Capturing {
    /// Starts it and waits until the data path captures.
    fn start(lab: &Lab, agent: &Agent, inside: &Inside, arguments: &[&str]) -> Result<Self> {
        let file = lab.workspace_file("captured.pcapng");
        let child = Command::new(agent.program())
            .args(["capture", "--write"])
            .arg(&file)
            .args(arguments)
            .arg("--socket")
            .arg(agent.socket())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't start the capture")?;
        let capturing = Self { child, file };
        wait_until("the capture to begin", SOON, || {
            ensure!(inside.session()? != 0, "it has not");
            Ok(())
        })?;
        Ok(capturing)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).context("can't signal the capture")
    }

    /// Waits for its end; gives its file and what it said.
    fn end(mut self) -> Result<(Vec<String>, Vec<Packet>, String)> {
        let until = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().context("no output")?;
        stderr.read_to_string(&mut said)?;
        ensure!(status.success(), "{status}: {said}");
        println!("> {}", said.trim());
        let mode = std::fs::metadata(&self.file)?.permissions().mode();
        ensure!(
            mode & 0o777 == 0o600,
            "others can read what may hold passwords: {mode:o}"
        );
        let (interfaces, packets) = pcapng::read(&std::fs::read(&self.file)?)?;
        for packet in &packets {
            println!("> {} {}", packet.interface, packet.comment);
        }
        Ok((interfaces, packets, said))
    }

    /// Ends it as ctrl-c does.
    fn interrupt(self) -> Result<(Vec<String>, Vec<Packet>, String)> {
        // What was sent a moment ago is on its way.
        std::thread::sleep(Duration::from_millis(100));
        self.signal(Signal::SIGINT)?;
        self.end()
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The maps by which the data path of an agent captures; they can be read when it is gone, too.
struct Inside {
    capturing: Array<MapData, u32>,
    counts: PerCpuArray<MapData, [u8; size_of::<CaptureCounts>()]>,
}

impl Inside {
    fn of(agent: &Agent) -> Result<Self> {
        Ok(Self {
            capturing: Map::Array(held(agent, map::CAPTURING)?).try_into()?,
            counts: Map::PerCpuArray(held(agent, map::CAPTURE_COUNTS)?).try_into()?,
        })
    }

    /// The number of the capture that runs; 0 while none does.
    fn session(&self) -> Result<u32> {
        Ok(self.capturing.get(&0, 0)?)
    }

    /// Packets that have ever matched.
    fn matched(&self) -> Result<u64> {
        let cpus = self.counts.get(&0, 0)?;
        let counts = cpus
            .iter()
            .map(|bytes| bytemuck::pod_read_unaligned::<CaptureCounts>(bytes));
        Ok(counts.map(|counts| counts.matched).sum())
    }
}

/// The map of this name that the agent's process holds.
fn held(agent: &Agent, name: &str) -> Result<MapData> {
    let process = agent.process().context("the agent is not running")?;
    for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // Descriptors come and go meanwhile.
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let mut lines = text.lines();
        let Some(id) = lines.find_map(|line| line.strip_prefix("map_id:")) else {
            continue;
        };
        let id = id.trim().parse()?;
        if MapInfo::from_id(id)?.name_as_str() == Some(name) {
            return Ok(MapData::from_id(id)?);
        }
    }
    Err(anyhow!("the agent holds no map {name}"))
}

/// Wants both interfaces to run this program.
fn require_program(lab: &Lab, name: &str) -> Result<()> {
    let shown = lab.relay().ip("-d link show")?;
    let running = shown.matches("prog/xdp").count();
    let named = shown.matches(&format!(" name {name} ")).count();
    ensure!(
        (running, named) == (2, 2),
        "{named} of {running} run {name}: {shown}"
    );
    Ok(())
}

/// Source and destination of a frame in IPv4, whose checksums must be good.
fn good_ends(packet: &Packet) -> Result<(Ipv4Addr, Ipv4Addr)> {
    if packet.bytes.len() == packet.length {
        let content = inspect(&packet.bytes).map_err(|fault| anyhow!("{fault:?} in {packet:?}"))?;
        ensure!(content == Content::Tcp, "{packet:?}");
    }
    let read = SlicedPacket::from_ethernet(&packet.bytes);
    match read.map(|packet| packet.net.clone()) {
        Ok(Some(NetSlice::Ipv4(ip))) => {
            let header = ip.header();
            Ok((header.source_addr(), header.destination_addr()))
        }
        _ => Err(anyhow!("no IPv4: {packet:?}")),
    }
}

/// Which node the agent says a client goes to.
fn node_of(agent: &Agent, client: Ipv4Addr) -> Result<String> {
    let said = agent.cli(&["explain", "--client", &client.to_string()])?;
    let nodes = [0, 1].map(node_name);
    let named: Vec<&String> = nodes
        .iter()
        .filter(|node| said.contains(node.as_str()))
        .collect();
    ensure!(named.len() == 1, "{said}");
    Ok(named[0].clone())
}

/// A client of each node.
fn clients(lab: &Lab, agent: &Agent) -> Result<[Ipv4Addr; 2]> {
    let mut found = [None; 2];
    for client in lab.clients() {
        let node = node_of(agent, client)?;
        let place = found
            .iter_mut()
            .zip(0..)
            .find(|(_, node_)| node == node_name(*node_));
        *place.context("another node")?.0 = Some(client);
    }
    Ok([
        found[0].context("node 0 has no client")?,
        found[1].context("node 1 has no client")?,
    ])
}

fn node_address(node: &str) -> Result<Ipv4Addr> {
    let number = (0..2).find(|number| node_name(*number) == node);
    match Family::V4.address(node_inside(number.context("no such node")?)) {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(anyhow!("another family")),
    }
}

#[test]
fn a_client_s_packets_are_in_the_file_before_and_after_and_no_other_s() -> Result<()> {
    let (lab, agent, inside) = bring_up()?;
    let [client, other] = clients(&lab, &agent)?;
    let node = node_of(&agent, client)?;
    let address = node_address(&node)?;
    let capturing = Capturing::start(&lab, &agent, &inside, &["--client", &client.to_string()])?;
    for who in [client, other] {
        drop(lab.connect(who, SHARED)?);
    }
    let (interfaces, packets, said) = capturing.interrupt()?;
    ensure!(
        interfaces == Topology::TwoArmed.interfaces(),
        "{interfaces:?}"
    );
    let (mut forward, mut replies, mut syns) = (0, 0, 0);
    ensure!(packets.len().is_multiple_of(2));
    for pair in packets.chunks(2) {
        let [before, after] = pair else { continue };
        ensure!(before.inbound && !after.inbound, "{pair:?}");
        ensure!(before.at == after.at, "{pair:?}");
        let (from, to) = (good_ends(before)?, good_ends(after)?);
        let verdict = before.comment.split(" · ").nth(1).context("no verdict")?;
        ensure!(
            before.comment.contains(&format!(" · {node} · ")),
            "{before:?}"
        );
        if from == (client, VIP) {
            ensure!(to == (client, address), "{pair:?}");
            ensure!(verdict == "forward-settled", "{verdict}");
            ensure!((&before.interface, &after.interface) == (&interfaces[0], &interfaces[1]));
            forward += 1;
            syns += u32::from(before.bytes[47] == 2);
        } else {
            ensure!(from == (address, client) && to == (VIP, client), "{pair:?}");
            ensure!(verdict == "reply", "{verdict}");
            ensure!((&before.interface, &after.interface) == (&interfaces[1], &interfaces[0]));
            replies += 1;
        }
        ensure!(before.length == after.length);
    }
    println!("{forward} forward, {replies} replies, {syns} of them the SYN");
    ensure!(
        forward > 3 && replies > 3 && syns == 1,
        "not a whole connection"
    );
    let pairs = packets.len() / 2;
    ensure!(
        said.starts_with(&format!("{pairs} captured of {pairs} that matched, 0 lost")),
        "{said}"
    );
    ensure!(inside.session()? == 0, "it still captures");
    ensure!(agent.counter("drop-no-stage")? == 0);
    Ok(())
}

#[test]
fn nodes_and_verdicts_choose_packets_and_a_count_ends_it() -> Result<()> {
    let (lab, agent, inside) = bring_up()?;
    let [client, other] = clients(&lab, &agent)?;
    let node = node_of(&agent, other)?;
    let arguments = [
        "--node",
        &node,
        "--verdict",
        "reply",
        "--count",
        "3",
        "--snaplen",
        "60",
    ];
    let capturing = Capturing::start(&lab, &agent, &inside, &arguments)?;
    for who in [client, other, client, other] {
        drop(lab.connect(who, SHARED)?);
    }
    let (_, packets, _) = capturing.end()?;
    ensure!(packets.len() == 6);
    for packet in &packets {
        ensure!(
            packet.comment.contains(&format!(" · reply · {node} · ")),
            "{packet:?}"
        );
        ensure!(packet.bytes.len() == packet.length.min(60), "{packet:?}");
        ensure!(packet.comment.contains(&other.to_string()));
    }
    ensure!(inside.session()? == 0, "it still captures");
    Ok(())
}

#[test]
fn a_dropped_packet_has_its_verdict_and_no_after() -> Result<()> {
    let (lab, agent, inside) = bring_up()?;
    let client = lab.clients()[0];
    let capturing = Capturing::start(&lab, &agent, &inside, &["--verdict", "drop"])?;
    lab.connect(client, SHARED)?;
    let past = lab.connect_within(client, node_socks(1, Family::V4), Duration::from_secs(1));
    ensure!(past.is_err(), "{client} reached a node past the relay");
    let (interfaces, packets, _) = capturing.interrupt()?;
    ensure!(!packets.is_empty());
    for packet in &packets {
        ensure!(
            packet.inbound && packet.interface == interfaces[0],
            "{packet:?}"
        );
        ensure!(
            packet.comment.starts_with("before · drop-direct-tcp · "),
            "{packet:?}"
        );
        ensure!(good_ends(packet)? == (client, node_address(&node_name(1))?));
    }
    Ok(())
}

#[test]
fn nothing_is_captured_before_or_after_and_a_killed_client_ends_it() -> Result<()> {
    let (lab, agent, inside) = bring_up()?;
    let client = lab.clients()[0];
    let settled = |agent: &Agent| agent.counter("forward-settled");
    let (matched_before, before) = (inside.matched()?, settled(&agent)?);
    lab.connect(client, SHARED)?;
    ensure!(settled(&agent)? > before && inside.matched()? == matched_before);
    ensure!(inside.session()? == 0);
    // A program that knows nothing of captures costs nothing for them.
    require_program(&lab, "redirector")?;
    let mut capturing = Capturing::start(&lab, &agent, &inside, &[])?;
    let refused = agent.cli_output(&["capture", "--count", "1"])?;
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.contains("somebody captures already"), "{refused}");
    lab.connect(client, SHARED)?;
    ensure!(inside.matched()? > matched_before);
    require_program(&lab, "watched")?;
    capturing.child.kill()?;
    capturing.child.wait()?;
    let killed = Instant::now();
    wait_until("the capture to end", SOON, || {
        ensure!(inside.session()? == 0, "it has not");
        Ok(())
    })?;
    println!("over {:?} after its client was killed", killed.elapsed());
    wait_until("the other program", SOON, || {
        require_program(&lab, "redirector")
    })?;
    let matched_after = inside.matched()?;
    lab.connect(client, SHARED)?;
    ensure!(
        inside.matched()? == matched_after,
        "packets are looked at still"
    );
    // The next one is nobody's remainder.
    let text = agent.cli(&["capture", "--duration", "300ms", "--client", "192.0.2.0/24"])?;
    ensure!(text.is_empty(), "{text}");
    Ok(())
}

#[test]
fn a_killed_agent_s_capture_ends_with_the_next_packet() -> Result<()> {
    let (lab, mut agent, inside) = bring_up()?;
    let client = lab.clients()[0];
    let _capturing = Capturing::start(&lab, &agent, &inside, &[])?;
    let transfer = Transfer::start(lab.connect(client, SHARED)?)?;
    std::thread::sleep(Duration::from_millis(300));
    let matched_before = inside.matched()?;
    ensure!(matched_before > 0);
    agent.kill()?;
    wait_until("the capture to end", SOON, || {
        ensure!(inside.session()? == 0, "it has not");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(!transfer.is_broken(), "{:?}", transfer.report());
    require_program(&lab, "watched")?;
    agent.start_again()?;
    require_program(&lab, "redirector")?;
    ensure!(Inside::of(&agent)?.session()? == 0);
    std::thread::sleep(Duration::from_millis(200));
    let report = transfer.finish();
    ensure!(report.broken.is_none(), "{report:?}");
    Ok(())
}

#[test]
fn a_line_tells_a_packet() -> Result<()> {
    let (lab, agent, inside) = bring_up()?;
    let client = lab.clients()[0];
    let (node, address) = {
        let node = node_of(&agent, client)?;
        let address = node_address(&node)?;
        (node, address)
    };
    let asked = client.to_string();
    let arguments = ["capture", "--client", &asked, "--count", "4"];
    let text = std::thread::scope(|scope| {
        let agent = &agent;
        let capture = scope.spawn(move || agent.cli_output(&arguments));
        wait_until("the capture to begin", SOON, || {
            ensure!(inside.session()? != 0, "it has not");
            Ok(())
        })?;
        lab.connect(client, SHARED)?;
        capture
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let said = String::from_utf8_lossy(&text.stderr).into_owned();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    println!("{text}{said}");
    ensure!(text.lines().count() == 4, "{text}");
    ensure!(said.starts_with("4 captured of "), "{said}");
    ensure!(
        text.contains(&format!(" forward-settled {node} {client}:")),
        "{text}"
    );
    ensure!(
        text.contains(&format!(" > {SHARED} => {client}:")),
        "{text}"
    );
    ensure!(
        text.contains(&format!(" > {address}:1080 tcp [S] ")),
        "{text}"
    );
    Ok(())
}
