//! Pools whose nodes are named elsewhere: their sources asked, and what they name taken into the relay.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::{runtime::Handle, sync::mpsc, task::AbortHandle, time::timeout_at};

use super::{Agent, start::refuse_own_nodes, status::unix};
use crate::{
    config::{Config, DiscoveredNodes, Dns, Source},
    control::{Happening, status::SourceStatus},
    discovery::{Book, Kept, Report, Taken, look_up, watch},
    engine::Relay,
    net::view::NetView,
};

/// Most reports that wait to be taken; then whoever has another waits as well, and reads no more of what it would be made of.
const WAITING: usize = 16;

/// What a source has said.
pub(super) struct Told {
    pool: String,
    number: u64,
    report: Report,
}

/// The state of sources, and who is asked.
pub(super) struct Sources {
    pub(super) book: Book,
    reports: mpsc::Receiver<Told>,
    tell: mpsc::Sender<Told>,
    /// The clusters that are watched, by the numbers of their reports.
    watches: BTreeMap<u64, AbortHandle>,
    /// The thread that reads what others send.
    outside: Handle,
}

impl Sources {
    /// The sources of a configuration at the start: pools for which an earlier agent has kept nodes have those, and the others are
    /// waited for as long as one look-up may take. A pool of which nothing is known then has no node.
    pub(super) async fn at_start(
        config: &Config,
        view: &NetView,
        kept: Vec<Kept>,
        outside: &Handle,
    ) -> Self {
        let (tell, reports) = mpsc::channel(WAITING);
        let mut sources = Self {
            book: Book::new(kept),
            reports,
            tell,
            watches: BTreeMap::new(),
            outside: outside.clone(),
        };
        sources.book.want(config.sources(), Instant::now());
        let objection = |nodes: &DiscoveredNodes| objection(config, view, None, nodes);
        for (pool, why) in sources.book.admit(objection) {
            log::error!("pool {pool} does not have all nodes that it had: {why}");
        }
        let mut missing = sources.book.unknown();
        sources.ask(&config.dns, Instant::now());
        let limit = tokio::time::Instant::now() + config.dns.timeout;
        while !missing.is_empty() {
            let Ok(Some(told)) = timeout_at(limit, sources.reports.recv()).await else {
                break;
            };
            missing.remove(&told.pool);
            let now = (Instant::now(), SystemTime::now());
            let Told { pool, report, .. } = told;
            let taken = sources
                .book
                .take(&pool, report, config.dns.interval, now, objection);
            sources.log_taken(&pool, &taken);
        }
        sources
    }

    /// Asks those who are to be asked, and nobody else any more.
    fn ask(&mut self, dns: &Dns, now: Instant) {
        let book = &self.book;
        self.watches.retain(|number, watch| {
            let heeded = book.heeds(*number);
            if !heeded {
                watch.abort();
            }
            heeded
        });
        for (pool, number, kubernetes) in self.book.to_watch() {
            let tell = self.tell.clone();
            let report = move |report| {
                let (tell, pool) = (tell.clone(), pool.clone());
                async move {
                    let told = Told {
                        pool,
                        number,
                        report,
                    };
                    // Nobody waits for it any more where the agent ends.
                    let _ = tell.send(told).await;
                }
            };
            let watching = self.outside.spawn(watch(kubernetes, report));
            self.watches.insert(number, watching.abort_handle());
        }
        for (pool, number, name, families) in self.book.due(now) {
            let (dns, tell) = (dns.clone(), self.tell.clone());
            self.outside.spawn(async move {
                let report = match look_up(&dns, &name, &families).await {
                    Ok((nodes, holds)) => Report::Answered(nodes, holds),
                    Err(why) => Report::Failed(why.into()),
                };
                let told = Told {
                    pool,
                    number,
                    report,
                };
                let _ = tell.send(told).await;
            });
        }
    }

    /// Waits for reports; gives at least one.
    pub(super) async fn next(&mut self) -> Vec<Told> {
        let mut reports = Vec::new();
        self.reports.recv_many(&mut reports, WAITING).await;
        without_superseded(reports)
    }

