//! The running agent: one task that owns the state, hears everybody, and alone writes the maps.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the loop |
//! | `start.rs` | everything that must be right before something is attached |
//! | `account.rs` | whom it runs as, and what it gives up |
//! | `lock_holder.rs` | which process holds the lock of the pin directory |
//! | `apply.rs` | desired state → maps |
//! | `attachment.rs` | which interfaces the program is on, and how |
//! | `ways.rs` | the ways to nodes and clients, as the network changes |
//! | `hosts.rs` | nodes' names, and what they stand for |
//! | `sources.rs` | pools whose nodes are named elsewhere |
//! | `names_file.rs` | what names stand for, for the next agent |
//! | `kept_file.rs` | files in which something is kept for the next agent |
//! | `interfaces.rs` | interfaces that go and come back |
//! | `answer.rs` | what the control socket asks |
//! | `operate.rs` | enabling, disabling and draining |
//! | `operator_file.rs` | what the operator has said, for the next agent |
//! | `peers.rs` | what other relays are told, and what is taken of what they tell |
//! | `observe.rs` | what checks have seen |
//! | `plan.rs` | what a change would do |
//! | `poll.rs` | checking everything now |
//! | `tell.rs` | from writes to events |
//! | `audit.rs` | the kernel's maps against what ought to be in them |
//! | `capture.rs` | packets for whoever captures them |
//! | `sessions.rs` | recorded connections, one by one |
//! | `reload.rs` | another configuration while packets run |
//! | `status.rs` | what `show` and `explain` are told |
//! | `look.rs` | passive health: the looks at the data path's counters |
//! | `seen.rs` | what metrics and the status page are told |
//! | `signals.rs` | which signals an agent heeds |
//! | `supervisor.rs` | what the service manager is told |
//! | `clock.rs` | the data path's clock |
//! | `config_watch.rs` | a configuration file that is replaced from outside |

mod account;
mod answer;
mod apply;
mod attachment;
mod audit;
mod capture;
mod clock;
mod config_watch;
mod hosts;
mod interfaces;
mod kept_file;
mod lock_holder;
mod look;
mod names_file;
mod observe;
mod operate;
mod operator_file;
mod peers;
mod plan;
mod poll;
mod reload;
mod seen;
mod sessions;
mod signals;
mod sources;
mod start;
mod status;
mod supervisor;
mod tell;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use aya_log::EbpfLogger;
use redirector_common::{abi::Globals, verdict::Event};
use tokio::sync::{mpsc, watch};

use self::{
    apply::Applied,
    attachment::Attachment,
    clock::Clock,
    look::Watch,
    seen::{Shown, Tally},
    signals::{Heeded, Signals},
};
use crate::{
    config::Config,
    control::{Call, Events, Happening, Server},
    datapath::{Datapath, MapsError, detach, unpin_all},
    engine::{Relay, Traffic},
    health::{Observation, Scheduler},
    http::{Ask, Http},
    net::{monitor::Monitor, solicit::Solicitor, view::NetView},
    privileges::Threads,
};

/// How often nodes are listened to and the clock is moved.
const TICK: Duration = Duration::from_millis(250);

/// How often the data path's counters are looked at for nodes that have become doubtful. While no packet goes to a node
/// this is one read, and soon nothing else.
const LOOK: Duration = Duration::from_millis(100);

/// How often recorded flows are gone through, unless the session timeout is very short.
const ROUND: Duration = Duration::from_secs(10);

/// How often UDP associations are gone through.
const ASSOCIATIONS_ROUND: Duration = Duration::from_secs(1);

/// How long a fresh start waits for the first result of every check.
const FIRST_RESULTS: Duration = Duration::from_millis(200);

/// Results of checks that are taken at once, since each that changes something may change every table.
const OBSERVATIONS: usize = 256;

/// Lines that the data path may log per CPU and second.
const LOG_BURST: u32 = 10;

