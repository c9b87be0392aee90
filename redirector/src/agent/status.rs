//! What `show` and `explain` are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use redirector_common::{
    abi::{AnswerTimes, BACKEND_DEAD, BACKEND_NEXT_HOP, Backend, BackendStats, SLOTS},
    verdict::{Event, Verdict},
};

use super::{Agent, seen::Tally, tell::mac};
use crate::{
    config::{Delivery, Mode, Node, Redirect, UdpAssociate},
    control::status::{
        AnswersStatus, CheckStatus, CounterStatus, Explanation, FORWARD_TO, FlowsStatus,
        InterfaceStatus, KernelBackend, NameStatus, NextHopStatus, NodeStatus, OperatorState,
        PoolStatus, ROUTE_TO, RecordedFlow, RedirectExplanation, RedirectState as Shown,
        RedirectStatus, Status, Traffic,
    },
    engine::{Entry, Member, RedirectState},
    family::Family,
    health::{Health, Tracker},
    http::Slots,
    names::With,
    net::resolve::way_to,
};

/// What is known of a node by its entry.
pub(super) struct OfNode {
    stats: BackendStats,
    pub(super) answers: AnswerTimes,
    next_hop: Option<NextHopStatus>,
}

impl Agent {
    /// Everything at one moment.
    pub(super) fn status(&mut self) -> anyhow::Result<Status> {
        self.count_to_show()?;
        let associations = Tally::of(&self.applied.maps.associations()?);
        let slots = self.slots_now();
        self.status_of(&associations, &slots, &self.entries_of_nodes()?)
    }

    /// What is known of each node by its entry, once for all redirects that reach it by the same one.
    pub(super) fn entries_of_nodes(&self) -> anyhow::Result<BTreeMap<u16, OfNode>> {
        let maps = &self.applied.maps;
        let allowed = self.allowed();
        let mut counted = BTreeMap::new();
        for (id, entry) in self.relay.backends().iter() {
            let stats = maps.backend_stats(id)?;
            let answers = if stats.syn_acks > 0 {
                maps.answer_times(id)?
            } else {
                AnswerTimes::default()
            };
            let next_hop = self.next_hop(entry, &allowed);
            let of_node = OfNode {
                stats,
                answers,
                next_hop,
            };
            counted.insert(id, of_node);
        }
        Ok(counted)
    }