    fn nodes_of(&self, pool: &str) -> usize {
        let mut known = self.book.known();
        known
            .find(|(name, _)| *name == pool)
            .map_or(0, |(_, known)| known.nodes)
    }

    fn log_taken(&self, pool: &str, taken: &Taken) {
        let nodes = self.nodes_of(pool);
        if taken.has_changed() {
            log::info!("{}", discovered(pool, taken, nodes));
        }
        if let Some(why) = &taken.failed {
            log::warn!(
                "pool {pool}: its source does not tell all its nodes, so it has {nodes} as before: {why}; trying again"
            );
        }
        if taken.recovered {
            log::info!("pool {pool}: its source tells its nodes again");
        }
    }
}

/// Of changes that follow each other the last one tells all.
fn without_superseded(reports: Vec<Told>) -> Vec<Told> {
    let is_change = |told: &Told| matches!(told.report, Report::Changed(_));
    let mut left: Vec<Told> = Vec::new();
    for report in reports {
        let same = left.iter_mut().rfind(|one| one.number == report.number);
        match same {
            Some(last) if is_change(last) && is_change(&report) => *last = report,
            Some(_) | None => left.push(report),
        }
    }
    left
}

fn discovered(pool: &str, taken: &Taken, nodes: usize) -> Happening {
    let changed = taken.changed.iter();
    Happening::Discovered {
        pool: pool.to_owned(),
        added: taken.added.clone(),
        removed: taken.removed.clone(),
        changed: changed
            .map(|(name, readiness)| format!("{name} ({readiness})"))
            .collect(),
        nodes,
    }
}

/// Why nodes cannot be where sources name them. `relay` must have room for them, and its connections must not end by it.
fn objection(
    config: &Config,
    view: &NetView,
    relay: Option<&Relay>,
    nodes: &DiscoveredNodes,
) -> Option<String> {
    for redirect in &config.redirects {
        for pool in std::iter::once(redirect.pool).chain(redirect.backup) {
            let named = nodes.get(&config.pools[pool].name).into_iter().flatten();
            for node in named {
                if let (Some(to), Some(port)) = (redirect.port, node.port)
                    && to != port
                {
                    return Some(format!(
                        "it has port {port}, and redirect `{}` forwards to {to}",
                        redirect.name
                    ));
                }
            }
        }
    }
    let config = config.with_discovered(nodes);
    let wrong = refuse_own_nodes(view, &config)
        .err()
        .map(|error| error.to_string());
    wrong.or_else(|| config.clash()).or_else(|| {
        match relay?.newly_tracked_by(&config) {
            Ok(places) => places.first().map(|place| {
                format!(
                    "connections through {} port {} would be lost, since redirects would share a node's socket then",
                    place.address, place.port
                )
            }),
            Err(error) => Some(error.to_string()),
        }
    })
}

impl Agent {
    /// Asks who is to be asked now, and believes what has been doubted for long enough.
    pub(super) async fn follow_sources(&mut self, now: Instant) {
        if self.sources.book.is_empty() && self.sources.watches.is_empty() {
            return;
        }
        let config = self.relay.config();
        self.sources.ask(&config.dns, now);
        let view = Arc::clone(&self.views.borrow());
        let relay = &self.relay;
        let believed = self
            .sources
            .book
            .believe((now, SystemTime::now()), |nodes| {
                objection(config, &view, Some(relay), nodes)
            });
        self.have_taken(believed).await;
    }

    /// Takes reports. Where nodes come, go or are told otherwise, it is as if the configuration file had been changed and
    /// reloaded.
    pub(super) async fn take_reports(&mut self, reports: Vec<Told>) {
        let view = Arc::clone(&self.views.borrow());
        let mut all = Vec::new();
        for Told {
            pool,
            number,
            report,
        } in reports
        {
            if !self.sources.book.heeds(number) {
                continue;
            }
            let (config, relay) = (self.relay.config(), &self.relay);
            let now = (Instant::now(), SystemTime::now());
            let objection = |nodes: &DiscoveredNodes| objection(config, &view, Some(relay), nodes);
            let book = &mut self.sources.book;
            let taken = book.take(&pool, report, config.dns.interval, now, objection);
            all.push((pool, taken));
        }
        self.have_taken(all).await;
    }

