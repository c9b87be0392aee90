//! Who is asked, and when.

use std::time::{Duration, Instant};

use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use super::fetch::{FetchError, Fetched, fetch};
use crate::config::Peer;
use crate::http::{HttpError, token_in};
use crate::secret::Secret;

/// What came of one question.
#[derive(Debug)]
pub struct Heard {
    /// The peer's name.
    pub name: String,
    /// What it has told, or why it has not.
    pub told: Result<Fetched, FetchError>,
    /// When the question was put.
    pub asked: Instant,
    /// How long it took.
    pub took: Duration,
}

/// Peers with their tokens: all that can be wrong is found out before anybody is asked.
#[derive(Debug)]
pub struct Prepared(Vec<(Peer, Secret)>);

impl Prepared {
    /// Reads the tokens.
    ///
    /// # Errors
    /// One can't be read or is no good.
    pub fn new(peers: &[Peer]) -> Result<Self, HttpError> {
        let with_token = |peer: &Peer| Ok((peer.clone(), token_in(&peer.token_file)?));
        peers
            .iter()
            .map(with_token)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Asks every peer again and again, until it is dropped.
#[derive(Debug, Default)]
pub struct Asking(Vec<AbortHandle>);

impl Asking {
    /// Begins, in the thread of `outside`. An answer that is not taken keeps its peer from being asked again.
    pub fn begin(prepared: Prepared, outside: &Handle, tell: &mpsc::Sender<Heard>) -> Self {
        let ask = |(peer, token)| {
            let task = outside.spawn(ask_again_and_again(peer, token, tell.clone()));
            task.abort_handle()
        };
        Self(prepared.0.into_iter().map(ask).collect())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn ask_again_and_again(peer: Peer, token: Secret, tell: mpsc::Sender<Heard>) {
    let mut times = interval(peer.interval);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let asked = Instant::now();
        let told = fetch(peer.address, &token).await;
        let heard = Heard {
            name: peer.name.clone(),
            told,
            asked,
            took: asked.elapsed(),
        };
        if tell.send(heard).await.is_err() {
            return;
        }
    }
}
