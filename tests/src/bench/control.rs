//! The agent: how fast it notices a dead node, and how long changes take as pools grow.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{
    forwarding::{
        Variant,
        rig::{self, Rig},
    },
    report::{
        Plot, Section, Table,
        bars::{self, Bar, Group, Kind},
        lines::{self, Line, Titles},
    },
    rounds::Spread,
};
use crate::lab::{
    Lab, LabOptions, Topology,
    agent::{Agent, AgentConfig},
    plan::SHARED,
    wait_until,
};

/// Failovers with one interval of checks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failover {
    /// Milliseconds between checks.
    pub interval: u64,
    /// Milliseconds from a node's death until a client of it was served by another; one value of each.
    pub millis: Vec<f64>,
}

/// A reload to a pool of another size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// Nodes of each redirect's pool, nearly all new.
    pub nodes: usize,
    /// Redirects.
    pub redirects: usize,
    /// Milliseconds until `redirector reload` was done.
    pub millis: Vec<f64>,
    /// Milliseconds until all nodes were up and in the tables.
    pub until_up: Vec<f64>,
    /// The agent's resident memory after that, MiB.
    pub memory: f64,
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// By interval.
    pub failovers: Vec<Failover>,
    /// By size.
    pub reloads: Vec<Reload>,
}

/// Intervals between checks, milliseconds; the lab's checks may take 300.
const INTERVALS: [u64; 2] = [1000, 400];
/// Sizes of pools.
const NODES: [usize; 6] = [2, 8, 32, 128, 512, 1024];
/// Numbers of redirects.
const REDIRECTS: [usize; 3] = [4, 16, 64];
/// Nodes of the pools of many redirects.
const FEW_NODES: usize = 8;

/// Measures each failover and each reload `times` times.
///
/// # Errors
///
/// A lab can't be made, or the agent does not do what it should.
pub fn measure(times: usize) -> anyhow::Result<Report> {
    let failovers = INTERVALS.map(|interval| failovers(interval, times));
    let failovers = failovers.into_iter().collect::<anyhow::Result<_>>()?;
    Ok(Report {
        failovers,
        reloads: reloads(times)?,
    })
}

fn failovers(interval: u64, times: usize) -> anyhow::Result<Failover> {
    let topology = Topology::TwoArmed;
    let mut lab = Lab::new(topology, LabOptions::default())?;
    let mut config = AgentConfig::new(topology, 3);
    config.interval = format!("{interval}ms");
    let agent = Agent::start(&lab, &config.to_toml())?;
    let patience = Duration::from_secs(20);
    agent.wait_for_all(&config, patience)?;
    let client = *lab.clients().first().context("a lab without clients")?;
    let mut millis = Vec::new();
    for _ in 0..times {
        let home = lab.connect(client, SHARED)?.node;
        lab.kill_node(home)?;
        let died = Instant::now();
        let session = wait_until("another node to take over", patience, || {
            lab.connect_within(client, SHARED, Duration::from_millis(100))
        })?;
        millis.push(died.elapsed().as_secs_f64() * 1000.0);
        ensure!(session.node != home, "the dead node has answered");
        drop(session);
        lab.revive_node(home)?;
        agent.wait_for_all(&config, patience)?;
    }
    Ok(Failover { interval, millis })
}