    async fn have_taken(&mut self, all: Vec<(String, Taken)>) {
        let mut changed = false;
        for (pool, taken) in all {
            self.sources.log_taken(&pool, &taken);
            let nodes = self.sources.nodes_of(&pool);
            if taken.has_changed() || taken.recovered {
                self.events.tell(discovered(&pool, &taken, nodes));
            }
            changed |= taken.has_changed();
            if let Some(reason) = taken.failed {
                self.events.tell(Happening::Undiscovered {
                    pool,
                    reason,
                    nodes,
                });
            }
        }
        if !changed {
            return;
        }
        let config = self.relay.config();
        let config = config.with_discovered(&self.sources.book.nodes());
        self.find_neighbours(&config).await;
        let gone = self.relay.operator().strangers_to(&config);
        match self.take_config(config).await {
            Ok(()) => self.forget_said(&gone),
            Err(error) => log::error!("{error:#}"),
        }
        self.keep_names();
    }

    /// The sources as they would be with another configuration, and that configuration with the nodes that they name.
    pub(super) fn sources_for(&self, config: &Config) -> (Book, Config) {
        let mut book = self.sources.book.clone();
        let now = Instant::now();
        book.want(config.sources(), now);
        if config.dns != self.relay.config().dns {
            book.ask_others(now);
        }
        let view = self.views.borrow();
        for (pool, why) in book.admit(|nodes| objection(config, &view, None, nodes)) {
            log::warn!("pool {pool} does not have all nodes that its source names: {why}");
        }
        let config = config.with_discovered(&book.nodes());
        (book, config)
    }

    /// What `show` tells of sources.
    pub(super) fn source_status(&self) -> Vec<SourceStatus> {
        let known = self.sources.book.known();
        known
            .map(|(pool, known)| {
                let cluster = match &known.source {
                    Source::Kubernetes(cluster) => Some(cluster),
                    Source::Dns(_) => None,
                };
                let kubeconfig = cluster.and_then(|cluster| cluster.kubeconfig.as_ref());
                let trouble = known.trouble;
                SourceStatus {
                    pool: pool.to_owned(),
                    kind: known.source.word().to_owned(),
                    source: known.source.to_string(),
                    nodes: known.nodes as u64,
                    at: known.at.map(unix),
                    since: trouble.as_ref().map(|trouble| unix(trouble.since)),
                    cause: trouble.as_ref().map(|trouble| trouble.failure.cause),
                    error: trouble.map(|trouble| trouble.failure.reason),
                    namespace: cluster.map(|cluster| cluster.namespace.clone()),
                    kubeconfig: kubeconfig.map(|path| path.display().to_string()),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Discovered;

    #[test]
    fn only_changes_are_superseded_and_only_by_changes_of_the_same_source() {
        let node = |name: &str| vec![Discovered::new(name.to_owned(), Vec::new())];
        let told = |number, report| Told {
            pool: "p".to_owned(),
            number,
            report,
        };
        let changed = |number, name: &str| told(number, Report::Changed(node(name)));
        let failed = || told(1, Report::Failed("gone".to_owned().into()));
        let listed = |name: &str| told(1, Report::Listed(node(name)));
        let left = without_superseded(vec![
            changed(1, "a"),
            changed(1, "b"),
            changed(2, "c"),
            changed(1, "d"),
            failed(),
            changed(1, "e"),
            listed("f"),
            listed("g"),
        ]);
        let left: Vec<(u64, Report)> = left
            .into_iter()
            .map(|told| (told.number, told.report))
            .collect();
        let wanted = [
            changed(1, "d"),
            changed(2, "c"),
            failed(),
            changed(1, "e"),
            listed("f"),
            listed("g"),
        ];
        let wanted = wanted.map(|told| (told.number, told.report));
        assert_eq!(left, wanted);
    }
}
