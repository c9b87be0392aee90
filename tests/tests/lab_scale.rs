//! 256 nodes in a pool that 64 redirects share: changes are made at once, and in between the agent takes next to nothing.
#![cfg(feature = "lab")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};
use redirector_common::abi::{Backend, SLOTS, Slot};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::plan::{RELAY_INSIDE, VIP};
use redirector_tests::lab::{Lab, LabOptions, Netns, Topology, maps, wait_until};
use socket2::{Domain, Socket, Type};

const NODES: u16 = 256;
const REDIRECTS: u16 = 64;
/// The first port of the shared address; each redirect has one.
const FIRST_PORT: u16 = 2000;
/// The nodes' port.
const NODE_PORT: u16 = 1081;
/// The first node's address. All of them are one host's, and each is a neighbour of its own to the relay.
const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 0);
const METRICS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9180);

/// What there is to be met.
const CHANGED_WITHIN: Duration = Duration::from_millis(200);
const IDLE_PERCENT: f64 = 1.0;
const MEMORY_MIB: f64 = 64.0;

fn node(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_NODE.to_bits() + u32::from(number))
}

/// Accepts what is opened to any address of a host, and greets who speaks SOCKS.
struct Responder {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Responder {
    fn start(host: &Netns) -> Result<Self> {
        let listener = host.run(|| {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            listener.set_reuse_address(true)?;
            listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT)).into())?;
            // All checks of a start come at once.
            listener.listen(4 * i32::from(NODES))?;
            listener.set_read_timeout(Some(Duration::from_millis(100)))?;
            anyhow::Ok(listener)
        })??;
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ends);
        let thread = host.spawn("responder", move || {
            while !asked.load(Ordering::Relaxed) {
                if let Ok((connection, _)) = listener.accept() {
                    // Whoever has gone already did not want to hear it.
                    let _ = greet(connection.into());
                }
            }
            Ok(())
        })?;
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn greet(mut client: TcpStream) -> Result<()> {
    client.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut greeting = [0; 3];
    client.read_exact(&mut greeting)?;
    Ok(client.write_all(&[5, 0])?)
}

fn configuration() -> String {
    let mut text = format!(
        "interfaces = [\"clients\", \"nodes\"]\nxdp-mode = \"native\"\nhash-key = \"the key of the lab\"\n\n\
         [http]\nlisten = \"{}:{}\"\n\n[pool.all]\nnodes = [\n",
        METRICS.0, METRICS.1
    );
    // Writing to a string can't fail.
    for number in 0..NODES {
        let address = node(number);
        let _ = writeln!(
            text,
            "  {{ address = \"{address}\", name = \"n{number}\" }},"
        );
    }
    text.push_str("]\ncheck = \"tcp\"\n");
    for redirect in 0..REDIRECTS {
        let port = FIRST_PORT + redirect;
        let _ = write!(
            text,
            "\n[redirect.r{redirect}]\nlisten = [\"{VIP}:{port}\"]\n\
             forward-to = {{ pool = \"all\", port = {NODE_PORT} }}\n"
        );
    }
    text
}

/// A relay at work. The fields are in the order in which they must go.
struct Scale {
    agent: Agent,
    _responder: Responder,
    lab: Lab,
}

impl Scale {
    /// Brings everything up, and waits until all nodes are.
    fn bring_up() -> Result<Self> {
        let options = LabOptions {
            nodes: 1,
            on_link_clients: 1,
            far_clients: 0,
            ..LabOptions::default()
        };
        let lab = Lab::new(Topology::TwoArmed, options)?;
        let host = lab.node_host(0)?;
        let network = "10.9.0.0/16";
        host.ip(&format!("route add local {network} dev lo"))?;
        lab.relay()
            .ip(&format!("route add {network} dev nodes src {RELAY_INSIDE}"))?;
        let responder = Responder::start(host)?;
        let agent = Agent::start(&lab, &configuration())?;
        let scale = Self {
            agent,
            _responder: responder,
            lab,
        };
        scale.wait_for_log("unknown -> up", NODES, Duration::from_secs(30))?;
        Ok(scale)
    }