/// What `redirector run` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where links and maps are pinned.
    pub pin_dir: PathBuf,
    /// Where what the operator has said is kept for the next agent.
    pub operator_file: PathBuf,
    /// Where what nodes' names stand for is kept for the next agent.
    pub names_file: PathBuf,
    /// The data path's object file, in place of the embedded one.
    pub bpf_object: Option<PathBuf>,
    /// Leave the data path forwarding when a signal ends the agent.
    pub stay_attached: bool,
    /// Replace a data path of another version whose connections can't be carried over.
    pub replace: bool,
    /// Reload when the configuration file has another content.
    pub watch_config: bool,
}

/// Where what the operator says is kept, when he does not say, by an agent whose control socket is `socket`.
pub fn operator_file_of(socket: &Path) -> PathBuf {
    operator_file::beside(socket)
}

/// Where what nodes' names stand for is kept, when nobody says, by an agent whose control socket is `socket`.
pub fn names_file_of(socket: &Path) -> PathBuf {
    names_file::beside(socket)
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// Whatever keeps it from running. Nothing is attached then that was not before.
pub fn run(mut options: RunOptions) -> anyhow::Result<()> {
    let lock = account::enter(&Config::load(&options.config)?, &mut options)?;
    // Every thread is made by this one: sockets and interfaces are those of the network namespace it was started in.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let signals = Signals::new().context("cannot listen to signals")?;
        let mut agent = Box::pin(start::start(options, lock)).await?;
        let end = agent.serve(signals).await;
        Box::pin(agent.end(end)).await
    })
}

/// How an agent ends.
enum End {
    /// The data path goes on forwarding.
    Leave,
    /// Nothing stays behind.
    Detach,
}

/// The agent at work.
struct Agent {
    options: RunOptions,
    relay: Relay,
    applied: Applied,
    datapath: Datapath,
    attachments: Vec<Attachment>,
    refusals: interfaces::Refusals,
    clock: Clock,
    scheduler: Scheduler,
    hosts: hosts::Hosts,
    peers: peers::Peers,
    sources: sources::Sources,
    solicitor: Solicitor,
    views: watch::Receiver<Arc<NetView>>,
    observations: mpsc::Receiver<Observation>,
    calls: mpsc::Receiver<Call>,
    call_sender: mpsc::Sender<Call>,
    asked: mpsc::Receiver<Ask>,
    ask: mpsc::Sender<Ask>,
    server: Server,
    http: Option<Http>,
    shown: Shown,
    events: Events,
    /// Digests of the tables in place, by redirect.
    digests: BTreeMap<u16, String>,
    polls: Vec<poll::Poll>,
    started: SystemTime,
    /// Until then a fresh start waits for the first results.
    holds_until: Instant,
    /// Counts the configurations applied.
    generation: u64,
    last_round: Instant,
    last_associations: Instant,
    /// The configuration file, where it is watched.
    config_watch: Option<config_watch::ConfigWatch>,
    watch: Watch,
    capture: capture::Capture,
    watchdog: supervisor::Watchdog,
    /// How often a connection could not be recorded, as of the last round.
    table_full: Option<u64>,
    /// What is known of the recorded connections.
    counted: operate::Counted,
    log: EbpfLogger<&'static dyn log::Log>,
    _threads: Threads,
    _monitor: Monitor,
    _lock: start::PinLock,
}

