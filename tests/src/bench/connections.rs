//! SOCKS connections through real Dante nodes: how many per second, and how long each takes.
//!
//! Each way has a lab of its own, with its own relay and its own nodes, and all take turns. A connection is: TCP to the
//! proxy, greeting and CONNECT in one segment, the proxy's two answers. Kernel sockets over veth are at both ends, and
//! three quarters of the time are theirs and Dante's: what is compared is what a relay adds.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::{
    haproxy::Haproxy,
    report::{
        Plot, Section, Table,
        bars::{self, Bar, Group, Kind},
    },
    rounds::Spread,
    target::Discarding,
};
use crate::lab::{
    Lab, LabOptions, Links, Netns, Topology,
    agent::{Agent, AgentConfig},
    kernel_nat,
    plan::{SHARED, SOCKS_PORT, TARGET, node_inside, on_link_client},
    socks::connect_from,
};

/// The way from clients to Dante.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// To the node's own address, which the relay forwards.
    Kernel,
    /// The redirector in native mode.
    Native,
    /// The redirector in generic mode.
    Generic,
    /// The redirector by tc.
    Tc,
    /// nftables, `dnat to jhash ip saddr`.
    Nftables,
    /// `HAProxy`, `balance source`.
    Haproxy,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Kernel,
        Self::Native,
        Self::Generic,
        Self::Tc,
        Self::Nftables,
        Self::Haproxy,
    ];

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel forwarding, no NAT",
            Self::Native => "redirector, native",
            Self::Generic => "redirector, generic",
            Self::Tc => "redirector, tc",
            Self::Nftables => "nftables DNAT jhash",
            Self::Haproxy => "HAProxy, balance source",
        }
    }

    /// Whether it is the product.
    pub fn is_ours(self) -> bool {
        self.xdp_mode().is_some()
    }

    /// How the product is attached.
    fn xdp_mode(self) -> Option<&'static str> {
        match self {
            Self::Native => Some("native"),
            Self::Generic => Some("generic"),
            Self::Tc => Some("tc"),
            Self::Kernel | Self::Nftables | Self::Haproxy => None,
        }
    }
}

/// What was measured of a way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The way.
    pub way: Way,
    /// Connections per second, one value of each round.
    pub rates: Vec<f64>,
    /// Milliseconds that half, 90, 99 and 99.9 of a hundred connections took at most, of all rounds.
    pub latencies: [f64; 4],
    /// Connections that failed.
    pub failed: u64,
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One row for each way.
    pub rows: Vec<Row>,
    /// Ways that could not be measured, and why.
    pub missing: Vec<(Way, String)>,
    /// What the nodes run.
    pub server: String,
    /// Connections of each way in each round.
    pub connections: usize,
    /// Rounds.
    pub rounds: usize,
}

/// Clients that connect at the same time.
const WORKERS: usize = 8;
/// Nodes of each lab.
pub(super) const NODES: usize = 2;
/// The port of [`super::bulk`].
pub(super) const BULK_PORT: u16 = 5001;
/// No connection may take longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A lab with one of the ways in it. The fields are in the order in which they must go.
pub(super) struct Setting {
    pub(super) way: Way,
    _agent: Option<Agent>,
    _haproxy: Option<Haproxy>,
    _target: Discarding,
    pub(super) lab: Lab,
}

impl Setting {
    pub(super) fn new(way: Way) -> anyhow::Result<Self> {
        Self::with(way, Links::default(), |lab, config| {
            Agent::start(lab, &config.to_toml())
        })
    }

    /// The same with such cables, and an agent that is started so.
    pub(super) fn with(
        way: Way,
        links: Links,
        start: impl FnOnce(&Lab, &AgentConfig) -> anyhow::Result<Agent>,
    ) -> anyhow::Result<Self> {
        if way == Way::Haproxy {
            Haproxy::check()?;
        }
        let topology = Topology::TwoArmed;
        let options = LabOptions {
            nodes: NODES,
            links,
            ..LabOptions::default()
        };
        let lab = Lab::new(topology, options)?;
        let target = Discarding::start(lab.target_host(), TARGET, WORKERS)?;
        let (mut agent, mut haproxy) = (None, None);
        match way {
            Way::Kernel => {}
            Way::Native | Way::Generic | Way::Tc => {
                let mut config = AgentConfig::new(topology, NODES);
                config.xdp_mode = way.xdp_mode().context("not ours")?;
                "5s".clone_into(&mut config.interval);
                let running = start(&lab, &config)?;
                running.wait_for_all(&config, Duration::from_secs(20))?;
                agent = Some(running);
            }
            Way::Nftables => {
                kernel_nat::redirect_ports(lab.relay(), &[SOCKS_PORT, BULK_PORT], NODES)?;
            }
            Way::Haproxy => {
                let nodes: Vec<_> = (0..NODES).map(node_inside).collect();
                haproxy = Some(Haproxy::start(&lab, &nodes)?);
            }
        }
        Ok(Self {
            way,
            _agent: agent,
            _haproxy: haproxy,
            _target: target,
            lab,
        })
    }