fn reloads(times: usize) -> anyhow::Result<Vec<Reload>> {
    let rig = Rig::without_traffic(Variant::Native)?;
    let agent = rig.agent.as_ref().context("a rig without its agent")?;
    let sizes = NODES.map(|nodes| (nodes, 1)).into_iter();
    let sizes = sizes.chain(REDIRECTS.map(|redirects| (FEW_NODES, redirects)));
    let mut all = Vec::new();
    for (nodes, redirects) in sizes {
        let (mut millis, mut until_up) = (Vec::new(), Vec::new());
        for _ in 0..times {
            // From a pool of one, so that all others are new.
            agent.reload(&rig::configuration(&["clients", "nodes"], "native", 1, 1))?;
            let config = rig::configuration(&["clients", "nodes"], "native", nodes, redirects);
            let start = Instant::now();
            agent.reload(&config)?;
            millis.push(start.elapsed().as_secs_f64() * 1000.0);
            wait_until("all nodes to be up", Duration::from_secs(60), || {
                let up = count_up(&agent.show("nodes")?);
                let wanted = nodes * redirects;
                ensure!(up >= wanted, "{up} of {wanted} are");
                Ok(())
            })?;
            until_up.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        all.push(Reload {
            nodes,
            redirects,
            millis,
            until_up,
            memory: agent.process().and_then(memory_of).unwrap_or(0.0),
        });
    }
    Ok(all)
}

/// How often `show nodes` says that one is up.
fn count_up(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let up = ["health", "state", "status"]
                .iter()
                .any(|key| fields.get(*key).and_then(Value::as_str) == Some("up"));
            usize::from(up) + fields.values().map(count_up).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count_up).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A process's resident memory, MiB.
fn memory_of(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

impl Report {
    /// Tables and plots.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut failovers = Table::new([
            "checks every",
            "served by another node after",
            "(lowest – highest)",
            "times",
        ]);
        let mut bars = Vec::new();
        for failover in &self.failovers {
            let spread = Spread::of(failover.millis.iter().copied());
            let low = failover
                .millis
                .iter()
                .copied()
                .fold(f64::INFINITY, f64::min);
            let high = failover.millis.iter().copied().fold(0.0, f64::max);
            failovers.add([
                format!("{} ms", failover.interval),
                format!("{:.0} ms", spread.median),
                format!("{low:.0} – {high:.0}"),
                failover.millis.len().to_string(),
            ]);
            bars.push(Bar {
                name: format!("checks every {} ms", failover.interval),
                value: spread.median,
                between: Some((low, high)),
                text: format!("{:.0} ms", spread.median),
                kind: Kind::Ours,
            });
        }
        let mut reloads = Table::new([
            "reload to",
            "redirects",
            "done, ms",
            "all nodes up, ms",
            "agent's memory, MiB",
        ]);
        let median = |values: &[f64]| Spread::of(values.iter().copied()).median;
        for reload in &self.reloads {
            reloads.add([
                format!("{} nodes for each redirect", reload.nodes),
                reload.redirects.to_string(),
                format!("{:.0}", median(&reload.millis)),
                format!("{:.0}", median(&reload.until_up)),
                format!("{:.0}", reload.memory),
            ]);
        }
        let line = |name: &str, pick: fn(&Reload) -> &[f64]| Line {
            name: name.to_owned(),
            points: self
                .reloads
                .iter()
                .filter(|reload| reload.redirects == 1)
                .map(|reload| (reload.nodes as f64, median(pick(reload))))
                .collect(),
        };
        let lines = [
            line("reload is done", |reload| &reload.millis),
            line("all nodes checked and up", |reload| &reload.until_up),
        ];
        let group = Group {
            name: "from the death of a node's host until its client is served by another"
                .to_owned(),
            bars,
        };
        Ok(Section {
            title: "The agent",
            conditions: "Real Dante nodes in the lab for failovers: the node's host vanishes without a word, its client tries again and again. \
                         For reloads the nodes are addresses of one host that accepts connections; every node but one is new. Native mode over veth."
                .to_owned(),
            plots: vec![
                Plot {
                    name: "failover",
                    svg: bars::draw("Time to serve a dead node's clients elsewhere", "Shorter is better. The line is from the quickest to the slowest.", &[group])?,
                },
                Plot {
                    name: "reload",
                    svg: lines::draw(
                        Titles {
                            title: "Reloading to a pool of new nodes",
                            across: "nodes in the pool",
                            upwards: "milliseconds",
                        },
                        &lines,
                    )?,
                },
            ],
            tables: vec![failovers, reloads],
            notes: Vec::new(),
        })
    }
}
