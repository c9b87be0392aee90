//! Slot tables: how evenly they spread clients, whom a change moves, and how long one takes to make; beside the two
//! usual ways. No kernel and no network: the redirector's own code, and a Maglev table (Eisenbud et al., "Maglev: A
//! Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4) and a remainder to compare with.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Instant};

use redirector::engine::{Candidate, winners};
use redirector_common::{abi::SLOTS, hash};
use serde::{Deserialize, Serialize};

use super::{
    report::{
        Plot, Section, Table,
        bars::{self, Bar, Group, Kind},
        lines::{self, Line, Titles},
    },
    rounds::Spread,
};

/// How slots get their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Builder {
    /// The redirector's.
    Rendezvous,
    /// Maglev's.
    Maglev,
    /// The remainder of a hash.
    Remainder,
}

impl Builder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rendezvous, Self::Maglev, Self::Remainder];

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rendezvous => "redirector (rendezvous)",
            Self::Maglev => "Maglev",
            Self::Remainder => "hash % nodes",
        }
    }

    fn build(self, key: [u64; 2], nodes: &[Candidate]) -> Vec<u16> {
        match self {
            Self::Rendezvous => winners(key, nodes),
            Self::Maglev => maglev(key, nodes),
            Self::Remainder => (0..SLOTS as u64)
                .map(|slot| {
                    let draw = hash::mix(key, slot) % nodes.len() as u64;
                    nodes[usize::try_from(draw).unwrap_or(0)].backend
                })
                .collect(),
        }
    }
}

/// What was measured for a number of nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// How.
    pub builder: Builder,
    /// Nodes.
    pub nodes: usize,
    /// The fullest node's share over the mean share, less 1, one value of each key.
    pub imbalance: Vec<f64>,
    /// Of the slots of the others, how many move when one node leaves; one value of each key.
    pub bystanders: Vec<f64>,
    /// Milliseconds to make a table, one value of each key.
    pub millis: Vec<f64>,
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One row for each builder and number of nodes.
    pub rows: Vec<Row>,
}

/// Numbers of nodes.
const NODES: [usize; 8] = [2, 3, 8, 16, 64, 128, 512, 1024];
/// The number of nodes that the plot of bystanders is about.
const TYPICAL: [usize; 3] = [3, 16, 128];
/// As many slots as Maglev needs: a prime.
const MAGLEV_SLOTS: usize = 65_537;

fn nodes(count: usize) -> Vec<Candidate> {
    (1..=u16::try_from(count).unwrap_or(u16::MAX))
        .map(|backend| Candidate {
            backend,
            identity: Ipv4Addr::from_bits(0x0a01_0800 + u32::from(backend)).into(),
            weight: 1,
        })
        .collect()
}

