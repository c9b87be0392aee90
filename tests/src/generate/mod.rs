//! Random histories of the fixture's world: packets of conversations in both directions, damaged ones
//! among them, and changes that an agent makes meanwhile. The same seed gives the same history.
//!
//! | file | holds |
//! |---|---|
//! | `conversation.rs` | who speaks with whom, and what they have said |
//! | `segments.rs` | the next packet of a conversation: TCP or UDP |
//! | `messages.rs` | ICMP about it |
//! | `associations.rs` | SOCKS dialogues that open UDP associations, and their datagrams |
//! | `dress.rs` | tags, options, extension headers, fragments, other checksums |
//! | `damage.rs` | frames that are not as they should be |
//! | `change.rs` | what the agent does |

mod associations;
mod change;
mod conversation;
mod damage;
mod dress;
mod environment;
mod messages;
mod segments;

use std::{collections::VecDeque, net::IpAddr, ops::Range};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use self::conversation::Conversation;
pub use self::{
    change::Change,
    environment::{frames, seed},
};
use crate::fixture::{BASE, CLIENT_IFINDEX, MORE, NODE_IFINDEX, Redirect};

/// The next thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A frame comes in by interface `ingress`.
    Frame {
        /// From the Ethernet header on.
        frame: Vec<u8>,
        /// [`NODE_IFINDEX`] or [`CLIENT_IFINDEX`].
        ingress: u32,
    },
    /// The agent does something.
    Change(Change),
}

/// Gives one step after the other.
pub struct Generator {
    random: StdRng,
    conversations: Vec<Conversation>,
    /// How many of them, the first ones, are of the redirect that most packets are for.
    plain: usize,
    /// Those of each redirect.
    redirects: Vec<Range<usize>>,
    /// The conversation of the latest frame.
    current: usize,
    /// Frames that follow soon, and the conversations that they belong to.
    pending: VecDeque<(usize, Vec<u8>)>,
    steps: u64,
}

impl Generator {
    /// A history of [`crate::fixture::host_tables`].
    pub fn new(seed: u64) -> Self {
        Self::with(seed, BASE.iter())
    }

    /// A history of [`crate::fixture::whole_tables`].
    pub fn of_whole_fixture(seed: u64) -> Self {
        Self::with(seed, BASE.iter().chain(MORE))
    }

    fn with(seed: u64, redirects: impl Iterator<Item = &'static Redirect>) -> Self {
        let mut conversations = Vec::new();
        let mut ranges = Vec::new();
        let mut plain = 0;
        for redirect in redirects {
            let first = conversations.len();
            conversations.extend(conversation::all_of(redirect));
            ranges.push(first..conversations.len());
            if redirect.number == 0 {
                plain = conversations.len();
            }
        }
        Self {
            random: StdRng::seed_from_u64(seed),
            conversations,
            plain,
            redirects: ranges,
            current: 0,
            pending: VecDeque::new(),
            steps: 0,
        }
    }

    /// Tells what became of the latest frame, if it was sent: who answers depends on it.
    pub fn sent(&mut self, output: &[u8]) {
        if let Some(destination) = destination_of(output) {
            self.conversations[self.current].sent_to(destination);
        }
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        self.steps += 1;
        if let Some(change) = Change::due(self.steps, &mut self.random, &self.conversations) {
            return Step::Change(change);
        }
        let frame = match self.pending.pop_front() {
            Some((conversation, frame)) if self.random.random_ratio(2, 3) => {
                self.current = conversation;
                frame
            }
            held_back => {
                let frame = self.frame();
                self.pending.extend(held_back);
                frame
            }
        };
        let ingress = if self.random.random() {
            NODE_IFINDEX
        } else {
            CLIENT_IFINDEX
        };
        Step::Frame { frame, ingress }
    }

