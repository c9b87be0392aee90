//! Bulk data of kernel sockets over veth, where segmentation is left to the device: how much of it a relay lets through.
//!
//! Each way has a lab of its own with everything on that Linux has on by default (TSO, GSO, checksums left to the device; GRO
//! beside that), and all take turns: so many bytes in a given time from clients to nodes and back, and SOCKS connections
//! through Dante. Clients and nodes speak TCP with each other here, without Dante between them, which would be most of the cost.

mod traffic;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    connections::{BULK_PORT, NODES, Setting, Way},
    report::{
        Plot, Section, Table,
        bars::{self, Bar, Group, Kind},
    },
    rounds::Spread,
};
use crate::lab::{
    Links,
    agent::Agent,
    plan::{VIP, node_inside},
};
use traffic::{Direction, STREAMS, Server};

/// What is compared. `HAProxy` ends connections itself, which is another trade.
const WAYS: [Way; 5] = [
    Way::Kernel,
    Way::Native,
    Way::Generic,
    Way::Tc,
    Way::Nftables,
];

/// What was measured of a way, one value of each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The way.
    pub way: Way,
    /// From clients to nodes, Gbit/s.
    pub up: Vec<f64>,
    /// From nodes to clients, Gbit/s.
    pub down: Vec<f64>,
    /// SOCKS connections per second.
    pub connections: Vec<f64>,
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One row for each way.
    pub rows: Vec<Row>,
    /// How long data flowed in each direction of each round, milliseconds.
    pub period: u64,
    /// Rounds.
    pub rounds: usize,
}

/// A lab with a way in it, and servers at its nodes. The fields are in the order in which they must go.
struct Bulk {
    _servers: Vec<Server>,
    setting: Setting,
}

impl Bulk {
    fn new(way: Way) -> anyhow::Result<Self> {
        // Generic XDP drops what is larger than the MTU.
        let links = Links {
            segmentation: way != Way::Generic,
            partial_checksums: true,
            ..Links::default()
        };
        let setting = Setting::with(way, links, |lab, config| {
            let nodes: Vec<_> = (0..NODES)
                .map(|node| format!("\"{}\"", node_inside(node)))
                .collect();
            let toml = format!(
                "{}\n[pool.bulk]\nnodes = [{}]\ncheck = {{ type = \"tcp\", port = 1080 }}\n\n[redirect.bulk]\n\
                 listen = [\"{VIP}:{BULK_PORT}\"]\nforward-to = {{ pool = \"bulk\", port = {BULK_PORT}, mode = \"source-hash\" }}\n",
                config.to_toml(),
                nodes.join(", "),
            );
            Agent::start(lab, &toml)
        })?;
        let servers = (0..NODES)
            .map(|node| Server::start(setting.lab.node_host(node)?, node_inside(node), BULK_PORT))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            _servers: servers,
            setting,
        })
    }

    fn rate(&self, direction: Direction, period: Duration) -> anyhow::Result<f64> {
        let server = |client| {
            let mut server = self.setting.proxy(client);
            server.set_port(BULK_PORT);
            server
        };
        traffic::rate(self.setting.lab.client_host(), server, direction, period)
    }
}

/// Measures all ways in turn, `rounds` times, for `period` in each direction and with so many connections.
///
/// # Errors
///
/// A lab can't be made, or a way lets nothing through.
pub fn measure(rounds: usize, period: Duration, connections: usize) -> anyhow::Result<Report> {
    let mut rows = Vec::new();
    for way in WAYS {
        let bulk = Bulk::new(way)
            .map_err(|error| error.context(format!("cannot bring up {}", way.name())))?;
        let row = Row {
            way,
            up: Vec::new(),
            down: Vec::new(),
            connections: Vec::new(),
        };
        rows.push((bulk, row));
    }
    // The first round warms up and is thrown away.
    for round in 0..=rounds {
        for (bulk, row) in &mut rows {
            let failed = |error: anyhow::Error| error.context(row.way.name());
            let up = bulk.rate(Direction::Up, period).map_err(failed)?;
            let down = bulk.rate(Direction::Down, period).map_err(failed)?;
            let rate = bulk.setting.rate(connections).map_err(failed)?;
            if round > 0 {
                row.up.push(up);
                row.down.push(down);
                row.connections.push(rate);
            }
        }
    }
    Ok(Report {
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        period: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
        rounds,
    })
}

/// What a row is about, for tables and plots.
type Measure = (&'static str, fn(&Row) -> &[f64]);

const MEASURES: [Measure; 3] = [
    ("clients to nodes, Gbit/s", |row| &row.up),
    ("nodes to clients, Gbit/s", |row| &row.down),
    ("SOCKS connections per second", |row| &row.connections),
];

impl Report {
    /// Bytes from clients to nodes by one way against those by another.
    pub fn up(&self, way: Way, against: Way) -> Option<Spread> {
        self.ratio(way, against, |row| &row.up)
    }

    /// The same from nodes to clients.
    pub fn down(&self, way: Way, against: Way) -> Option<Spread> {
        self.ratio(way, against, |row| &row.down)
    }

    fn ratio(&self, way: Way, against: Way, of: fn(&Row) -> &[f64]) -> Option<Spread> {
        let row = |way| self.rows.iter().find(|row| row.way == way);
        Some(Spread::of_ratios(of(row(way)?), of(row(against)?)))
    }

    /// Table and plot.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut tables = Vec::new();
        let mut groups = Vec::new();
        for (name, of) in MEASURES {
            let mut table = Table::new([name, "", "of kernel forwarding", "(quartiles)"]);
            let mut bars = Vec::new();
            for row in &self.rows {
                let Some(share) = self.ratio(row.way, Way::Kernel, of) else {
                    continue;
                };
                let value = Spread::of(of(row).iter().copied());
                let shown = if value.median < 100.0 {
                    format!("{:.1}", value.median)
                } else {
                    format!("{:.0}", value.median)
                };
                let percent = format!("{:.0} %", share.median * 100.0);
                table.add([
                    row.way.name().to_owned(),
                    shown.clone(),
                    percent.clone(),
                    format!("{:.0} – {:.0}", share.low * 100.0, share.high * 100.0),
                ]);
                bars.push(Bar {
                    name: row.way.name().to_owned(),
                    value: share.median,
                    between: Some((share.low, share.high)),
                    text: format!("{percent}; {shown}"),
                    kind: if row.way.is_ours() {
                        Kind::Ours
                    } else {
                        Kind::Rival
                    },
                });
            }
            tables.push(table);
            groups.push(Group {
                name: name.to_owned(),
                bars,
            });
        }
        Ok(Section {
            title: "Bulk data over veth",
            conditions: format!(
                "{NODES} nodes; {STREAMS} streams at a time, {} ms in each direction, and SOCKS connections through Dante; {} rounds; each \
                 way in a lab of its own: kernel sockets over veth and bridges in namespaces of one machine, MTU 1500, with tx, \
                 tso, gso and gro on everywhere; for the redirector in generic mode without tso, gso and gro, which it needs.",
                self.period, self.rounds
            ),
            plots: vec![Plot {
                name: "bulk",
                svg: bars::draw(
                    "What a relay lets through where segmentation is left to the device",
                    "Longer is better: shares of what the kernel forwards without any redirection.",
                    &groups,
                )?,
            }],
            tables,
            notes: vec![
                "Not the picture of a NIC: there XDP gets what the wire carries, and nobody could have left it larger.".to_owned(),
            ],
        })
    }
}