impl Agent {
    async fn serve(&mut self, mut signals: Signals) -> End {
        // What is done at the same time wakes the agent up once.
        let mut ticks = tokio::time::interval_at(self.scheduler.next_beat(TICK), TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut observations = Vec::new();
        let mut looks = tokio::time::interval_at(self.scheduler.next_beat(LOOK), LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                1.. = self.observations.recv_many(&mut observations, OBSERVATIONS) => {
                    self.observe(&observations);
                    observations.clear();
                }
                Ok(()) = self.views.changed() => self.follow_network().await,
                _ = ticks.tick() => self.tick().await,
                _ = looks.tick() => self.look(),
                Some(call) = self.calls.recv() => {
                    if let Some(end) = self.answer(call).await {
                        return end;
                    }
                }
                due = self.capture.next() => self.capture(due),
                Some(ask) = self.asked.recv() => self.show_to(ask),
                answers = self.hosts.next() => self.take_answers(answers).await,
                Some(heard) = self.peers.next() => self.hear_peer(heard),
                reports = self.sources.next() => self.take_reports(reports).await,
                signal = signals.next() => match signal {
                    Heeded::Reload => match self.reload().await {
                        Ok(reloaded) => log::info!("SIGHUP: {reloaded}"),
                        Err(error) => log::error!("SIGHUP: {error:#}"),
                    },
                    Heeded::End(name) => {
                        log::info!("{name}: stopping");
                        return if self.options.stay_attached { End::Leave } else { End::Detach };
                    }
                },
            }
        }
    }

    async fn end(mut self, end: End) -> anyhow::Result<()> {
        Self::tell_stopping();
        self.end_capture();
        self.events.tell(Happening::Stopping {
            detach: matches!(end, End::Detach),
        });
        match end {
            End::Leave => {
                log::info!("the data path goes on forwarding; start the agent again to adopt it");
            }
            End::Detach => {
                for (ifindex, address) in self.neighbours() {
                    // The interface may be gone, and its neighbours with it.
                    if let Err(error) = self.solicitor.unmanage(ifindex, address).await {
                        log::debug!("{error}");
                    }
                }
                for attachment in &self.attachments {
                    detach(
                        &attachment.interface,
                        attachment.mode,
                        &self.options.pin_dir,
                    )?;
                }
                unpin_all(&self.options.pin_dir);
                log::info!("detached; nothing is left behind");
            }
        }
        self.observations.close();
        self.server.shutdown().await;
        Ok(())
    }

    fn epoch(&self) -> u32 {
        self.clock.epoch(Instant::now())
    }

    fn allowed(&self) -> BTreeSet<u32> {
        self.attachments
            .iter()
            .map(|attachment| attachment.ifindex)
            .collect()
    }

    /// Brings the maps up to date; what fails is tried again at the next tick.
    fn apply(&mut self) {
        if let Err(error) = self.try_apply() {
            log::error!("{error:#}; trying again");
        }
        self.tell_noted();
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let globals = Globals {
            epoch: self.epoch(),
            log_burst: LOG_BURST,
        };
        if let Err(error) = self.applied.maps.set_globals(&globals) {
            log::error!("{error}");
        }
        let epoch = self.epoch();
        let held_long_enough = now >= self.holds_until;
        self.change(|relay| {
            if held_long_enough {
                relay.release(epoch);
            }
            relay.advance(epoch);
        });
        self.reload_if_changed(now).await;
        self.look_up_names(now);
        self.follow_sources(now).await;
        let view = Arc::clone(&self.views.borrow());
        self.serve_watchdog(now, TICK);
        if self.follow_interfaces(&view, now) {
            self.follow_network().await;
        }
        self.listen(now);
        self.expire_deadlines();
        self.answer_polls();
        self.follow_captured_nodes();
        self.log.flush();
        match self.applied.maps.take_wanted() {
            Ok(wanted) => {
                for (address, ifindex) in wanted {
                    if let Err(error) = self.solicitor.solicit(ifindex, address).await {
                        log::debug!("{error}");
                    }
                }
            }
            Err(error) => log::error!("{error}"),
        }
        if now.duration_since(self.last_associations) >= ASSOCIATIONS_ROUND {
            self.last_associations = now;
            if let Err(error) = self.round_of_associations() {
                log::error!("{error}");
            }
        }
        let flows = &self.relay.config().flows;
        let session = flows.session_timeout.min(flows.udp_timeout);
        if now.duration_since(self.last_round) >= ROUND.min(session / 4).max(TICK) {
            self.last_round = now;
            self.round();
            self.warn_of_full_table();
            // Kernels before 5.16 forget a neighbour that nobody asks for.
            let view = Arc::clone(&self.views.borrow());
            self.keep_neighbours(&view).await;
        }
        self.apply();
    }

