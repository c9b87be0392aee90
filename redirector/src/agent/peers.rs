//! Other relays: what they are told, and what is taken of what they tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use redirector_common::{
    abi::{Counters, ENDPOINT_TRACKED},
    verdict::Verdict,
};
use tokio::{runtime::Handle, sync::mpsc};

use super::Agent;
use crate::{
    config::Peer,
    control::status::{PeerCause, PeerState, PeerStatus},
    datapath::MapsError,
    engine::{FromPeer, Standing},
    peer::{Asking, Document, FetchError, Fetched, Heard, Prepared, fingerprint},
};

/// Answers that wait for the loop.
const QUEUE: usize = 4;

/// Two relays that have forwarded clients' packets within this and two exchanges of each other both carry them.
const CLOSE: Duration = Duration::from_millis(500);

/// Of what is told, so large a part of the loop's time may go into reading it: after an answer that took a while the same is
/// told again.
const PART: u32 = 10;

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
struct Known {
    state: PeerState,
    error: Option<String>,
    cause: Option<PeerCause>,
    /// When what was taken last was asked for.
    last: Option<Instant>,
    took: Duration,
    bytes: u64,
    standing: Option<Standing>,
    exchanges: u64,
    slots: u64,
    flows: u64,
    unknown: BTreeSet<std::net::SocketAddr>,
    conflicts: usize,
    differing: BTreeSet<String>,
    left_out: u64,
}

/// All peers.
pub(super) struct Peers {
    config: Vec<Peer>,
    known: BTreeMap<String, Known>,
    heard: mpsc::Receiver<Heard>,
    tell: mpsc::Sender<Heard>,
    outside: Handle,
    asking: Asking,
    /// Clients' packets forwarded, as of the last look.
    forwarded: Option<u64>,
    /// When one was.
    carried: Option<Instant>,
    /// Nothing is known of connections yet but what peers will tell.
    anew: bool,
    /// What was told last, and until when it is told again.
    told: Option<(Instant, Document)>,
}

impl Peers {
    /// None yet. An agent that has adopted a data path knows connections of its own; one that begins `anew` does not.
    pub(super) fn new(outside: Handle, anew: bool) -> Self {
        let (tell, heard) = mpsc::channel(QUEUE);
        Self {
            config: Vec::new(),
            known: BTreeMap::new(),
            heard,
            tell,
            outside,
            asking: Asking::default(),
            forwarded: None,
            carried: None,
            anew,
            told: None,
        }
    }

    /// Begins to ask those of a configuration; what is known of others is forgotten.
    pub(super) fn begin(&mut self, config: &[Peer], prepared: Prepared) {
        let named = |name: &String| config.iter().any(|peer| peer.name == *name);
        self.known.retain(|name, _| named(name));
        for peer in config {
            self.known.entry(peer.name.clone()).or_default();
        }
        self.config = config.to_vec();
        self.asking = Asking::begin(prepared, &self.outside, &self.tell);
    }

    /// Waits for what a peer tells.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Notes whether clients' packets have been forwarded since the last look.
    pub(super) fn note(&mut self, counters: &Counters, now: Instant) {
        let forwards = |verdict: &&Verdict| verdict.name().starts_with("forward-");
        let forwards = Verdict::ALL.iter().filter(forwards);
        let forwarded = forwards
            .map(|verdict| counters.packets[verdict.index()])
            .sum();
        if self.forwarded.is_some_and(|before| before != forwarded) {
            self.carried = Some(now);
        }
        self.forwarded = Some(forwarded);
    }

