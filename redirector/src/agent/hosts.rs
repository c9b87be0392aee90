//! Names of nodes: looked up one after the other, and what they stand for taken into the relay.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Instant, SystemTime},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{runtime::Handle, sync::mpsc, time::timeout_at};

use super::{Agent, names_file};
use crate::{
    config::{Addresses, Config, Dns, HostName, Known},
    control::Happening,
    dns::{Answer, Names, Taken, look_up},
    engine::Relay,
    net::view::NetView,
};

/// Answers that are taken at once, since each that changes something may change every table.
pub(super) const ANSWERS: usize = 256;

/// The state of names, and the look-ups under way.
pub(super) struct Hosts {
    pub(super) names: Names,
    answers: mpsc::UnboundedReceiver<(HostName, Answer)>,
    answered: mpsc::UnboundedSender<(HostName, Answer)>,
    /// What was last kept for the next agent could not be.
    unkept: bool,
    /// The thread that reads what others send.
    outside: Handle,
}

impl Hosts {
    pub(super) fn new(names: Names, outside: Handle) -> Self {
        let (answered, answers) = mpsc::unbounded_channel();
        Self {
            names,
            outside,
            answers,
            answered,
            unkept: false,
        }
    }

    /// Waits for answers; gives at least one.
    pub(super) async fn next(&mut self) -> Vec<(HostName, Answer)> {
        let mut answers = Vec::new();
        self.answers.recv_many(&mut answers, ANSWERS).await;
        answers
    }
}

/// The names of a configuration at the start: those that an earlier agent has found stand for what it found, and the others
/// are looked up, for as long as one look-up may take. Who cannot be found then is a node that is down.
pub(super) async fn at_start(
    config: &Config,
    view: &NetView,
    file: &Path,
    outside: &Handle,
) -> Names {
    let hosts = config.hosts();
    if hosts.is_empty() {
        return Names::default();
    }
    let mut names = Names::new(names_file::load(file));
    names.want(hosts, Instant::now());
    for (host, why) in names.admit(|known| objection(config, view, known)) {
        log::error!("{host} is not taken to be where it was: {why}");
    }
    let missing: BTreeSet<HostName> = names.unresolved().cloned().collect();
    if missing.is_empty() {
        return names;
    }
    let limit = tokio::time::Instant::now() + config.dns.timeout;
    let first = Instant::now();
    let mut asked = FuturesUnordered::new();
    loop {
        for (host, families) in names.due(first) {
            if missing.contains(&host) {
                asked.push(outside.spawn(asked_for(config.dns.clone(), host, families)));
            }
        }
        let Ok(Some(Ok((host, answer)))) = timeout_at(limit, asked.next()).await else {
            break;
        };
        let now = (Instant::now(), SystemTime::now());
        let objection = |known: &Known| objection(config, view, known);
        let taken = names.take(&host, &answer, config.dns.interval, now, objection);
        log_taken(&host, &taken, Addresses::default());
    }
    drop(asked);
    names.ask_again();
    names
}

async fn asked_for(
    dns: Dns,
    host: HostName,
    families: BTreeSet<crate::family::Family>,
) -> (HostName, Answer) {
    let answer = look_up(&dns, &host, &families).await;
    (host, answer)
}

/// Why nodes cannot be where their names say that they are.
pub(super) fn objection(config: &Config, view: &NetView, known: &Known) -> Option<String> {
    let config = config.with_addresses(known);
    super::start::refuse_own_nodes(view, &config)
        .err()
        .map(|error| error.to_string())
        .or_else(|| config.clash())
}

/// The same, and what the relay has no room for.
fn objection_of_relay(relay: &Relay, view: &NetView, known: &Known) -> Option<String> {
    objection(relay.config(), view, known).or_else(|| {
        let config = relay.config().with_addresses(known);
        relay.accepts(&config).err().map(|error| error.to_string())
    })
}

fn log_taken(host: &HostName, taken: &Taken, kept: Addresses) {
    if let Some((before, after)) = &taken.moved {
        if before.is_empty() {
            log::info!("{host} is {after}");
        } else {
            log::info!("{host} is {after} now; connections stay on {before} while it answers");
        }
    }
    if let Some(why) = &taken.failed {
        if kept.is_empty() {
            log::warn!("{host} cannot be looked up, so its nodes are down: {why}; trying again");
        } else {
            log::warn!(
                "{host} cannot be looked up, and is taken to be {kept} still: {why}; trying again"
            );
        }
    }
    if taken.recovered && taken.moved.is_none() {
        log::info!("{host} can be looked up again");
    }
}

impl Agent {
    /// Has the names looked up that are due.
    pub(super) fn look_up_names(&mut self, now: Instant) {
        for (host, families) in self.hosts.names.due(now) {
            let (dns, answered) = (self.relay.config().dns.clone(), self.hosts.answered.clone());
            self.hosts.outside.spawn(async move {
                // Nobody waits for it any more where the agent ends.
                let _ = answered.send(asked_for(dns, host, families).await);
            });
        }
    }

    /// Takes answers. Where they move a node, it is as if the configuration file had been changed and reloaded.
    pub(super) async fn take_answers(&mut self, answers: Vec<(HostName, Answer)>) {
        let view = std::sync::Arc::clone(&self.views.borrow());
        let interval = self.relay.config().dns.interval;
        let mut moved = false;
        for (host, answer) in answers {
            let now = (Instant::now(), SystemTime::now());
            let relay = &self.relay;
            let objection = |known: &Known| objection_of_relay(relay, &view, known);
            let taken = self
                .hosts
                .names
                .take(&host, &answer, interval, now, objection);
            let kept = self
                .hosts
                .names
                .of(&host)
                .map_or_else(Default::default, |of| of.addresses);
            log_taken(&host, &taken, kept);
            self.tell_taken(&host, &taken, kept);
            moved |= taken.moved.is_some();
        }
        if moved {
            let config = self
                .relay
                .config()
                .with_addresses(&self.hosts.names.known());
            self.find_neighbours(&config).await;
            if let Err(error) = self.take_config(config).await {
                log::error!("{error:#}");
            }
            self.keep_names();
        }
    }

    fn tell_taken(&self, host: &HostName, taken: &Taken, addresses: Addresses) {
        if taken.moved.is_some() || taken.recovered {
            let before = taken.moved.map_or(addresses, |(before, _)| before);
            self.events.tell(Happening::Resolved {
                host: host.to_string(),
                before: before.iter().collect(),
                addresses: addresses.iter().collect(),
            });
        }
        if let Some(reason) = &taken.failed {
            self.events.tell(Happening::Unresolved {
                host: host.to_string(),
                reason: reason.clone(),
                addresses: addresses.iter().collect(),
            });
        }
    }

    /// Keeps what names stand for, for the next agent.
    pub(super) fn keep_names(&mut self) {
        let kept = names_file::save(&self.options.names_file, self.hosts.names.to_keep());
        match kept {
            Ok(()) => self.hosts.unkept = false,
            Err(error) if self.hosts.unkept => log::debug!("{error:#}"),
            Err(error) => {
                log::error!("{error:#}");
                self.hosts.unkept = true;
            }
        }
    }

    /// The names as they would be with another configuration, and that configuration with what they stand for.
    pub(super) fn names_for(&self, config: &Config) -> (Names, Config) {
        let mut names = self.hosts.names.clone();
        names.want(config.hosts(), Instant::now());
        let config = config.with_addresses(&names.known());
        (names, config)
    }
}
