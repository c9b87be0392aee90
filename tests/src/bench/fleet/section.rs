//! The figures for people.

use redirector_common::abi::{DEFAULT_FLOWS, SLOTS};

use super::{Choice, Report, bytes_of_flows};
use crate::bench::report::{
    Plot, Section, Table,
    bars::{self, Bar, Group, Kind},
};

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The memory of both tables with room for so many records.
fn mebibytes(records: u32) -> f64 {
    let bytes: u64 = bytes_of_flows(records).iter().sum();
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    /// Tables and a plot.
    ///
    /// # Errors
    ///
    /// There is nothing to draw.
    pub fn section(&self) -> anyhow::Result<Section> {
        let size = &self.size;
        Ok(Section {
            title: "A fleet",
            conditions: format!(
                "Simulated with the redirector's own code: {} nodes of one weight, {} clients in IPv4, tables of {SLOTS} slots. Clients of a lost relay \
                 are followed packet by packet. Routers are models that hash the client's address; the relay that is lost is the first one.",
                size.nodes, size.clients
            ),
            plots: vec![self.plot()?],
            tables: vec![
                self.balances(),
                self.losses(),
                self.returned(),
                self.changes(),
                self.take_overs(),
            ],
            notes: vec![
                "Nodes lost: bystanders are clients of nodes that were not lost; astray are those who are not with the node that they came \
                 from once all are back; most to one is what the survivor with the most newcomers has got; fullest is the survivor with the \
                 most clients. Records are what is recorded at most, with one connection for each client in a split slot."
                    .to_owned(),
                format!(
                    "MiB are those of both tables of records, IPv4 and IPv6, of that size; with {DEFAULT_FLOWS}, the default, {:.0} MiB.",
                    mebibytes(DEFAULT_FLOWS)
                ),
                "Relays lost or added: those who reach another relay needlessly come from one that is still there. Another node: of those who \
                 reach another relay. One drain apart: the same, of new connections, while that relay has not seen that one node is drained."
                    .to_owned(),
                "Taking over: 1 % of the nodes are drained, then a relay is lost. Older connections are from before the drain, newer ones from \
                 after it, one of each for each client. Records and KiB are what the lost relay had told."
                    .to_owned(),
            ],
        })
    }

    fn balances(&self) -> Table {
        let mut table = Table::new(["clients' addresses", "fullest node, × mean", "emptiest"]);
        for balance in &self.balances {
            table.add([
                balance.addresses.name().to_owned(),
                format!("{:.2}", balance.fullest),
                format!("{:.2}", balance.emptiest),
            ]);
        }
        table
    }

    fn losses(&self) -> Table {
        let mut table = Table::new([
            "nodes lost at once",
            "clients that move",
            "bystanders",
            "astray after",
            "most to one, × mean",
            "fullest, × mean",
            "slots split",
            "records",
            "MiB",
        ]);
        for loss in &self.losses {
            let records = u32::try_from(loss.in_split).unwrap_or(u32::MAX);
            table.add([
                format!("{}, {}", loss.lost, loss.addresses.name()),
                percent(loss.moved),
                loss.bystanders.to_string(),
                loss.astray.to_string(),
                format!("{:.2}", loss.extra),
                format!("{:.2}", loss.fullest),
                loss.split.to_string(),
                records.to_string(),
                format!("{:.1}", mebibytes(records)),
            ]);
        }
        table
    }

    fn returned(&self) -> Table {
        let returned = &self.returned;
        let mut table = Table::new(["one node leaves and comes back", ""]);
        let rows = [
            ("slots split while it is away", returned.absent.to_string()),
            (
                "connections opened meanwhile by its clients, and recorded",
                format!("{}, {}", returned.opened, returned.recorded),
            ),
            ("broken by its return", returned.broken.to_string()),
            (
                "slots split after its return, while these go on",
                returned.back.to_string(),
            ),
            ("slots split once these are over", returned.over.to_string()),
        ];
        for (what, figure) in rows {
            table.add([what.to_owned(), figure]);
        }
        table
    }

    fn changes(&self) -> Table {
        let mut table = Table::new([
            "routers, relays",
            "reach another relay",
            "needlessly",
            "another node",
            "one drain apart",
            "fullest relay, × mean",
            "after",
        ]);
        for change in &self.changes {
            let (sign, choice) = (if change.joins { '+' } else { '-' }, change.choice.name());
            table.add([
                format!("{choice}, {} {sign} 1", change.relays),
                percent(change.elsewhere),
                percent(change.needless),
                change.other_node.to_string(),
                change.apart.to_string(),
                format!("{:.2}", change.fullest[0]),
                format!("{:.2}", change.fullest[1]),
            ]);
        }
        table
    }

    fn take_overs(&self) -> Table {
        let mut table = Table::new([
            "the relay that takes over",
            "exchange",
            "clients",
            "older broken",
            "newer broken",
            "records told",
            "KiB",
        ]);
        for one in &self.take_overs {
            table.add([
                one.knows.name().to_owned(),
                if one.exchange { "yes" } else { "no" }.to_owned(),
                one.clients.to_string(),
                one.older.to_string(),
                one.newer.to_string(),
                one.recorded.to_string(),
                (one.told >> 10).to_string(),
            ]);
        }
        table
    }

    fn plot(&self) -> anyhow::Result<Plot> {
        let groups: Vec<Group> = [false, true]
            .into_iter()
            .flat_map(|joins| self.size.relays.map(|relays| (joins, relays)))
            .map(|(joins, relays)| Group {
                name: format!(
                    "{relays} relays, one {}",
                    if joins { "joins" } else { "is lost" }
                ),
                bars: self
                    .changes
                    .iter()
                    .filter(|change| (change.joins, change.relays) == (joins, relays))
                    .map(|change| Bar {
                        name: change.choice.name().to_owned(),
                        value: change.elsewhere * 100.0,
                        between: None,
                        text: format!(
                            "{}, another node: {}",
                            percent(change.elsewhere),
                            change.other_node
                        ),
                        kind: match change.choice {
                            Choice::Resilient => Kind::Limit,
                            Choice::Remainder | Choice::Threshold => Kind::Rival,
                        },
                    })
                    .collect(),
            })
            .collect();
        Ok(Plot {
            name: "fleet",
            svg: bars::draw(
                "Clients that reach another relay when one is lost or joins",
                "By three kinds of routers; whichever it is, the other relay sends them to the node that they have.",
                &groups,
            )?,
        })
    }
}
