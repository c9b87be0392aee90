//! How a router picks one of several relays for a client: no code of the redirector's, but what routers are known to do.
//! They hash the client's address alone, as `redirector/deploy/bird/router.conf` has them do.

use redirector_common::hash;
use serde::{Deserialize, Serialize};

/// How a hash becomes a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// Its remainder by the number of relays.
    Remainder,
    /// The relay in whose part of the hash's range it is, all parts of one size: Linux without more ado (RFC 2992,
    /// "hash-threshold").
    Threshold,
    /// The relay that has the bucket; a relay that leaves gives up its own buckets, one that joins takes its share (Linux,
    /// `ip nexthop … type resilient`; "consistent" or "resilient hashing" of switches).
    Resilient,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Remainder, Self::Threshold, Self::Resilient];

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Remainder => "hash mod N",
            Self::Threshold => "hash-threshold",
            Self::Resilient => "resilient",
        }
    }
}

/// Buckets of a resilient router.
const BUCKETS: usize = 1024;

/// A router before relays, which are numbered.
#[derive(Clone, Debug)]
pub(super) struct Router {
    choice: Choice,
    relays: Vec<u16>,
    buckets: Vec<u16>,
}

impl Router {
    /// One before so many relays, at least one.
    pub(super) fn new(choice: Choice, relays: u16) -> Self {
        let relays: Vec<u16> = (0..relays.max(1)).collect();
        let buckets = relays.iter().copied().cycle().take(BUCKETS).collect();
        Self {
            choice,
            relays,
            buckets,
        }
    }

    /// The relay that a client's packets go to.
    pub(super) fn relay_of(&self, client: [u8; 4]) -> u16 {
        let drawn = hash::mix([0x726f_7574, 0x6572], u64::from(u32::from_be_bytes(client))) >> 32;
        let relays = self.relays.len() as u64;
        match self.choice {
            Choice::Remainder => at(&self.relays, drawn % relays),
            Choice::Threshold => at(&self.relays, (drawn * relays) >> 32),
            Choice::Resilient => at(&self.buckets, drawn % BUCKETS as u64),
        }
    }

    /// The relays, without one of several.
    #[must_use]
    pub(super) fn without(&self, lost: u16) -> Self {
        let mut router = self.clone();
        router.relays.retain(|relay| *relay != lost);
        let mut heirs = router.relays.iter().copied().cycle();
        for bucket in router.buckets.iter_mut().filter(|bucket| **bucket == lost) {
            *bucket = heirs.next().unwrap_or(lost);
        }
        router
    }

    /// The relays, with another.
    #[must_use]
    pub(super) fn with(&self, joining: u16) -> Self {
        let mut router = self.clone();
        router.relays.push(joining);
        let every = router.relays.len();
        // Each of the others gives up the same share.
        let mut seen = vec![0_usize; every];
        for bucket in &mut router.buckets {
            let relay = router.relays.iter().position(|relay| relay == bucket);
            let seen = &mut seen[relay.unwrap_or(0)];
            *seen += 1;
            if seen.is_multiple_of(every) {
                *bucket = joining;
            }
        }
        router
    }
}

fn at(relays: &[u16], place: u64) -> u16 {
    let place = usize::try_from(place).ok();
    place
        .and_then(|place| relays.get(place))
        .copied()
        .unwrap_or(0)
}