    /// Everything, with recorded flows and associations as they were counted.
    pub(super) fn status_of(
        &self,
        tally: &Tally,
        slots: &BTreeMap<u16, Arc<Slots>>,
        counted: &BTreeMap<u16, OfNode>,
    ) -> anyhow::Result<Status> {
        let mut redirects = Vec::new();
        for redirect in &self.relay.config().redirects {
            let states = self.relay.redirects().iter();
            for (index, state) in states.filter(|(_, state)| state.name == redirect.name) {
                let listeners = state.listeners.iter();
                let live = listeners.filter_map(|listener| tally.associations.get(&listener.id));
                let live = live.sum();
                let shared = redirect.udp_associate == UdpAssociate::Shared;
                let owned = &slots[index].owned;
                let shown = self.redirect_status(*index, redirect, state, owned, counted)?;
                redirects.push(RedirectStatus {
                    associations: shared.then_some(live),
                    ..shown
                });
            }
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: unix(self.started),
            at: unix(SystemTime::now()),
            generation: self.generation,
            interfaces: self
                .attachments
                .iter()
                .map(|attachment| InterfaceStatus {
                    interface: attachment.interface.clone(),
                    ifindex: attachment.ifindex,
                    mode: attachment.mode.name().to_owned(),
                })
                .collect(),
            absent: self.absent().cloned().collect(),
            redirects,
            counters: self.counters()?,
            peers: self.peers.status(Instant::now()),
            sources: self.source_status(),
            flows: FlowsStatus {
                recorded: self.counted.records,
                max: u64::from(self.relay.config().flows.max),
            },
        })
    }

    fn redirect_status(
        &self,
        index: u16,
        redirect: &Redirect,
        state: &RedirectState,
        owned: &BTreeMap<u16, u32>,
        counted: &BTreeMap<u16, OfNode>,
    ) -> anyhow::Result<RedirectStatus> {
        let pool = |pool| self.pool_status(pool, redirect, state, owned, counted);
        let served = owned.keys().any(|backend| *backend != 0);
        let table = state.book.table();
        let operator = self.relay.operator().of_redirect(&redirect.name);
        Ok(RedirectStatus {
            id: u32::from(index),
            name: redirect.name.clone(),
            family: state.family.to_string(),
            delivery: match redirect.delivery {
                Delivery::Translate => FORWARD_TO,
                Delivery::Route => ROUTE_TO,
            }
            .to_owned(),
            mode: redirect.mode.word().to_owned(),
            tracks_all: redirect.tracks_all(),
            sticky: redirect.sticky.length(state.family),
            listen: redirect
                .listen
                .iter()
                .filter(|listen| Family::of(listen.address) == state.family)
                .map(ToString::to_string)
                .collect(),
            associations: None,
            state: match (operator, served, state.using_backup) {
                (OperatorState::Disabled, _, _) => Shown::Disabled,
                (OperatorState::Draining, _, _) => Shown::Draining,
                (OperatorState::Enabled, false, _) => Shown::Down,
                (OperatorState::Enabled, true, true) => Shown::ActiveBackup,
                (OperatorState::Enabled, true, false) => Shown::Active,
            },
            operator,
            pool: pool(redirect.pool),
            backup: redirect.backup.map(pool),
            slots: u32::try_from(SLOTS)?,
            split_slots: table.split_slots,
            generation: table.generation,
            digest: self.digests.get(&index).cloned(),
        })
    }

    fn pool_status(
        &self,
        index: usize,
        redirect: &Redirect,
        state: &RedirectState,
        owned: &BTreeMap<u16, u32>,
        counted: &BTreeMap<u16, OfNode>,
    ) -> PoolStatus {
        let pool = &self.relay.config().pools[index];
        let mut nodes = Vec::new();
        for node in &pool.nodes {
            let Some(address) = node.addresses.of(state.family) else {
                if node.addresses.is_empty() {
                    nodes.push(self.unresolved(redirect, index, node));
                }
                continue;
            };
            let member = Member {
                redirect,
                pool: index,
                node,
                address,
            };
            let address = member.socket();
            let id = self.relay.backends().id_of(address).unwrap_or(0);
            let checked = self.relay.checked_of(&member);
            let tracker = checked.map(|checked| &checked.tracker);
            let of_node = counted.get(&id);
            let last = checked.and_then(|checked| checked.last.as_ref());
            nodes.push(NodeStatus {
                id: u32::from(id),
                name: node.name.clone(),
                address: Some(address),
                name_lookup: self.name_lookup(node),
                weight: node.weight,
                priority: node.priority,
                parent: self.parent_of(node),
                health: tracker.map_or(Health::Unknown, Tracker::health),
                operator: self.relay.operator_of(&member),
                readiness: node
                    .standing
                    .as_ref()
                    .map(|of| of.readiness.word().to_owned()),
                since: tracker.map_or(0, |tracker| unix(wall_clock(tracker.since()))),
                availability: tracker.and_then(Tracker::availability),
                last_check: last.map(|last| CheckStatus {
                    check: last.check_name().to_owned(),
                    cause: last.outcome.cause().word().to_owned(),
                    outcome: last.outcome.to_string(),
                    took_us: u64::try_from(last.took.as_micros()).unwrap_or(u64::MAX),
                    at: unix(wall_clock(last.at)),
                }),
                slots: owned.get(&id).copied().filter(|_| id != 0).unwrap_or(0),
                next_hop: of_node.and_then(|of| of.next_hop.clone()),
                live: self.live_on(state, id),
                traffic: of_node.map_or_else(Traffic::default, |of| traffic(&of.stats)),
                answers: of_node.and_then(|of| answers(&of.answers)),
            });
        }
        PoolStatus {
            name: pool.name.clone(),
            port: redirect.port,
            operator: self.relay.operator().of_pool(&pool.name),
            nodes,
        }
    }

    /// A node of which nobody knows where it is: it is down.
    fn unresolved(&self, redirect: &Redirect, pool: usize, node: &Node) -> NodeStatus {
        let pool = &self.relay.config().pools[pool].name;
        let operator = self.relay.operator();
        NodeStatus {
            id: 0,
            name: node.name.clone(),
            address: None,
            name_lookup: self.name_lookup(node),
            weight: node.weight,
            priority: node.priority,
            parent: self.parent_of(node),
            health: Health::Down,
            operator: operator.of_node(&redirect.name, pool, &node.name),
            readiness: None,
            since: unix(self.started),
            availability: None,
            last_check: None,
            slots: 0,
            next_hop: None,
            live: 0,
            traffic: Traffic::default(),
            answers: None,
        }
    }

    fn name_lookup(&self, node: &Node) -> Option<NameStatus> {
        let host = node.host.as_ref()?;
        let known = self.hosts.names.of(host);
        Some(NameStatus {
            host: host.to_string(),
            at: known.and_then(|known| known.at).map(unix),
            error: known.and_then(|known| known.trouble.clone()),
        })
    }

    /// The node whose state this one has.
    fn parent_of(&self, node: &Node) -> Option<String> {
        let parent = node.parent?;
        let pool = self.relay.config().pools.get(parent.pool)?;
        let node = pool.nodes.get(parent.node)?;
        Some(format!("{}/{}", pool.name, node.name))
    }

    /// Recorded connections that are not over, between a redirect and a backend.
    fn live_on(&self, state: &RedirectState, backend: u16) -> u64 {
        let ways = state
            .listeners
            .iter()
            .map(|listener| (listener.id, backend));
        ways.filter_map(|way| self.counted.live.get(&way))
            .map(|live| live.connections)
            .sum()
    }

    fn next_hop(&self, entry: &Entry, allowed: &BTreeSet<u32>) -> Option<NextHopStatus> {
        let backend = &entry.backend;
        if backend.flags & BACKEND_NEXT_HOP == 0 {
            return None;
        }
        let view = self.views.borrow();
        let address = entry.address.ip();
        let way = way_to(&view, address, allowed);
        Some(NextHopStatus {
            interface: view.link_name(backend.hop.ifindex),
            neighbour: way.map_or(address, |way| way.neighbour),
            mac: mac(backend.hop.destination),
        })
    }

    fn counters(&self) -> anyhow::Result<Vec<CounterStatus>> {
        let counters = self.applied.maps.counters()?;
        let verdicts = Verdict::ALL
            .iter()
            .map(|v| (v.index(), v.name(), v.meaning()));
        let events = Event::ALL
            .iter()
            .map(|e| (e.index(), e.name(), e.meaning()));
        let status = verdicts
            .chain(events)
            .map(|(index, name, meaning)| CounterStatus {
                name: name.to_owned(),
                meaning: meaning.to_owned(),
                packets: counters.packets[index],
            });
        Ok(status.collect())
    }

    /// Where a client goes, and why.
    pub(super) fn explain(&mut self, client: IpAddr) -> anyhow::Result<Explanation> {
        let flows = self.applied.maps.flows()?;
        let epoch = self.epoch();
        let mut redirects = Vec::new();
        let indices: Vec<u16> = self
            .relay
            .redirects()
            .iter()
            .filter(|(_, state)| state.family == Family::of(client))
            .map(|(index, _)| *index)
            .collect();
        for index in indices {
            let live = self.applied.maps.slot_table(index)?;
            let Some(state) = self.relay.redirects().get(&index) else {
                continue;
            };
            let number = state.book.slot_of(client);
            // The kernel's own table, not what ought to be in it.
            let slot = live.map_or_else(|| state.book[number], |t| t.slots[usize::from(number)]);
            let recorded = flows
                .iter()
                .filter(|(name, _)| {
                    let mut listeners = state.listeners.iter();
                    name.client.ip() == client
                        && listeners.any(|known| name.with == With::Listener(known.id))
                })
                .map(|(name, flow)| RecordedFlow {
                    port: name.client.port(),
                    node: self.name_of(flow.backend).unwrap_or_default(),
                    idle: epoch.saturating_sub(flow.seen),
                })
                .collect();
            let backend = self.applied.maps.backend(slot.now)?;
            let computed = self.relay.backends().get(slot.now);
            let configured = self.relay.config().redirects.iter();
            let mode = configured
                .filter(|redirect| redirect.name == state.name)
                .map(|redirect| redirect.mode)
                .next()
                .unwrap_or_default();
            let (by_slot, mode) = (mode == Mode::SourceHash, mode.word().to_owned());
            let agrees = slot == state.book[number]
                && backend == computed.map(|entry| entry.backend).unwrap_or_default();
            redirects.push(RedirectExplanation {
                kernel: (by_slot && backend.is_set()).then(|| self.in_kernel(slot.now, &backend)),
                agrees,
                redirect: state.name.clone(),
                slot: u32::from(number),
                now: self.name_of(slot.now).filter(|_| by_slot),
                was: self.name_of(slot.unrecorded()),
                split: slot.is_split(),
                recorded,
                reason: if by_slot {
                    self.reason(slot.now, slot.unrecorded(), slot.is_split())
                } else {
                    format!(
                        "mode {mode} chooses a node for each connection, whoever the client is; recorded \
                         connections stay on their nodes"
                    )
                },
                mode,
            });
        }
        Ok(Explanation { client, redirects })
    }

    fn in_kernel(&self, id: u16, backend: &Backend) -> KernelBackend {
        KernelBackend {
            id: u32::from(id),
            address: (backend.ip(), u16::from_be_bytes(backend.port)).into(),
            mac: mac(backend.hop.destination),
            interface: self.views.borrow().link_name(backend.hop.ifindex),
            reachable: backend.flags & BACKEND_NEXT_HOP != 0,
            dead: backend.flags & BACKEND_DEAD != 0,
        }
    }

    fn reason(&self, now: u16, was: u16, split: bool) -> String {
        let name = |id| self.name_of(id).unwrap_or_else(|| "no node".to_owned());
        if now == 0 && was != 0 {
            return format!(
                "no node can take new connections; connections that are not recorded stay on {}",
                name(was)
            );
        }
        if now == 0 {
            return "no node can take new connections".to_owned();
        }
        if !split {
            return format!("the slot is settled: every packet goes to {}", name(now));
        }
        if now == was {
            return format!(
                "the slot is split: recorded connections stay on their nodes, all others go to {}",
                name(now)
            );
        }
        let dead = self
            .relay
            .backends()
            .get(was)
            .is_some_and(|entry| entry.backend.flags & BACKEND_DEAD != 0);
        let old = if dead {
            format!(
                "{} is dead, so its connections are reset by {}",
                name(was),
                name(now)
            )
        } else {
            format!("connections that are not recorded stay on {}", name(was))
        };
        format!(
            "the slot is split: new connections go to {}, {old}",
            name(now)
        )
    }

    /// A backend's node: its name in the configuration, or its address if it was taken out.
    pub(super) fn name_of(&self, id: u16) -> Option<String> {
        let entry = self.relay.backends().get(id)?;
        let configured = self
            .relay
            .members()
            .find(|member| member.socket() == entry.address);
        Some(configured.map_or_else(
            || entry.address.to_string(),
            |member| member.node.name.clone(),
        ))
    }
}

fn traffic(stats: &BackendStats) -> Traffic {
    Traffic {
        forward_packets: stats.forward_packets,
        forward_bytes: stats.forward_bytes,
        reply_packets: stats.reply_packets,
        reply_bytes: stats.reply_bytes,
        syns: stats.syns,
        syn_acks: stats.syn_acks,
        resets: stats.resets,
    }
}

/// Within which time half of them and nearly all were answered; none where none was timed.
fn answers(times: &AnswerTimes) -> Option<AnswersStatus> {
    let timed = Some(times.count()).filter(|timed| *timed > 0)?;
    let within = |percent: u64| {
        let mut so_many = 0;
        let class = times.classes.iter().position(|count| {
            so_many += count;
            so_many * 100 >= timed * percent
        });
        class.and_then(AnswerTimes::bound).map(|bound| bound / 1000)
    };
    Some(AnswersStatus {
        timed,
        median_us: within(50),
        p99_us: within(99),
    })
}

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The wall clock's reading at an instant of the past.
fn wall_clock(at: Instant) -> SystemTime {
    SystemTime::now() - at.elapsed()
}