    fn frame(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        self.current =
            if self.conversations[self.current].is_negotiating() && random.random_ratio(7, 8) {
                self.current
            } else if random.random_ratio(11, 20) {
                random.random_range(0..self.plain)
            } else {
                let conversations = self.redirects.choose(random).expect("some");
                random.random_range(conversations.clone())
            };
        let conversation = &mut self.conversations[self.current];
        let kind = random.random_range(0..24);
        let frame = if conversation.redirect.shared && kind < 18 {
            associations::next(conversation, self.steps, random)
        } else if kind < 21 {
            segments::next(conversation, random)
        } else {
            messages::next(conversation, random)
        };
        let mut frames = dress::dress(frame, random);
        if random.random_ratio(1, 5) {
            let index = random.random_range(0..frames.len());
            damage::damage(&mut frames[index], random);
        }
        // The first fragment now and then comes last, or never.
        if frames.len() > 1 && random.random_ratio(1, 8) {
            frames.rotate_left(1);
        }
        let first = frames.remove(0);
        let current = self.current;
        self.pending
            .extend(frames.into_iter().map(|frame| (current, frame)));
        while self.pending.len() > 16 {
            self.pending.pop_front();
        }
        first
    }
}

/// The destination of an IP packet in a frame with any number of tags.
fn destination_of(frame: &[u8]) -> Option<IpAddr> {
    let mut kind = 12;
    while matches!(frame.get(kind..kind + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
        kind += 4;
    }
    let ip = kind + 2;
    match frame.get(kind..ip)? {
        [0x08, 0x00] => {
            let bytes: [u8; 4] = frame.get(ip + 16..ip + 20)?.try_into().ok()?;
            Some(bytes.into())
        }
        [0x86, 0xdd] => {
            let bytes: [u8; 16] = frame.get(ip + 24..ip + 40)?.try_into().ok()?;
            Some(bytes.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::oracle::{Kind, Unfit, World};

    fn history(seed: u64) -> Vec<String> {
        let mut generator = Generator::new(seed);
        (0..2000)
            .map(|_| format!("{:?}", generator.step()))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        assert_eq!(history(7), history(7));
    }

    #[test]
    fn another_seed_gives_another_history() {
        assert_ne!(history(7), history(8));
    }

    #[test]
    fn a_history_has_frames_of_every_listener_and_of_every_kind() {
        let world = World::of_whole_fixture();
        let mut generator = Generator::of_whole_fixture(seed());
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..40_000 {
            if let Step::Frame { frame, .. } = generator.step() {
                *kinds
                    .entry(format!("{:?}", world.kind(&frame)))
                    .or_default() += 1;
            }
        }
        let some = |kind: Kind| {
            let count = kinds.get(&format!("{kind:?}")).copied().unwrap_or(0);
            assert!(count >= 10, "{count} of {kind:?}");
        };
        for listener in &world.listeners {
            some(Kind::ToVip(listener.number));
            if listener.redirect != 1 {
                some(Kind::ErrorAboutAnswer(listener.number));
            }
        }
        for kind in [
            Kind::FromNode(1),
            Kind::FromNode(8),
            Kind::FromNode(18),
            Kind::FromNode(23),
            Kind::FromNode(28),
            Kind::FromSharedNode(43),
            Kind::ErrorAboutForwarded(1),
            Kind::ErrorAboutForwarded(23),
            Kind::ToNode { direct: true },
            Kind::ToNode { direct: false },
            Kind::OtherIcmp,
            Kind::LaterFragment,
            Kind::Expired,
            Kind::Foreign,
            Kind::Unfit(Unfit::Truncated),
            Kind::Unfit(Unfit::NotIp),
            Kind::Unfit(Unfit::Vlan),
            Kind::Unfit(Unfit::Malformed),
            Kind::Unfit(Unfit::SourceRoute),
            Kind::Unfit(Unfit::ExtensionHeaders),
            Kind::Unfit(Unfit::Protocol),
        ] {
            some(kind);
        }
    }
}
