//! A relay of many redirects to a pool of 256 nodes, all of which are one host's.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_common::abi::{Backend, SLOTS, Slot};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::plan::{self, RELAY_INSIDE, VIP};
use redirector_tests::lab::{Lab, LabOptions, Netns, Topology, maps, metrics, wait_until};
use socket2::{Domain, Socket, Type};

pub(crate) const NODES: u16 = 256;
/// The first port of the shared address; each redirect has one.
const FIRST_PORT: u16 = 2000;
/// The nodes' port.
const NODE_PORT: u16 = 1081;
/// The first node's address. All of them are one host's, and each is a neighbour of its own to the relay.
const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 0);

pub(crate) fn node(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_NODE.to_bits() + u32::from(number))
}

/// Accepts what is opened to any address of a host, and greets who speaks SOCKS.
struct Responder {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Responder {
    fn start(host: &Netns, nodes: u16) -> Result<Self> {
        let listener = host.run(|| {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            listener.set_reuse_address(true)?;
            listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT)).into())?;
            // All checks of a start come at once.
            listener.listen(4 * i32::from(nodes))?;
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

fn configuration(redirects: u16, nodes: u16) -> String {
    let mut text = format!(
        "interfaces = [\"clients\", \"nodes\"]\nxdp-mode = \"native\"\nhash-key = \"the key of the lab\"\n\
         {}\n[pool.all]\nnodes = [\n",
        metrics::http_section()
    );
    // Writing to a string can't fail.
    for number in 0..nodes {
        let address = node(number);
        let _ = writeln!(
            text,
            "  {{ address = \"{address}\", name = \"n{number}\" }},"
        );
    }
    text.push_str("]\ncheck = \"tcp\"\n");
    for redirect in 0..redirects {
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
pub(crate) struct Scale {
    pub(crate) agent: Agent,
    _responder: Responder,
    pub(crate) lab: Lab,
    redirects: u16,
}

impl Scale {
    /// Brings everything up, and waits until all nodes are.
    pub(crate) fn bring_up(redirects: u16) -> Result<Self> {
        Self::with(redirects, NODES, "")
    }

    /// The same with more nodes, which are behind a router: the kernel has room for 1,024 neighbours, all namespaces of a
    /// machine together (`net.ipv4.neigh.default.gc_thresh3`).
    pub(crate) fn behind_a_router(redirects: u16, nodes: u16) -> Result<Self> {
        Self::with(redirects, nodes, &format!("via {}", plan::node_inside(0)))
    }

    /// `way` is how the relay's route reaches the nodes where they are no neighbours.
    fn with(redirects: u16, nodes: u16, way: &str) -> Result<Self> {
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
        lab.relay().ip(&format!(
            "route add {network} {way} dev nodes src {RELAY_INSIDE}"
        ))?;
        let responder = Responder::start(host, nodes)?;
        let agent = Agent::start(&lab, &configuration(redirects, nodes))?;
        let scale = Self {
            agent,
            _responder: responder,
            lab,
            redirects,
        };
        scale.wait_for_log("unknown -> up", nodes, Duration::from_secs(30))?;
        Ok(scale)
    }

    /// Waits until the log has said this so many times. To ask for all nodes of all redirects would take the agent longer.
    pub(crate) fn wait_for_log(&self, words: &str, times: u16, limit: Duration) -> Result<()> {
        let what = format!("`{words}` to be logged {times} times");
        wait_until(&what, limit, || {
            let seen = self.agent.log().matches(words).count();
            ensure!(seen == usize::from(times), "it was {seen} times");
            Ok(())
        })
    }

    /// CPU time that all threads of the agent have had so far (proc(5), schedstat: exact, where stat counts ticks).
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let process = self.agent.process().context("the agent has ended")?;
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // One that has ended meanwhile has nothing to add that would be compared.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let (on_cpu, _) = text.split_once(' ').context("no fields in schedstat")?;
            nanoseconds += on_cpu.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The agent's resident memory, MiB.
    pub(crate) fn memory(&self) -> Result<f64> {
        self.in_status("VmRSS:")
    }

    /// The most that it has been, MiB.
    pub(crate) fn peak_memory(&self) -> Result<f64> {
        self.in_status("VmHWM:")
    }

    fn in_status(&self, field: &str) -> Result<f64> {
        let process = self.agent.process().context("the agent has ended")?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let mut lines = status.lines();
        let resident = lines.find_map(|line| line.strip_prefix(field));
        let resident = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        Ok(resident.context("no such field")?.parse::<f64>()? / 1024.0)
    }

    /// What is scraped.
    pub(crate) fn scrape(&self) -> Result<String> {
        self.lab.relay().run(metrics::scrape)?
    }

    /// What the agent says that it has spent on working out tables and on bringing them into the kernel.
    pub(crate) fn spent(&self) -> Result<Duration> {
        let text = self.scrape()?;
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
    pub(crate) fn backend(&self, address: Ipv4Addr) -> Result<u16> {
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
    pub(crate) fn obeyed_after(
        &self,
        words: &[&str],
        backends: &[u16],
        take: bool,
    ) -> Result<Duration> {
        let start = Instant::now();
        self.agent.cli(words)?;
        let took = start.elapsed();
        for redirect in 0..self.redirects {
            let takes = self.takes_clients(redirect, backends)?;
            ensure!(takes == take, "{words:?}: not so for redirect {redirect}");
        }
        Ok(took)
    }

    /// Whether a client is served by way of a redirect.
    pub(crate) fn serves(&self, redirect: u16) -> Result<()> {
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
