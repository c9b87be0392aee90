//! Real connections while a SYN flood runs.
//!
//! The flood comes from the clients' router at full speed, from invented addresses, on the machine that everything
//! else runs on, too: clients, relay and nodes share its processors with whoever floods them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    connections::{Setting, Way},
    report::{
        Plot, Section, Table,
        bars::{self, Bar, Group, Kind},
    },
};
use crate::lab::{Transfer, flood::Flood, plan::SHARED};

/// What a way did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The way.
    pub way: Way,
    /// Connections per second without the flood.
    pub calm: f64,
    /// Connections per second with it.
    pub flooded: f64,
    /// Connections that were tried during the flood, and how many of them failed.
    pub tried: (u64, u64),
    /// SYNs per second that the flood sent.
    pub flood: f64,
    /// Established connections, and how many of them broke.
    pub established: (usize, usize),
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One row for each way.
    pub rows: Vec<Row>,
    /// How long each was flooded, seconds.
    pub seconds: f64,
}

/// The ways that are flooded.
const WAYS: [Way; 2] = [Way::Native, Way::Nftables];
/// Transfers that are under way.
const TRANSFERS: usize = 16;
/// A connection that takes longer has failed: a SYN or SYN-ACK that is lost comes again after a second, so there is one
/// chance more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Floods each way for `time`.
///
/// # Errors
///
/// A lab can't be made, or no flood.
pub fn measure(time: Duration) -> anyhow::Result<Report> {
    let rows = WAYS.map(|way| flooded(way, time));
    Ok(Report {
        rows: rows.into_iter().collect::<anyhow::Result<_>>()?,
        seconds: time.as_secs_f64(),
    })
}

fn flooded(way: Way, time: Duration) -> anyhow::Result<Row> {
    let setting = Setting::new(way)?;
    let lab = &setting.lab;
    let clients = lab.clients();
    let transfers = clients
        .iter()
        .cycle()
        .take(TRANSFERS)
        .map(|client| Transfer::start(lab.connect(*client, SHARED)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let during = |time: Duration| {
        let start = Instant::now();
        let (took, failed) = setting.connect(TIMEOUT, |_| start.elapsed() >= time)?;
        let rate = took.len() as f64 / start.elapsed().as_secs_f64();
        anyhow::Ok((rate, took.len() as u64 + failed, failed))
    };
    let (calm, ..) = during(time / 2)?;
    let start = Instant::now();
    let flood = Flood::start(lab.router(), SHARED, u64::MAX, u32::MAX)?;
    let (flooded, tried, failed) = during(time)?;
    let sent = flood.stop()?;
    let flooding = start.elapsed().as_secs_f64();
    let broken = transfers.iter().filter(|transfer| transfer.is_broken());
    Ok(Row {
        way,
        calm,
        flooded,
        tried: (tried, failed),
        flood: sent as f64 / flooding,
        established: (TRANSFERS, broken.count()),
    })
}

impl Report {
    fn ours(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.way.is_ours())
    }

    /// The share of connections that succeed under the flood.
    pub fn success(&self) -> Option<f64> {
        self.ours().map(Row::success)
    }

    /// Established connections that broke.
    pub fn broken(&self) -> Option<f64> {
        self.ours().map(|row| row.established.1 as f64)
    }

    /// Table and plot.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut table = Table::new([
            "under a SYN flood",
            "SYNs/s sent",
            "connects/s before",
            "during",
            "that succeed",
            "established broken",
        ]);
        let mut bars = Vec::new();
        for row in &self.rows {
            let success = row.success() * 100.0;
            table.add([
                row.way.name().to_owned(),
                format!("{:.0}", row.flood),
                format!("{:.0}", row.calm),
                format!("{:.0}", row.flooded),
                format!("{success:.1} %"),
                format!("{} of {}", row.established.1, row.established.0),
            ]);
            for (when, rate) in [("before", row.calm), ("flooded", row.flooded)] {
                bars.push(Bar {
                    name: format!("{}, {when}", row.way.name()),
                    value: rate,
                    between: None,
                    text: if when == "before" {
                        format!("{rate:.0}/s")
                    } else {
                        format!("{rate:.0}/s, {success:.1} % succeed")
                    },
                    kind: if row.way.is_ours() {
                        Kind::Ours
                    } else {
                        Kind::Rival
                    },
                });
            }
        }
        let group = Group {
            name: "SOCKS connections per second through Dante".to_owned(),
            bars,
        };
        Ok(Section {
            title: "Under attack",
            conditions: format!(
                "A SYN flood from 131,072 invented addresses, as fast as one thread can send by a raw socket, for {:.0} s; {TRANSFERS} long-lived \
                 transfers and connections from 8 clients at a time meanwhile. Clients, flood, relay and nodes share the processors of one machine, so \
                 part of what is lost is lost to that. Kernel sockets over veth, MTU 1500, offloads off.",
                self.seconds
            ),
            plots: vec![Plot {
                name: "attack",
                svg: bars::draw(
                    "Real connections while a SYN flood runs",
                    "Longer is better.",
                    &[group],
                )?,
            }],
            tables: vec![table],
            notes: Vec::new(),
        })
    }
}

impl Row {
    fn success(&self) -> f64 {
        1.0 - self.tried.1 as f64 / self.tried.0 as f64
    }
}