    /// Waits until the log has said this so many times. To ask for all nodes of all redirects would take the agent longer.
    fn wait_for_log(&self, words: &str, times: u16, limit: Duration) -> Result<()> {
        let what = format!("`{words}` to be logged {times} times");
        wait_until(&what, limit, || {
            let seen = self.agent.log().matches(words).count();
            ensure!(seen == usize::from(times), "it was {seen} times");
            Ok(())
        })
    }

    /// CPU time that the agent has had so far.
    fn cpu(&self) -> Result<Duration> {
        let process = self.agent.process().context("the agent has ended")?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name, in parentheses, may hold anything; user and system time are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = fields[11].parse::<u32>()? + fields[12].parse::<u32>()?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
        Ok(Duration::from_secs_f64(
            f64::from(ticks) / per_second as f64,
        ))
    }

    /// The agent's resident memory, MiB.
    fn memory(&self) -> Result<f64> {
        let process = self.agent.process().context("the agent has ended")?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let mut lines = status.lines();
        let resident = lines.find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        Ok(resident.context("no VmRSS")?.parse::<f64>()? / 1024.0)
    }

    /// What the agent says that it has spent on working out tables and on bringing them into the kernel.
    fn spent(&self) -> Result<Duration> {
        let mut text = String::new();
        self.lab.relay().run(|| {
            let mut stream = TcpStream::connect(METRICS)?;
            stream.write_all(
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            )?;
            stream.read_to_string(&mut text)?;
            anyhow::Ok(())
        })??;
        let mut seconds = 0.0;
        for what in ["rebuild", "apply"] {
            let name = format!("redirector_{what}_duration_seconds_sum ");
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(&name));
            seconds += value.context(name.clone())?.parse::<f64>()?;
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    /// The number of a node's entry in the kernel's map of backends.
    fn backend(&self, address: Ipv4Addr) -> Result<u16> {
        let backends = maps::backends(&self.agent)?;
        for id in 1..=2 * NODES {
            let bytes = backends.get(&u32::from(id), 0)?;
            let backend: Backend = bytemuck::pod_read_unaligned(&bytes);
            if backend.is_set() && backend.ip() == IpAddr::from(address) {
                return Ok(id);
            }
        }
        anyhow::bail!("the kernel has no backend at {address}")
    }

    /// Whether new connections go to one of these backends, by the kernel's table of a redirect.
    fn takes_clients(&self, redirect: u16, backends: &[u16]) -> Result<bool> {
        let table = maps::slot_table(&self.agent, u32::from(redirect))?;
        let slots = &table[table.len() - size_of::<[Slot; SLOTS]>()..];
        let slots = slots.chunks_exact(size_of::<Slot>());
        let mut now = slots.map(|slot| bytemuck::pod_read_unaligned::<Slot>(slot).now);
        Ok(now.any(|now| backends.contains(&now)))
    }

    /// How long it takes until a word of the operator is obeyed: when it is, these backends take clients by the kernel's
    /// tables of all redirects, or don't.
    fn obeyed_after(&self, words: &[&str], backends: &[u16], take: bool) -> Result<Duration> {
        let start = Instant::now();
        self.agent.cli(words)?;
        let took = start.elapsed();
        for redirect in 0..REDIRECTS {
            let takes = self.takes_clients(redirect, backends)?;
            ensure!(takes == take, "{words:?}: not so for redirect {redirect}");
        }
        Ok(took)
    }

    /// Whether a client is served by way of a redirect.
    fn serves(&self, redirect: u16) -> Result<()> {
        let client = self.lab.clients()[0];
        self.lab.host_of_client(client).run(|| {
            let shared = SocketAddr::from((VIP, FIRST_PORT + redirect));
            let mut stream = TcpStream::connect_timeout(&shared, Duration::from_millis(100))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(&[5, 1, 0])?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer)?;
            ensure!(answer == [5, 0], "{answer:?}");
            Ok(())
        })?
    }
}

fn millis(durations: &[Duration]) -> String {
    let texts = durations.iter().map(|took| took.as_millis().to_string());
    texts.collect::<Vec<_>>().join(", ")
}

fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn an_idle_agent_of_64_redirects_to_256_nodes_takes_a_percent_of_a_core_and_64_mebibytes_at_most()
-> Result<()> {
    const WINDOW: Duration = Duration::from_secs(10);
    let scale = Scale::bring_up()?;
    for redirect in 0..REDIRECTS {
        wait_until("the redirects to serve", Duration::from_secs(5), || {
            scale.serves(redirect)
        })?;
    }
    // From the second check on the nodes take turns.
    sleep(Duration::from_secs(6));
    let memory = scale.memory()?;
    let mut percents = Vec::new();
    for _ in 0..3 {
        let before = scale.cpu()?;
        sleep(WINDOW);
        let took = scale.cpu()?.saturating_sub(before);
        percents.push(100.0 * took.as_secs_f64() / WINDOW.as_secs_f64());
    }
    println!("idle: {percents:.2?} % of a core, {memory:.1} MiB");
    // Whoever else uses the machine makes the same work take longer, never less.
    let least = percents.iter().copied().fold(f64::INFINITY, f64::min);
    ensure!(least <= IDLE_PERCENT, "{percents:?} % of a core");
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    let log = scale.agent.log();
    ensure!(!log.contains("up -> down"), "checks have failed:\n{log}");
    Ok(())
}

#[test]
fn what_an_operator_says_of_a_node_or_of_all_is_in_the_tables_of_64_redirects_within_200_ms()
-> Result<()> {
    const ROUNDS: usize = 7;
    let scale = Scale::bring_up()?;
    let all: Vec<u16> = (0..NODES)
        .map(|number| scale.backend(node(number)))
        .collect::<Result<_>>()?;
    for (kind, name, backends) in [("node", "n7", &all[7..=7]), ("pool", "all", &all[..])] {
        let (mut obeyed, mut spent) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (verb, take) in [("disable", false), ("enable", true)] {
                let before = scale.spent()?;
                obeyed.push(scale.obeyed_after(&[kind, verb, name], backends, take)?);
                spent.push(scale.spent()?.saturating_sub(before));
            }
        }
        println!(
            "{kind}: in all tables after {} ms, of which the agent has worked {} ms",
            millis(&obeyed),
            millis(&spent)
        );
        for (what, took) in [
            ("obeyed after", median(&obeyed)),
            ("worked for", median(&spent)),
        ] {
            ensure!(took <= CHANGED_WITHIN, "{kind}: {what} {took:?}");
        }
    }
    wait_until("the last redirect to serve", Duration::from_secs(5), || {
        scale.serves(REDIRECTS - 1)
    })?;
    let memory = scale.memory()?;
    println!("{memory:.1} MiB after all of that");
    ensure!(memory <= MEMORY_MIB, "{memory} MiB");
    Ok(())
}

#[test]
fn of_256_nodes_the_dead_one_is_left_within_a_second_of_its_clients_asking() -> Result<()> {
    const ROUNDS: u16 = 5;
    let scale = Scale::bring_up()?;
    let client = scale.lab.clients()[0].to_string();
    let host = scale.lab.node_host(0)?;
    let mut left = Vec::new();
    for redirect in 0..ROUNDS {
        let explained = scale
            .agent
            .cli(&["explain", "--client", &client, "--json"])?;
        let explained: serde_json::Value = serde_json::from_str(&explained)?;
        let name = explained["redirects"][0]["now"]
            .as_str()
            .context("nobody")?;
        let number: u16 = name.trim_start_matches('n').parse()?;
        // In the table that the other addresses are in, before them.
        let dies = format!("blackhole {} table local", node(number));
        host.ip(&format!("route add {dies}"))?;
        let died = Instant::now();
        wait_until("another node to serve", Duration::from_secs(4), || {
            scale.serves(redirect)
        })?;
        left.push(died.elapsed());
        host.ip(&format!("route del {dies}"))?;
        scale.wait_for_log("down -> up", redirect + 1, Duration::from_secs(12))?;
    }
    println!("left after {} ms", millis(&left));
    let median = median(&left);
    ensure!(median < Duration::from_secs(1), "the median is {median:?}");
    Ok(())
}