    /// Milliseconds since one was.
    fn carried_ms(&self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(self.carried?);
        Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// What is shown of them.
    pub(super) fn status(&self, now: Instant) -> Vec<PeerStatus> {
        let of = |peer: &Peer| {
            let known = self.known.get(&peer.name).cloned().unwrap_or_default();
            let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            PeerStatus {
                name: peer.name.clone(),
                address: peer.address,
                state: known.state,
                error: known.error,
                cause: known.cause,
                awaited: self.anew && known.state == PeerState::Asked,
                age_ms: known
                    .last
                    .map(|last| millis(now.saturating_duration_since(last))),
                interval_ms: millis(peer.interval),
                took_ms: millis(known.took),
                bytes: known.bytes,
                standing: known.standing.map(|standing| match standing {
                    Standing::Behind => "behind".to_owned(),
                    Standing::Level => "level".to_owned(),
                    Standing::Ahead => "ahead".to_owned(),
                }),
                exchanges: known.exchanges,
                slots_taken: known.slots,
                flows_taken: known.flows,
                flows_left_out: known.left_out,
                unknown_nodes: known.unknown.iter().copied().collect(),
                conflicts: known.conflicts as u64,
                differing: known.differing.into_iter().collect(),
            }
        };
        self.config.iter().map(of).collect()
    }
}

impl Agent {
    /// What a peer that asks is told.
    pub(super) fn tell_peer(&mut self) -> anyhow::Result<Document> {
        let start = Instant::now();
        let carried_ms = self.peers.carried_ms(start);
        if let Some((until, document)) = &self.peers.told
            && start < *until
        {
            return Ok(Document {
                carried_ms,
                ..document.clone()
            });
        }
        let epoch = self.epoch();
        let mut told = self
            .relay
            .tell(|index| self.digests.get(&index).cloned(), epoch);
        let maps = &self.applied.maps;
        told.add_flows(&maps.flows()?, epoch);
        // In this order: what belongs to a pinhole is there once the pinhole is.
        let pinholes = maps.pinholes()?;
        told.add_associations(&maps.associations()?, &pinholes, epoch);
        let document = Document {
            generation: self.generation,
            carried_ms,
            ..told.document
        };
        let spent = start.elapsed();
        if spent > Duration::from_millis(20) {
            self.peers.told = Some((Instant::now() + spent * PART, document.clone()));
        } else {
            self.peers.told = None;
        }
        Ok(document)
    }

    /// Takes what a peer has told, or that it has not.
    pub(super) fn hear_peer(&mut self, heard: Heard) {
        let Heard {
            name,
            told,
            asked,
            took,
        } = heard;
        let Some(peer) = self.peers.config.iter().find(|peer| peer.name == name) else {
            return;
        };
        let interval = peer.interval;
        let outcome = told
            .map_err(|error| {
                let state = match &error {
                    FetchError::Away { .. } | FetchError::Late(_) => PeerState::Down,
                    FetchError::Refused { .. } | FetchError::Unusable { .. } => PeerState::Refused,
                };
                (state, error.cause(), error.to_string())
            })
            .and_then(|fetched| self.same_key(fetched));
        let fetched = match outcome {
            Ok(fetched) => fetched,
            Err((state, cause, error)) => return self.lose_peer(&name, state, cause, error),
        };
        if !self.relay.hears_peers() {
            return;
        }
        if let Err(error) = self.take_from(&name, &fetched.document, asked, interval) {
            let error = format!("{error:#}");
            return self.lose_peer(&name, PeerState::Refused, PeerCause::Unusable, error);
        }
        let known = self.peers.known.entry(name.clone()).or_default();
        known.took = took;
        known.bytes = fetched.bytes;
        known.last = Some(asked);
        known.exchanges += 1;
        known.error = None;
        known.cause = None;
        if known.state != PeerState::Up {
            known.state = PeerState::Up;
            log::info!("peer {name}: its state is taken every {interval:?}");
        }
    }

    fn same_key(&self, fetched: Fetched) -> Result<Fetched, (PeerState, PeerCause, String)> {
        let own = fingerprint(self.relay.key());
        let theirs = &fetched.document.key;
        if *theirs == own {
            return Ok(fetched);
        }
        let error = format!(
            "its hash-key is another one (fingerprint {theirs}, here {own}), so it sends clients to other nodes; write the \
             same `hash-key` on both relays"
        );
        Err((PeerState::Refused, PeerCause::Key, error))
    }

    /// Goes on with what was known last. Says so once.
    fn lose_peer(&mut self, name: &str, state: PeerState, cause: PeerCause, error: String) {
        let known = self.peers.known.entry(name.to_owned()).or_default();
        let again = known.state == state
            && (state == PeerState::Down || known.error.as_ref() == Some(&error));
        if !again {
            log::warn!("peer {name}: {error}; going on with what it told last");
        }
        known.state = state;
        known.error = Some(error);
        known.cause = Some(cause);
    }

