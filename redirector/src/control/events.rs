//! From the agent's loop to everybody who watches.
//!
//! **Architecture invariant:** telling never waits. Each watcher has a queue of bounded length in the one ring
//! that all share; one that is too slow loses the oldest events and is told how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

use super::event::{Event, Happening};

/// Events that a watcher may be behind.
pub const QUEUE: usize = 1024;

/// Events that are remembered for those who come later.
const REMEMBERED: usize = 256;

/// Tells events and remembers the last of them. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    recent: Arc<Mutex<VecDeque<Event>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(QUEUE),
            recent: Arc::default(),
        }
    }
}

impl Events {
    /// Tells that something happens now.
    pub fn tell(&self, what: Happening) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let event = Event { at, what };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // Nobody may be watching.
        let _ = self.sender.send(event);
    }

    /// The last events, oldest first: `most` of them at most.
    pub fn recent(&self, most: usize) -> Vec<Event> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = recent.len().saturating_sub(most);
        recent.iter().skip(skipped).cloned().collect()
    }

    /// The last events, and all that come after them.
    pub fn watch(&self, most: usize) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = recent.len().saturating_sub(most);
        let last = recent.iter().skip(skipped).cloned().collect();
        (last, self.sender.subscribe())
    }
}