fn maglev(key: [u64; 2], nodes: &[Candidate]) -> Vec<u16> {
    let slots = MAGLEV_SLOTS as u64;
    let draw = |node: &Candidate, salt: u64| hash::mix(key, u64::from(node.backend) << 8 | salt);
    let mut places: Vec<(u64, u64)> = nodes
        .iter()
        .map(|node| (draw(node, 1) % slots, draw(node, 2) % (slots - 1) + 1))
        .collect();
    let mut table = vec![0; MAGLEV_SLOTS];
    let mut free = MAGLEV_SLOTS;
    loop {
        for (node, (next, skip)) in nodes.iter().zip(&mut places) {
            loop {
                let slot = usize::try_from(*next).unwrap_or(0);
                *next = (*next + *skip) % slots;
                if table[slot] == 0 {
                    table[slot] = node.backend;
                    break;
                }
            }
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

/// Measures with so many keys.
pub fn measure(keys: u64) -> Report {
    let mut rows = Vec::new();
    for builder in Builder::ALL {
        for count in NODES {
            let mut row = Row {
                builder,
                nodes: count,
                imbalance: Vec::new(),
                bystanders: Vec::new(),
                millis: Vec::new(),
            };
            let all = nodes(count);
            for number in 0..keys {
                let key = [number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number];
                let start = Instant::now();
                let before = builder.build(key, &all);
                row.millis.push(start.elapsed().as_secs_f64() * 1000.0);
                row.imbalance.push(imbalance(&before, count));
                let gone = all[usize::try_from(number).unwrap_or(0) % count];
                let mut left = all.clone();
                left.retain(|node| *node != gone);
                let after = builder.build(key, &left);
                row.bystanders.push(moved(&before, &after, gone.backend));
            }
            rows.push(row);
        }
    }
    Report { rows }
}

fn imbalance(table: &[u16], nodes: usize) -> f64 {
    let mut shares: BTreeMap<u16, u32> = BTreeMap::new();
    for owner in table {
        *shares.entry(*owner).or_default() += 1;
    }
    let most = shares.values().max().copied().unwrap_or(0);
    f64::from(most) * nodes as f64 / table.len() as f64 - 1.0
}

/// The share of slots that had another owner than the one who left, and have yet another now.
fn moved(before: &[u16], after: &[u16], gone: u16) -> f64 {
    let others = || {
        before
            .iter()
            .zip(after)
            .filter(|(owner, _)| **owner != gone)
    };
    let moved = others().filter(|(before, after)| before != after).count();
    moved as f64 / others().count() as f64
}

impl Report {
    /// Table and plots.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let mut table = Table::new([
            "slot tables",
            "nodes",
            "fullest node above the mean",
            "bystanders moved by one that leaves",
            "ms to make",
        ]);
        let percent = |values: &[f64]| Spread::of(values.iter().map(|value| value * 100.0)).median;
        for row in &self.rows {
            table.add([
                row.builder.name().to_owned(),
                row.nodes.to_string(),
                format!("{:.2} %", percent(&row.imbalance)),
                format!("{:.2} %", percent(&row.bystanders)),
                format!("{:.1}", Spread::of(row.millis.iter().copied()).median),
            ]);
        }
        let groups: Vec<Group> = TYPICAL
            .iter()
            .map(|count| Group {
                name: format!("{count} nodes"),
                bars: self
                    .rows
                    .iter()
                    .filter(|row| row.nodes == *count)
                    .map(|row| Bar {
                        name: row.builder.name().to_owned(),
                        value: percent(&row.bystanders),
                        between: None,
                        text: format!("{:.2} %", percent(&row.bystanders)),
                        kind: kind(row.builder),
                    })
                    .collect(),
            })
            .collect();
        let made = [Builder::Rendezvous, Builder::Maglev].map(|builder| Line {
            name: builder.name().to_owned(),
            points: self
                .rows
                .iter()
                .filter(|row| row.builder == builder)
                .map(|row| {
                    let millis = Spread::of(row.millis.iter().copied()).median;
                    (row.nodes as f64, millis.max(0.001))
                })
                .collect(),
        });
        Ok(Section {
            title: "Slot tables",
            conditions: format!(
                "Simulated with the redirector's own code for {SLOTS} slots, beside a Maglev table of {MAGLEV_SLOTS} and the remainder of a hash; \
                 medians over keys. What moves here are new connections: established ones stay where they are in any case."
            ),
            plots: vec![
                Plot {
                    name: "bystanders",
                    svg: bars::draw(
                        "Clients of other nodes that are moved when one node leaves",
                        "Shorter is better; 0 is possible, and only the clients of the node that left have to go elsewhere.",
                        &groups,
                    )?,
                },
                Plot {
                    name: "rebuild",
                    svg: lines::draw(
                        Titles {
                            title: "Time to make a slot table from nothing",
                            across: "nodes",
                            upwards: "milliseconds",
                        },
                        &made,
                    )?,
                },
            ],
            tables: vec![table],
            notes: Vec::new(),
        })
    }
}

fn kind(builder: Builder) -> Kind {
    match builder {
        Builder::Rendezvous => Kind::Ours,
        Builder::Maglev | Builder::Remainder => Kind::Rival,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [3, 4];

    #[test]
    fn every_maglev_slot_has_an_owner_and_shares_differ_by_one_at_most() {
        let table = maglev(KEY, &nodes(7));
        let mut shares: BTreeMap<u16, usize> = BTreeMap::new();
        for owner in &table {
            *shares.entry(*owner).or_default() += 1;
        }
        assert!(!shares.contains_key(&0));
        let (least, most) = (shares.values().min(), shares.values().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
    }

    #[test]
    fn rendezvous_moves_no_bystander_and_a_remainder_moves_most() {
        let (all, left) = (nodes(5), nodes(4));
        let share =
            |builder: Builder| moved(&builder.build(KEY, &all), &builder.build(KEY, &left), 5);
        assert_eq!(share(Builder::Rendezvous), 0.0);
        assert!(share(Builder::Remainder) > 0.5);
        let maglev = share(Builder::Maglev);
        assert!(maglev > 0.0 && maglev < 0.1, "{maglev}");
    }

    #[test]
    fn an_even_table_has_no_imbalance() {
        assert_eq!(imbalance(&[1, 2, 1, 2], 2), 0.0);
        assert_eq!(imbalance(&[1, 1, 1, 2], 2), 0.5);
    }
}