    /// Reloads where the configuration file is watched and has changed.
    async fn reload_if_changed(&mut self, now: Instant) {
        let watch = self.config_watch.as_mut();
        if !watch.is_some_and(|watch| watch.has_changed(now)) {
            return;
        }
        match self.reload().await {
            Ok(reloaded) => log::info!("the configuration file was changed: {reloaded}"),
            Err(error) => log::error!(
                "the configuration file was changed, and what was before stays in force: {error:#}"
            ),
        }
    }

    /// Says so when connections could not be recorded since the last round.
    fn warn_of_full_table(&mut self) {
        let full = match self.applied.maps.counters() {
            Ok(counters) => counters.packets[Event::FlowTableFull.index()],
            Err(error) => return log::error!("{error}"),
        };
        let before = self.table_full.replace(full);
        if let Some(packets) = before
            .and_then(|before| full.checked_sub(before))
            .filter(|n| *n > 0)
        {
            log::warn!(
                "the flow table is full ({} connections): {packets} packets of connections that could not \
                 be recorded; they go on in a table that evicts the oldest. Raise flows.max, or lower \
                 flows.session-timeout",
                self.relay.config().flows.max
            );
            self.events.tell(Happening::FlowTableFull { packets });
        }
    }

    /// Looks whether nodes that are spoken to answer.
    fn listen(&mut self, now: Instant) {
        if let Err(error) = self.read_counters() {
            return log::error!("{error}");
        }
        let watch = &self.watch;
        let traffic = |id| {
            let stats = watch.of(id);
            Traffic {
                asked: stats.asks,
                heard: stats.reply_packets,
            }
        };
        for id in self.relay.listen(traffic, now) {
            if let Some(entry) = self.relay.backends().get(id) {
                self.events.tell(Happening::Silent {
                    node: self.name_of(id).unwrap_or_default(),
                    address: entry.address,
                });
                log::warn!("node {} does not answer clients any more", entry.address);
            }
        }
    }

    /// Goes through the recorded flows.
    fn round(&mut self) {
        let epoch = self.epoch();
        let flows = match self.applied.maps.flows() {
            Ok(flows) => flows,
            Err(error) => return log::error!("{error}"),
        };
        self.counted_now(&flows);
        let forgotten = self.relay.round(&flows, epoch);
        if let Err(error) = self.try_apply() {
            // The tables in place may still need these flows.
            return log::error!("{error:#}; trying again");
        }
        if let Err(error) = self.write_loads(true) {
            log::error!("{error:#}");
        }
        for (key, flow) in forgotten {
            let removed = self.applied.maps.remove_flow_if(key, &flow);
            if let Err(error) = removed {
                return log::error!("{error}");
            }
        }
    }

    /// Closes UDP associations that are over without having ended.
    fn round_of_associations(&mut self) -> Result<(), MapsError> {
        let maps = &self.applied.maps;
        // In this order: what belongs to a pinhole is there once the pinhole is.
        let pinholes = maps.pinholes()?;
        let associations = maps.associations()?;
        self.shown.tally = Tally {
            pinholes: pinholes.len() as u64,
            ..Tally::of(&associations)
        };
        let epoch = self.epoch();
        let closed = self
            .relay
            .round_of_associations(&associations, &pinholes, epoch);
        for (name, association) in closed.associations {
            self.applied
                .maps
                .remove_association_if(name, &association)?;
        }
        for (name, pinhole) in closed.pinholes {
            self.applied.maps.remove_pinhole_if(name, &pinhole)?;
        }
        Ok(())
    }
}
