//! A relay whose pool is named elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::metrics::{Samples, http_section};
use redirector_tests::lab::plan::{SHARED, node_inside};
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};
use serde_json::Value;

/// For whatever is sure to come.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How soon the tables follow on a machine with nothing else to do.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);

/// Where a node is.
pub(crate) fn at(node: usize) -> IpAddr {
    node_inside(node).into()
}

/// The configuration of a lab whose pool has this source.
pub(crate) fn config(topology: Topology, source: &str) -> String {
    let text = AgentConfig::new(topology, 0).to_toml();
    format!(
        "{}\n{source}\n{}",
        text.replace("nodes = [\n]\n", ""),
        http_section()
    )
}

/// A lab of three nodes.
pub(crate) fn lab(topology: Topology) -> Result<Lab> {
    let options = LabOptions {
        nodes: 3,
        on_link_clients: 8,
        far_clients: 6,
        ..LabOptions::default()
    };
    Lab::new(topology, options)
}

/// The node of each client.
pub(crate) type Homes = BTreeMap<Ipv4Addr, usize>;

/// What the agent of a lab does.
pub(crate) struct Watched<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) agent: &'a Agent,
}

impl Watched<'_> {
    /// The node that new connections of each client come to.
    pub(crate) fn homes(&self) -> Result<Homes> {
        let clients = self.lab.clients().into_iter();
        clients
            .map(|client| {
                let session = self.lab.connect(client, SHARED);
                let session = session.with_context(|| self.agent.log())?;
                Ok((client, session.node))
            })
            .collect()
    }

    /// The nodes that new connections come to.
    pub(crate) fn served(&self) -> Result<BTreeSet<usize>> {
        Ok(self.homes()?.into_values().collect())
    }

    pub(crate) fn transfers(&self) -> Result<Vec<Transfer>> {
        let clients = self.lab.clients().into_iter();
        clients
            .map(|client| Transfer::start(self.lab.connect(client, SHARED)?))
            .collect()
    }

    /// The names of the nodes that have slots.
    pub(crate) fn with_slots(&self) -> Result<BTreeSet<String>> {
        let nodes = self.agent.show("nodes")?;
        let nodes = nodes.as_array().context("no list of nodes")?;
        let have = nodes.iter().filter(|node| node["slots"] != 0);
        Ok(have
            .filter_map(|node| Some(node["name"].as_str()?.to_owned()))
            .collect())
    }

    /// Waits until exactly these nodes have slots; gives how long that took.
    pub(crate) fn wait_for_slots(&self, wanted: &[&str]) -> Result<Duration> {
        let start = Instant::now();
        let wanted: BTreeSet<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        wait_until(&format!("{wanted:?} to have the slots"), SOON, || {
            let have = self.with_slots()?;
            ensure!(have == wanted, "{have:?}: {}", self.agent.log());
            Ok(())
        })?;
        Ok(start.elapsed())
    }

    pub(crate) fn digest(&self) -> Result<Value> {
        Ok(self.agent.show("redirects")?[0]["digest"].clone())
    }

    /// Whether the pool's source is said to have failed, by the metric.
    pub(crate) fn has_failed(&self, kind: &str) -> Result<bool> {
        let samples = Samples::read(self.lab.relay())?;
        let series =
            format!("redirector_pool_source_failed{{pool=\"socksservers\",source=\"{kind}\"}}");
        Ok(samples.whole(&series)? == 1)
    }

    /// Waits until the pool's source is said to have failed, by the metric and by `show` with these words, or not to have.
    pub(crate) fn wait_for_failure(&self, kind: &str, words: Option<&str>) -> Result<()> {
        wait_until(&format!("the source to be {words:?}"), 3 * SOON, || {
            let failed = self.has_failed(kind)?;
            ensure!(
                failed == words.is_some(),
                "failed: {failed}; {}",
                self.agent.log()
            );
            let table = self.agent.cli(&["show", "nodes"])?;
            ensure!(words.is_none_or(|words| table.contains(words)), "{table}");
            Ok(())
        })
    }
}

/// Every transfer goes on, and none is elsewhere than it was.
pub(crate) fn require_whole(transfers: &[Transfer], when: &str) -> Result<()> {
    let before: Vec<u64> = transfers.iter().map(|one| one.report().bytes).collect();
    wait_until("every transfer to go on", SOON, || {
        for (transfer, before) in transfers.iter().zip(&before) {
            let report = transfer.report();
            ensure!(report.broken.is_none(), "{when}: {report:?}");
            ensure!(report.bytes > *before, "{when}: {report:?}");
            ensure!(report.node == transfer.node(), "{when}: {report:?}");
        }
        Ok(())
    })
}