    /// Where the client with this number connects to.
    pub(super) fn proxy(&self, client: usize) -> SocketAddrV4 {
        match self.way {
            Way::Kernel => SocketAddrV4::new(node_inside(client % NODES), SOCKS_PORT),
            Way::Native | Way::Generic | Way::Tc | Way::Nftables | Way::Haproxy => SHARED,
        }
    }

    /// So many SOCKS connections in all: how many of them there were per second.
    pub(super) fn rate(&self, connections: usize) -> anyhow::Result<f64> {
        let start = Instant::now();
        let (took, _) = self.connect(TIMEOUT, |tried| tried >= connections / WORKERS)?;
        Ok(took.len() as f64 / start.elapsed().as_secs_f64())
    }

    /// Lets all workers connect until `enough` says so of the connections that one of them has tried; gives the time that
    /// each successful connection took, and the number of failed ones.
    pub(super) fn connect(
        &self,
        timeout: Duration,
        enough: impl Fn(usize) -> bool + Sync,
    ) -> anyhow::Result<(Vec<Duration>, u64)> {
        let enough = &enough;
        let host: &Netns = self.lab.client_host();
        let results: Vec<anyhow::Result<(Vec<Duration>, u64)>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    scope.spawn(move || {
                        host.run(|| {
                            let (mut took, mut failed, mut tried) = (Vec::new(), 0, 0);
                            while !enough(tried) {
                                let client = worker + WORKERS * (tried % 4);
                                let from = on_link_client(client);
                                let start = Instant::now();
                                match connect_once(from, self.proxy(client), worker, timeout) {
                                    Ok(()) => took.push(start.elapsed()),
                                    Err(_) => failed += 1,
                                }
                                tried += 1;
                            }
                            (took, failed)
                        })
                    })
                })
                .collect();
            let joined = workers.into_iter().map(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        });
        let (mut took, mut failed) = (Vec::new(), 0);
        for result in results {
            let (times, failures) = result?;
            took.extend(times);
            failed += failures;
        }
        Ok((took, failed))
    }
}

/// Greeting without a login, and CONNECT (RFC 1928), as one segment.
fn connect_once(
    from: Ipv4Addr,
    proxy: SocketAddrV4,
    worker: usize,
    timeout: Duration,
) -> anyhow::Result<()> {
    let mut stream = connect_from(from, proxy, timeout)?;
    // Nobody waits for the other's last word, or ports would run out.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut request = vec![5, 1, 0, 5, 1, 0, 1];
    request.extend(TARGET.octets());
    request.extend(Discarding::port(worker).to_be_bytes());
    stream.write_all(&request)?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(
        answer[..4] == [5, 0, 5, 0],
        "the proxy answered {answer:02x?}"
    );
    Ok(())
}

/// Measures all ways in turn, `rounds` times, with `connections` connections each.
///
/// # Errors
///
/// A lab can't be made; or the product, or kernel forwarding, can't be measured.
pub fn measure(rounds: usize, connections: usize) -> anyhow::Result<Report> {
    let (mut settings, mut missing) = (Vec::new(), Vec::new());
    for way in Way::ALL {
        match Setting::new(way) {
            Ok(setting) => settings.push(setting),
            Err(error) if way.is_ours() || way == Way::Kernel => {
                return Err(error.context(format!("cannot bring up {}", way.name())));
            }
            Err(error) => missing.push((way, format!("{error:#}"))),
        }
    }
    let server = LabOptions::default().server.to_string();
    let mut rates = vec![Vec::new(); settings.len()];
    let mut times = vec![Vec::new(); settings.len()];
    let mut failures = vec![0; settings.len()];
    // The first round warms up and is thrown away.
    for round in 0..=rounds {
        for (number, setting) in settings.iter().enumerate() {
            let start = Instant::now();
            let (took, failed) =
                setting.connect(TIMEOUT, |tried| tried >= connections / WORKERS)?;
            let seconds = start.elapsed().as_secs_f64();
            ensure!(!took.is_empty(), "no connection by {}", setting.way.name());
            if round > 0 {
                rates[number].push(took.len() as f64 / seconds);
                times[number].extend(took);
                failures[number] += failed;
            }
        }
    }
    let rows = settings.iter().zip(rates).zip(times).zip(failures);
    let rows = rows.map(|(((setting, rates), times), failed)| Row {
        way: setting.way,
        rates,
        latencies: latencies(times),
        failed,
    });
    Ok(Report {
        rows: rows.collect(),
        missing,
        server,
        connections,
        rounds,
    })
}

