//! Names of nodes: looked up one after the other, and what they stand for taken into the relay.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{runtime::Handle, sync::mpsc, time::timeout_at};

use super::{Agent, names_file};
use crate::{
    config::{Addresses, Config, Dns, HostName, Known, Redirect},
    control::Happening,
    dns::{Answer, Kept, Names, Objections, Taken, look_up},
    engine::{Found, Relay},
    net::view::NetView,
};

/// Answers that are taken at once, since each that changes something may change every table.
pub(super) const ANSWERS: usize = 256;

/// An answer about a name.
pub(super) struct Answered {
    host: HostName,
    answer: Answer,
    /// What [`Names::asking`] was when it was asked for.
    asking: u64,
}

/// The state of names, and the look-ups under way.
pub(super) struct Hosts {
    pub(super) names: Names,
    answers: mpsc::UnboundedReceiver<Answered>,
    answered: mpsc::UnboundedSender<Answered>,
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
    pub(super) async fn next(&mut self) -> Vec<Answered> {
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
    kept: Vec<Kept>,
    outside: &Handle,
) -> Names {
    let hosts = config.hosts();
    if hosts.is_empty() {
        return Names::default();
    }
    let mut names = Names::new(kept);
    names.want(hosts, Instant::now());
    let kept = Placement {
        config,
        view,
        relay: None,
    };
    for (host, why) in names.admit(&kept) {
        log::error!("{host} is not taken to be where it was: {why}");
    }
    let missing: BTreeSet<HostName> = names.unresolved().cloned().collect();
    if missing.is_empty() {
        return names;
    }
    let limit = tokio::time::Instant::now() + config.dns.timeout;
    let first = Instant::now();
    // What an earlier agent's connections go through: the addresses that are found now must not end them.
    let there = config.with_addresses(&names.known());
    let relay = Relay::new(there, [0; 2], Found::default(), 0, first).ok();
    let objections = Placement {
        config,
        view,
        relay: relay.as_ref(),
    };
    let mut asked = FuturesUnordered::new();
    loop {
        for (host, families) in names.due_of(first, |host| missing.contains(host)) {
            asked.push(outside.spawn(asked_for(config.dns.clone(), host, families)));
        }
        let Ok(Some(Ok((host, answer)))) = timeout_at(limit, asked.next()).await else {
            break;
        };
        let now = (Instant::now(), SystemTime::now());
        let taken = names.take(&host, &answer, config.dns.interval, now, &objections);
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

/// Where names may put nodes.
struct Placement<'a> {
    config: &'a Config,
    view: &'a NetView,
    /// Who must have room for them, and whose connections must not end by it.
    relay: Option<&'a Relay>,
}

impl Objections for Placement<'_> {
    fn to_address(&self, host: &HostName, address: IpAddr) -> Option<String> {
        if self.view.is_own(address) {
            return Some(format!("{address} is this relay's own address"));
        }
        let mut redirects = self.config.redirects.iter();
        let shares = |redirect: &&Redirect| redirect.listen.iter().any(|l| l.address == address);
        if let Some(redirect) = redirects.find(shares) {
            return Some(format!(
                "{address} is the shared address of redirect `{}`",
                redirect.name
            ));
        }
        self.config.pools.iter().find_map(|pool| {
            let mut nodes = pool.nodes.iter();
            if !nodes.clone().any(|node| node.host.as_ref() == Some(host)) {
                return None;
            }
            let other = nodes.find(|node| node.host.is_none() && node.is_at(address))?;
            Some(format!(
                "{address} is in pool `{}` twice, as `{}` and as `{host}`",
                pool.name, other.name
            ))
        })
    }

    fn to_all(&self, known: &Known) -> Option<String> {
        let config = self.config.with_addresses(known);
        let wrong = super::start::refuse_own_nodes(self.view, &config)
            .err()
            .map(|error| error.to_string())
            .or_else(|| config.clash());
        wrong.or_else(|| match self.relay?.newly_tracked_by(&config) {
            Ok(places) => places.first().map(|place| {
                format!(
                    "connections through {} port {} would be lost, since redirects would share a node's socket then; where \
                     that is wanted, write this address in the file in place of the name",
                    place.address, place.port
                )
            }),
            Err(error) => Some(error.to_string()),
        })
    }
}

fn log_taken(host: &HostName, taken: &Taken, kept: Addresses) {
    for (other, left) in &taken.ousted {
        let left = if left.is_empty() {
            "its nodes are down".to_owned()
        } else {
            format!("it is {left} only")
        };
        log::warn!("{other} gives its address up to {host}, whose answer has it: {left}");
    }
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
            let asking = self.hosts.names.asking();
            self.hosts.outside.spawn(async move {
                let (host, answer) = asked_for(dns, host, families).await;
                // Nobody waits for it any more where the agent ends.
                let _ = answered.send(Answered {
                    host,
                    answer,
                    asking,
                });
            });
        }
    }

    /// Takes answers. Where they move a node, it is as if the configuration file had been changed and reloaded.
    pub(super) async fn take_answers(&mut self, answers: Vec<Answered>) {
        let view = std::sync::Arc::clone(&self.views.borrow());
        let interval = self.relay.config().dns.interval;
        let mut moved = false;
        for Answered {
            host,
            answer,
            asking,
        } in answers
        {
            if asking != self.hosts.names.asking() {
                continue;
            }
            let now = (Instant::now(), SystemTime::now());
            let objections = Placement {
                config: self.relay.config(),
                view: &view,
                relay: Some(&self.relay),
            };
            let taken = self
                .hosts
                .names
                .take(&host, &answer, interval, now, &objections);
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
        for (other, left) in &taken.ousted {
            self.events.tell(Happening::Ousted {
                host: other.to_string(),
                by: host.to_string(),
                addresses: left.iter().collect(),
            });
        }
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
        let kept = names_file::Kept {
            names: self.hosts.names.to_keep(),
            pools: self.sources.book.to_keep(),
        };
        let kept = names_file::save(&self.options.names_file, kept);
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
        let now = Instant::now();
        names.want(config.hosts(), now);
        if config.dns != self.relay.config().dns {
            names.ask_others(now);
        }
        let config = config.with_addresses(&names.known());
        (names, config)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;
    use crate::{dns::Part, family::Family};

    const TEXT: &str = r#"
interfaces = ["eth0"]
[pool.a]
nodes = ["dante-1", "dante-2", "10.0.1.3"]
[pool.b]
nodes = ["10.0.1.9"]
[redirect.r]
listen = ["10.0.0.1:1080"]
forward-to = { pool = "a", port = 1080 }
[redirect.s]
listen = ["10.0.0.2:1080"]
forward-to = { pool = "b", port = 1080 }
"#;

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    struct Story {
        names: Names,
        relay: Relay,
        view: NetView,
    }

    impl Story {
        fn new() -> Self {
            let config = Config::parse("t", TEXT).unwrap_or_else(|problems| panic!("{problems}"));
            let now = Instant::now();
            let mut names = Names::default();
            names.want(config.hosts(), now);
            let relay = Relay::new(config, [1, 2], Found::default(), 0, now).expect("room");
            let mut story = Self {
                names,
                relay,
                view: NetView::default(),
            };
            for (name, address) in [("dante-1", [10, 0, 1, 1]), ("dante-2", [10, 0, 1, 2])] {
                assert_eq!(story.answer(name, address).failed, None);
            }
            story
        }

        /// Has the relay go on with what an answer says.
        fn answer(&mut self, name: &str, address: [u8; 4]) -> Taken {
            let objections = Placement {
                config: self.relay.config(),
                view: &self.view,
                relay: Some(&self.relay),
            };
            let part = Part::Addresses {
                addresses: vec![IpAddr::from(address)],
                holds: Duration::from_secs(60),
            };
            let now = (Instant::now(), SystemTime::now());
            let answer = [(Family::V4, part)].into();
            let interval = Duration::from_secs(30);
            let taken = self
                .names
                .take(&host(name), &answer, interval, now, &objections);
            let config = self.relay.config().with_addresses(&self.names.known());
            self.relay
                .reconfigure(config, 0, Instant::now())
                .expect("room");
            taken
        }

        fn at(&self, name: &str) -> Vec<IpAddr> {
            let resolution = self.names.of(&host(name)).expect("wanted");
            resolution.addresses.iter().collect()
        }
    }

    #[test]
    fn an_answer_that_would_have_a_socket_shared_by_redirects_is_refused() {
        let mut story = Story::new();
        let before = story.relay.desired();
        let why = story
            .answer("dante-1", [10, 0, 1, 9])
            .failed
            .expect("refused");
        assert!(
            why.contains("redirects would share a node's socket"),
            "{why}"
        );
        assert_eq!(story.at("dante-1"), [IpAddr::from([10, 0, 1, 1])]);
        let after = story.relay.desired();
        assert_eq!(crate::engine::newly_tracked(&before, &after), []);
    }

    #[test]
    fn names_of_a_pool_trade_addresses() {
        let mut story = Story::new();
        let why = story
            .answer("dante-1", [10, 0, 1, 2])
            .failed
            .expect("refused");
        assert!(why.contains("10.0.1.2 is in pool `a` twice"), "{why}");
        let taken = story.answer("dante-2", [10, 0, 1, 1]);
        assert_eq!(taken.ousted, [(host("dante-1"), Addresses::default())]);
        assert!(story.answer("dante-1", [10, 0, 1, 2]).recovered);
        assert_eq!(story.at("dante-1"), [IpAddr::from([10, 0, 1, 2])]);
        assert_eq!(story.at("dante-2"), [IpAddr::from([10, 0, 1, 1])]);
    }

    #[test]
    fn addresses_where_no_node_can_be_are_told_without_a_look_at_the_whole() {
        let story = Story::new();
        let objections = Placement {
            config: story.relay.config(),
            view: &story.view,
            relay: None,
        };
        for (address, message) in [
            (
                [10, 0, 0, 2],
                "10.0.0.2 is the shared address of redirect `s`",
            ),
            (
                [10, 0, 1, 3],
                "10.0.1.3 is in pool `a` twice, as `10.0.1.3` and as `dante-1`",
            ),
        ] {
            let why = objections.to_address(&host("dante-1"), address.into());
            assert_eq!(why.as_deref(), Some(message));
        }
        for address in [[10, 0, 1, 1], [10, 0, 1, 9]] {
            assert_eq!(
                objections.to_address(&host("dante-1"), address.into()),
                None
            );
        }
    }
}
