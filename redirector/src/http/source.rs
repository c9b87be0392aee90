//! Where snapshots come from.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::snapshot::Snapshot;
use crate::control::Status;
use crate::peer::Document;

/// A request on its way to the agent's loop.
#[derive(Debug)]
pub enum Ask {
    /// For a snapshot.
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    /// For what another relay is told.
    Peer(oneshot::Sender<Document>),
}

/// A loop that has not answered after so long does not work.
pub const REPLY_WITHIN: Duration = Duration::from_secs(2);

/// For so long a snapshot is given to whoever asks.
const FRESH: Duration = Duration::from_millis(250);

/// The agent's loop does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent's loop does not answer within {REPLY_WITHIN:?}; see its log")]
pub(super) struct Stuck;

/// A snapshot and what has been made of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) snapshot: Arc<Snapshot>,
    live: OnceLock<Arc<str>>,
}

/// What the stream tells.
#[derive(Serialize)]
struct Live<'a> {
    at_ms: u64,
    not_ready: Vec<String>,
    status: &'a Status,
}

impl Seen {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            live: OnceLock::new(),
        }
    }

    /// What the stream tells, made once for all who hear it.
    pub(super) fn live(&self) -> Arc<str> {
        let live = self.live.get_or_init(|| {
            let live = Live {
                at_ms: self.snapshot.at_ms,
                not_ready: self.snapshot.not_ready(),
                status: &self.snapshot.status,
            };
            // Structures of names and numbers always have a text.
            serde_json::to_string(&live).unwrap_or_default().into()
        });
        Arc::clone(live)
    }
}

/// Gives snapshots, and asks the agent for one no more often than it must.
#[derive(Debug)]
pub(super) struct Source {
    ask: mpsc::Sender<Ask>,
    last: Mutex<Option<(Instant, Arc<Seen>)>>,
}

impl Source {
    pub(super) fn new(ask: mpsc::Sender<Ask>) -> Self {
        Self {
            ask,
            last: Mutex::new(None),
        }
    }

    /// The state of the agent, a quarter of a second old at most.
    pub(super) async fn get(&self) -> Result<Arc<Seen>, Stuck> {
        // Whoever comes while somebody asks takes what that one gets.
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(seen));
        }
        // Of many nodes it is large: nobody needs two of them at a time.
        *last = None;
        let (reply, snapshot) = oneshot::channel();
        let ask = Ask::Snapshot(reply);
        self.ask.try_send(ask).map_err(|_| Stuck)?;
        let snapshot = timeout(REPLY_WITHIN, snapshot).await;
        let seen = match snapshot {
            Ok(Ok(snapshot)) => Arc::new(Seen::new(snapshot)),
            Ok(Err(_)) | Err(_) => return Err(Stuck),
        };
        *last = Some((Instant::now(), Arc::clone(&seen)));
        Ok(seen)
    }

    /// What another relay is told.
    pub(super) async fn for_peer(&self) -> Result<Document, Stuck> {
        let (reply, document) = oneshot::channel();
        self.ask.try_send(Ask::Peer(reply)).map_err(|_| Stuck)?;
        match timeout(REPLY_WITHIN, document).await {
            Ok(Ok(document)) => Ok(document),
            Ok(Err(_)) | Err(_) => Err(Stuck),
        }
    }
}
