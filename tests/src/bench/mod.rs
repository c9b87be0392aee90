//! Measurements. Times on a shared machine mean little by themselves: every figure is taken in rounds in
//! which all variants take turns, and compared within its round.
//!
//! | module | measures |
//! |---|---|
//! | [`per_packet`] | one packet in the program alone |
//! | [`forwarding`] | whole ways over a relay, beside all rivals |
//! | [`growth`] | how forwarding grows with clients and processors |
//! | [`bulk`] | bulk data of kernel sockets over veth |
//! | [`connections`] | SOCKS connections through real Dante nodes |
//! | [`control`] | the agent: failover, reloads |
//! | [`tables`] | slot tables, beside Maglev and a remainder |
//! | [`fleet`] | 1,000 nodes and ten million clients behind many relays, simulated |
//! | [`attack`] | real connections while a SYN flood runs |
//! | [`watched`] | what packets lose to those who look |
//! | [`exact`] | nothing: whether every packet is counted |
//!
//! [`environment`] says on what machine, [`claims`] what is promised of the figures, [`guard`] whether they have changed,
//! [`report`] shows them.

pub mod attack;
pub mod bulk;
pub mod claims;
pub mod connections;
pub mod control;
pub mod environment;
pub mod exact;
pub mod fleet;
pub mod forwarding;
pub mod growth;
pub mod guard;
mod haproxy;
pub mod per_packet;
pub mod report;
pub mod rounds;
pub mod tables;
mod target;
pub mod watched;

use serde::{Deserialize, Serialize};

use environment::Environment;
use report::Section;

/// All that one run has measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Where, of what, how.
    pub environment: Environment,
    /// One packet in the program.
    pub per_packet: Option<per_packet::Report>,
    /// Forwarding.
    pub forwarding: Option<forwarding::Report>,
    /// Growth.
    pub growth: Option<growth::Report>,
    /// Connections through Dante.
    pub connections: Option<connections::Report>,
    /// Bulk data over veth.
    #[serde(default)]
    pub bulk: Option<bulk::Report>,
    /// The agent.
    pub control: Option<control::Report>,
    /// Slot tables.
    pub tables: Option<tables::Report>,
    /// A fleet.
    #[serde(default)]
    pub fleet: Option<fleet::Report>,
    /// Under attack.
    pub attack: Option<attack::Report>,
    /// What could not be measured, and why.
    pub failed: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            environment: Environment::look(),
            per_packet: None,
            forwarding: None,
            growth: None,
            connections: None,
            bulk: None,
            control: None,
            tables: None,
            fleet: None,
            attack: None,
            failed: Vec::new(),
        }
    }

    /// For people.
    ///
    /// # Errors
    ///
    /// A plot can't be drawn.
    pub fn sections(&self) -> anyhow::Result<Vec<Section>> {
        let mut sections = Vec::new();
        let claims = claims::claims(self);
        if !claims.is_empty() {
            sections.push(Section {
                title: "What is promised",
                conditions: "Figures of this run; what they are measured on is said below. Those in ns are of a quiet machine.".to_owned(),
                plots: Vec::new(),
                tables: vec![claims::table(&claims)],
                notes: self.failed.clone(),
            });
        }
        let reports = [
            self.forwarding.as_ref().map(forwarding::Report::section),
            self.connections.as_ref().map(connections::Report::section),
            self.bulk.as_ref().map(bulk::Report::section),
            self.attack.as_ref().map(attack::Report::section),
            self.per_packet.as_ref().map(per_packet::Report::section),
            self.growth.as_ref().map(growth::Report::section),
            self.control.as_ref().map(control::Report::section),
            self.tables.as_ref().map(tables::Report::section),
            self.fleet.as_ref().map(fleet::Report::section),
        ];
        for section in reports.into_iter().flatten() {
            sections.push(section?);
        }
        Ok(sections)
    }
}

impl Default for Results {
    fn default() -> Self {
        Self::new()
    }
}