/// Milliseconds: the median, and what 90, 99 and 99.9 of a hundred keep.
fn latencies(mut times: Vec<Duration>) -> [f64; 4] {
    times.sort();
    [500, 900, 990, 999].map(|thousandth| {
        let place = (times.len() * thousandth / 1000).min(times.len().saturating_sub(1));
        times
            .get(place)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    })
}

impl Report {
    fn row(&self, way: Way) -> Option<&Row> {
        self.rows.iter().find(|row| row.way == way)
    }

    /// Connections per second against kernel forwarding.
    pub fn against_kernel(&self, way: Way) -> Option<Spread> {
        Some(Spread::of_ratios(
            &self.row(way)?.rates,
            &self.row(Way::Kernel)?.rates,
        ))
    }

    /// Table and plot.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut table = Table::new([
            "connections through Dante",
            "per second",
            "of kernel forwarding",
            "(quartiles)",
            "median ms",
            "90 %",
            "99 %",
            "99.9 %",
            "failed",
        ]);
        let mut bars = Vec::new();
        for row in &self.rows {
            let Some(share) = self.against_kernel(row.way) else {
                continue;
            };
            let rate = Spread::of(row.rates.iter().copied());
            let ms = row.latencies.map(|time| format!("{time:.2}"));
            let [median, p90, p99, p999] = ms;
            table.add([
                row.way.name().to_owned(),
                format!("{:.0}", rate.median),
                format!("{:.0} %", share.median * 100.0),
                format!("{:.0} – {:.0}", share.low * 100.0, share.high * 100.0),
                median.clone(),
                p90,
                p99.clone(),
                p999,
                row.failed.to_string(),
            ]);
            bars.push(Bar {
                name: row.way.name().to_owned(),
                value: share.median,
                between: Some((share.low, share.high)),
                text: format!("{:.0} %; {median} ms, 99 %: {p99} ms", share.median * 100.0),
                kind: if row.way.is_ours() {
                    Kind::Ours
                } else {
                    Kind::Rival
                },
            });
        }
        let missing = self.missing.iter();
        let mut notes: Vec<_> = missing
            .map(|(way, why)| format!("{} was not measured: {why}.", way.name()))
            .collect();
        notes.push(
            "Over veth, kernel sockets and Dante itself are most of the cost. With bulk data native XDP loses there what it wins on a \
             NIC, since veth gives up segmentation offload (TSO) for it; connections carry too little data to show that."
                .to_owned(),
        );
        let group = Group {
            name: "SOCKS connections per second, against kernel forwarding without any relay"
                .to_owned(),
            bars,
        };
        Ok(Section {
            title: "Connections through Dante",
            conditions: format!(
                "{}; {NODES} nodes; {WORKERS} clients at a time; {} rounds of {} connections for each way, each in a lab of its own: kernel \
                 sockets over veth and bridges in namespaces of one machine, MTU 1500, tx, tso, gso and gro off everywhere.",
                self.server, self.rounds, self.connections
            ),
            plots: vec![Plot {
                name: "connections",
                svg: bars::draw(
                    "What a relay costs between clients and Dante",
                    "Longer is better: connections per second. Beside it what half of them, and 99 of 100, took at most.",
                    &[group],
                )?,
            }],
            tables: vec![table],
            notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (1..=1000).rev().map(Duration::from_millis).collect();
        assert_eq!(latencies(times), [501.0, 901.0, 991.0, 1000.0]);
        assert!(latencies(Vec::new())[0].is_nan());
    }
}
