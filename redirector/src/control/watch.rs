//! Clients that are told what happens.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch as flag};

use super::event::Event;
use super::events::Events;
use super::protocol::Response;

/// Most that watch at a time; there must be places for those who ask.
const MOST: usize = 16;

/// Who watches.
#[derive(Clone)]
pub(super) struct Watchers {
    events: Events,
    places: Arc<Semaphore>,
}

/// One that watches.
pub(super) struct Watcher {
    recent: Vec<Event>,
    events: broadcast::Receiver<Event>,
    _place: OwnedSemaphorePermit,
}

impl Watchers {
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            places: Arc::new(Semaphore::new(MOST)),
        }
    }

    /// Takes one more, who is told the last `recent` events first.
    pub(super) fn join(&self, recent: usize) -> Result<Watcher, String> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| format!("{MOST} others watch already, and more may not"))?;
        let (recent, events) = self.events.watch(recent);
        Ok(Watcher {
            recent,
            events,
            _place: place,
        })
    }
}

/// Tells one client what happens until it goes away or the server ends. A client that does not read keeps nobody
/// waiting: what it is behind by is bounded, and it is told what it has missed.
pub(super) async fn watch(
    watcher: Watcher,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut stop: flag::Receiver<bool>,
) -> io::Result<()> {
    let Watcher {
        recent,
        mut events,
        _place,
    } = watcher;
    for event in recent {
        write(&mut writer, &Response::Event { event }).await?;
    }
    let mut said = [0; 64];
    loop {
        let response = tokio::select! {
            biased;
            event = events.recv() => match event {
                Ok(event) => Response::Event { event },
                Err(RecvError::Lagged(events)) => Response::Missed { events },
                Err(RecvError::Closed) => return Ok(()),
            },
            // It has nothing more to say; what it says ends the conversation.
            _ = reader.read(&mut said) => return Ok(()),
            _ = stop.wait_for(|stop| *stop) => break,
        };
        // What a client can take at once it gets, the last words included.
        tokio::select! {
            biased;
            written = write(&mut writer, &response) => written?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
    // The last words.
    loop {
        let response = match events.try_recv() {
            Ok(event) => Response::Event { event },
            Err(TryRecvError::Lagged(events)) => Response::Missed { events },
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
        };
        write(&mut writer, &response).await?;
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), response: &Response) -> io::Result<()> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    writer.write_all(&text).await
}
