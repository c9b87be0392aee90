//! How the cost of forwarding grows with clients, and what more processors bring.
//!
//! Each figure is the cost of a packet against that of the bare relay in the same round, so that what is measured
//! later can be compared with what was measured before.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    forwarding::{Case, Flows, MANY, Variant, rig::Rig, traffic::Traffic},
    report::{
        Plot, Section, Table,
        bars::{self, Bar, Group, Kind},
    },
    rounds::Spread,
};

/// What there is more and more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Client addresses.
    Clients,
    /// Processors that forward at the same time.
    Cores,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Cores => "processors",
        }
    }
}

/// A figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What of.
    pub what: What,
    /// How many.
    pub count: usize,
    /// The cost of a packet against the bare relay's, one value of each round; of processors, how many times
    /// the packets of one all together forward.
    pub ratios: Vec<f64>,
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// All figures.
    pub rows: Vec<Row>,
    /// Packets of each run.
    pub packets: u32,
}

/// Bits of the client's address that differ.
const CLIENT_BITS: [u32; 4] = [0, 8, 16, 20];

/// Measures with so many rounds for each figure.
///
/// # Errors
///
/// A relay can't be made, or packets are lost.
pub fn measure(object: &Path, rounds: usize, packets: u32) -> anyhow::Result<Report> {
    let mut traffic = Traffic::load(object)?;
    let limit = Rig::new(Variant::Redirect, &mut traffic)?;
    let ours = Rig::new(Variant::Native, &mut traffic)?;
    let mut rows = Vec::new();
    let mut growth = Growth {
        traffic: &mut traffic,
        limit,
        ours,
        rounds,
        packets,
    };
    for bits in CLIENT_BITS {
        let ratios = growth.costs((1 << bits) - 1)?;
        rows.push(row(What::Clients, 1 << bits, ratios));
    }
    for cores in 1..=std::thread::available_parallelism().map_or(1, usize::from) {
        rows.push(row(What::Cores, cores, growth.scaling(cores)?));
    }
    Ok(Report { rows, packets })
}

fn row(what: What, count: usize, ratios: Vec<f64>) -> Row {
    Row {
        what,
        count,
        ratios,
    }
}

struct Growth<'a> {
    traffic: &'a mut Traffic,
    limit: Rig,
    ours: Rig,
    rounds: usize,
    packets: u32,
}

impl Growth<'_> {
    /// The cost against the bare relay's, with these bits of the client's address differing.
    fn costs(&mut self, mask: u32) -> anyhow::Result<Vec<f64>> {
        let mut ratios = Vec::new();
        for round in 0..=self.rounds {
            let mut nanos = [0.0; 2];
            for (nanos, rig) in nanos.iter_mut().zip([&self.limit, &self.ours]) {
                let case = Case {
                    flows: if mask == 0 { Flows::One } else { Flows::Many },
                    ..MANY
                };
                let (frame, mut stream) = case.packets(rig.variant.destination());
                stream.client_mask = mask;
                stream.device = rig.devices[0];
                let expected = case.expected(rig.variant.destination(), rig.variant.translates());
                *nanos = self
                    .traffic
                    .send_all(&mut stream, &frame, self.packets, expected)?;
            }
            if round > 0 {
                ratios.push(nanos[1] / nanos[0]);
            }
        }
        Ok(ratios)
    }

    /// How many times as many packets so many processors forward as one does.
    fn scaling(&mut self, cores: usize) -> anyhow::Result<Vec<f64>> {
        let rig = &self.ours;
        let (frame, mut stream) = MANY.packets(rig.variant.destination());
        stream.device = rig.devices[0];
        let mut ratios = Vec::new();
        for round in 0..=self.rounds {
            let alone = self.traffic.rate(&stream, &frame, self.packets, 1)?;
            let together = self.traffic.rate(&stream, &frame, self.packets, cores)?;
            if round > 0 {
                ratios.push(together / alone);
            }
        }
        Ok(ratios)
    }
}

impl Report {
    /// Table and plot.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut table = Table::new([
            "growth",
            "how many",
            "whole way, × bare redirect_map",
            "(quartiles)",
        ]);
        let mut cores = Table::new([
            "growth",
            "how many",
            "packets per second, × one processor",
            "(quartiles)",
        ]);
        for row in &self.rows {
            let spread = Spread::of(row.ratios.iter().copied());
            let into = if row.what == What::Cores {
                &mut cores
            } else {
                &mut table
            };
            into.add([
                row.what.name().to_owned(),
                row.count.to_string(),
                format!("{:.2}", spread.median),
                format!("{:.2} – {:.2}", spread.low, spread.high),
            ]);
        }
        let group = Group {
            name: "more clients".to_owned(),
            bars: self
                .rows
                .iter()
                .filter(|row| row.what == What::Clients)
                .map(bar)
                .collect(),
        };
        Ok(Section {
            title: "Growth",
            conditions: format!(
                "The whole way of a packet over veth, native mode, 64-byte frames, {} in each run, against that over a relay that redirects and does \
                 nothing else, round by round. Three nodes; processors with 64k clients.",
                self.packets
            ),
            plots: vec![Plot {
                name: "growth",
                svg: bars::draw(
                    "What a packet costs as things grow",
                    "Shorter is better. 1 is a relay that redirects and does nothing else.",
                    &[group],
                )?,
            }],
            tables: vec![table, cores],
            notes: Vec::new(),
        })
    }
}

fn bar(row: &Row) -> Bar {
    let spread = Spread::of(row.ratios.iter().copied());
    Bar {
        name: format!("{} {}", row.count, row.what.name()),
        value: spread.median,
        between: Some((spread.low, spread.high)),
        text: format!("{:.2}", spread.median),
        kind: Kind::Ours,
    }
}
