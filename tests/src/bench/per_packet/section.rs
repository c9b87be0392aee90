//! What the figures per packet look like.

use super::Report;
use crate::bench::report::{
    Plot, Section, Table,
    bars::{self, Bar, Group, Kind},
};

impl Report {
    /// Tables and the plot.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut figures = Table::new(["one packet", "own ns", "× floor", "(lowest – highest)"]);
        for figure in &self.figures {
            figures.add([
                figure.name.clone(),
                format!("{:.0}", figure.own_ns),
                format!("{:.2}", figure.times_floor),
                format!("{:.2} – {:.2}", figure.spread.0, figure.spread.1),
            ]);
        }
        let mut comparisons = Table::new([
            "whole packets, one way against another",
            "ratio",
            "difference, ns",
        ]);
        for comparison in &self.comparisons {
            comparisons.add([
                comparison.name.clone(),
                format!("{:.2}", comparison.ratio),
                format!("{:.1}", comparison.difference_ns),
            ]);
        }
        let mut programs = Table::new([
            "program",
            "instructions verified, of 1,000,000",
            "bytes of machine code",
        ]);
        for program in &self.programs {
            programs.add([
                program.name.clone(),
                program.verified_instructions.to_string(),
                program.jited_bytes.to_string(),
            ]);
        }
        let bars = self.figures.iter().map(|figure| Bar {
            name: figure.name.clone(),
            value: figure.times_floor,
            between: Some(figure.spread),
            text: format!("{:.2} × ({:.0} ns)", figure.times_floor, figure.own_ns),
            kind: Kind::Ours,
        });
        let floor = Bar {
            name: "floor: return XDP_TX".to_owned(),
            value: 1.0,
            between: None,
            text: format!("1 ({:.0} ns)", self.floor_ns),
            kind: Kind::Limit,
        };
        let group = Group {
            name: "each way of a packet through the program".to_owned(),
            bars: std::iter::once(floor).chain(bars).collect(),
        };
        Ok(Section {
            title: "One packet in the program",
            conditions: format!(
                "The program alone, by BPF_PROG_TEST_RUN: no driver, no NIC. {} rounds of {} packets for each case; the verdict counters prove \
                 that each packet went the way that the case is about. Own work is what is left of the time after that of a control run.",
                self.rounds, self.packets
            ),
            plots: vec![Plot {
                name: "per-packet",
                svg: bars::draw(
                    "What one packet costs in the program",
                    "Shorter is better. 1 is the smallest possible program; in brackets the program's own work on this machine.",
                    &[group],
                )?,
            }],
            tables: vec![figures, comparisons, programs],
            notes: vec![format!(
                "The maps take {} MiB of memory.",
                self.map_memory / (1 << 20)
            )],
        })
    }
}