    fn take_from(
        &mut self,
        name: &str,
        document: &Document,
        asked: Instant,
        interval: Duration,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        self.read_counters()?;
        // What it carried then is as long ago as the question and what it says.
        let ago = u64::try_from(now.saturating_duration_since(asked).as_millis())?;
        let theirs = document.carried_ms.map(|theirs| theirs.saturating_add(ago));
        let close = u64::try_from((2 * interval + CLOSE).as_millis())?;
        let standing = Standing::of(self.peers.carried_ms(now), theirs, close);
        let epoch = self.epoch();
        let from = self.relay.from_peer(document);
        let digests = std::mem::take(&mut self.digests);
        let carried = self.change(|relay| {
            let digest = |index| digests.get(&index).cloned();
            relay.take_slots(document, &from, digest, standing, epoch)
        });
        self.digests = digests;
        // Before the tables that have them looked up.
        let (flows, left_out) = self.take_flows(document, &from, standing)?;
        self.take_associations(document, &from, standing)?;
        self.apply();
        let known = self.peers.known.entry(name.to_owned()).or_default();
        let settled_before = known.standing.replace(standing);
        if settled_before != Some(standing) {
            log::info!("peer {name}: this relay is {standing:?} of what clients' packets tell");
        }
        known.slots += carried.slots as u64;
        known.flows += flows;
        known.left_out = left_out;
        known.conflicts = carried.conflicts;
        if known.differing != carried.differing && !carried.differing.is_empty() {
            let names: Vec<&str> = carried.differing.iter().map(String::as_str).collect();
            log::warn!(
                "peer {name} sends new connections elsewhere, by its configuration or by what its checks say: {}",
                names.join(", ")
            );
        }
        known.differing = carried.differing;
        if known.unknown != from.unknown && !from.unknown.is_empty() {
            let nodes: Vec<String> = from.unknown.iter().map(ToString::to_string).collect();
            log::warn!(
                "peer {name} has nodes that are not known here, and their connections are left out: {}",
                nodes.join(", ")
            );
        }
        known.unknown = from.unknown;
        Ok(())
    }

    /// Records flows of a peer; gives how many, and how many there was no room for.
    fn take_flows(
        &mut self,
        document: &Document,
        from: &FromPeer,
        standing: Standing,
    ) -> anyhow::Result<(u64, u64)> {
        let epoch = self.epoch();
        let (mut taken, mut left_out) = (0, 0);
        let listeners = &self.applied.held().listeners;
        let tracked = |id: u16| {
            let listener = listeners.get(&id);
            listener.is_some_and(|listener| listener.flags & ENDPOINT_TRACKED != 0)
        };
        let mut wanted = Vec::new();
        for record in &document.flows {
            let Some((name, theirs)) = self.relay.flow_from(record, from, tracked, epoch) else {
                continue;
            };
            let known = self.applied.maps.flow(name)?;
            if let Some(flow) = self.relay.flow_to_take(known, theirs, standing) {
                wanted.push((name, flow, known.is_none()));
            }
        }
        let tracked: BTreeSet<u16> = listeners
            .keys()
            .copied()
            .filter(|id| tracked(*id))
            .collect();
        for (name, flow, is_new) in wanted {
            let reverse = self.relay.reverse_of(name, flow);
            let reverse = reverse.filter(|_| tracked.contains(&name.listener()));
            let maps = &mut self.applied.maps;
            let written = maps
                .set_flow(name, &flow)
                .and_then(|()| reverse.map_or(Ok(()), |(name, flow)| maps.set_flow(name, &flow)));
            match written {
                Ok(()) => taken += u64::from(is_new),
                Err(_) => left_out += 1,
            }
        }
        Ok((taken, left_out))
    }

    /// Takes over UDP associations; those that the relay that carries clients has no more are over.
    fn take_associations(
        &mut self,
        document: &Document,
        from: &FromPeer,
        standing: Standing,
    ) -> Result<(), MapsError> {
        let epoch = self.epoch();
        let mut known: BTreeMap<_, _> = self.applied.maps.associations()?.into_iter().collect();
        for record in &document.associations {
            let there = self.relay.association_from(record, from, epoch);
            let Some(((name, association), holes)) = there else {
                continue;
            };
            let own = known.remove(&name);
            let differs = own.is_some_and(|own| {
                (own.port, own.backend) != (association.port, association.backend)
            });
            if own.is_some() && !(differs && standing == Standing::Behind) {
                continue;
            }
            let maps = &mut self.applied.maps;
            for (name, pinhole) in &holes {
                maps.set_pinhole(*name, pinhole)?;
            }
            maps.set_association(name, &association)?;
        }
        if standing == Standing::Behind && from.unknown.is_empty() {
            for (name, association) in known {
                self.applied
                    .maps
                    .remove_association_if(name, &association)?;
            }
        }
        Ok(())
    }

    /// Reads the tokens of a configuration's peers.
    ///
    /// # Errors
    /// One can't be read or is no good.
    pub(super) fn prepare_peers(config: &[Peer]) -> anyhow::Result<Prepared> {
        Prepared::new(config).context("cannot ask the peers")
    }
}
