//! The score of a node for a slot.

use std::net::IpAddr;

use redirector_common::hash;

use super::{BLOCK, Identity, Node};

/// What scores are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// The draw itself: among equal weights it orders nodes as the logarithm does, and saves it.
    Equal,
    /// The weighted logarithm.
    Weighted,
}

impl Scale {
    pub(super) fn of(nodes: &[Node]) -> Self {
        if nodes.iter().all(|node| node.weight == nodes[0].weight) {
            Self::Equal
        } else {
            Self::Weighted
        }
    }
}

/// A node that contends for slots.
#[derive(Clone, Copy)]
pub(super) struct Contender {
    /// Its place among the nodes.
    pub(super) index: u16,
    key: [u64; 2],
    shift: u32,
    identity: u64,
    weight: f64,
}

/// All nodes as contenders, in their order.
pub(super) fn contenders(key: [u64; 2], nodes: &[Node]) -> Vec<Contender> {
    // Scores must not be related to the hash that picks a client's slot.
    let key = [key[0] ^ 0x5245_4e44_455a_564f, key[1]];
    (0..)
        .zip(nodes)
        .map(|(index, node)| {
            let wide = |[high, low]: [u64; 2]| (48, hash::mix(key, hash::mix(key, high) ^ low));
            let (shift, identity) = match node.identity {
                Identity::Address(IpAddr::V4(address)) => (32, u64::from(address.to_bits())),
                Identity::Address(IpAddr::V6(address)) => {
                    let halves: [u64; 2] = bytemuck::cast(address.octets());
                    wide(halves.map(u64::from_be))
                }
                Identity::Name(name) => wide(name),
            };
            Contender {
                index,
                key,
                shift,
                identity,
                weight: f64::from(node.weight),
            }
        })
        .collect()
}

impl Contender {
    fn draw(&self, slot: usize) -> u64 {
        hash::mix(self.key, (slot as u64) << self.shift ^ self.identity)
    }

    /// Whether `draw` may cost less than `cost`. Since `-ln(u) >= 1 - u`, most draws need no logarithm; the margin
    /// is far above what rounding does to either side.
    fn may_beat(&self, draw: u64, cost: f64) -> bool {
        (1.0 - unit(draw)) <= cost * self.weight * (1.0 + 1e-9)
    }

    fn cost(&self, draw: u64) -> f64 {
        // `libm`, not the platform's logarithm: two relays must agree to the last bit.
        -libm::log(unit(draw)) / self.weight
    }
}

/// A double in the open interval (0, 1), from 53 bits.
fn unit(draw: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let u = ((draw >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
    u
}

/// The best so far.
#[derive(Clone, Copy)]
struct Leader {
    index: u16,
    cost: f64,
    draw: u64,
}

impl Leader {
    const NOBODY: Self = Self {
        index: 0,
        cost: f64::INFINITY,
        draw: 0,
    };

    /// The larger draw wins.
    fn challenge_equal(&mut self, contender: &Contender, slot: usize) {
        let draw = contender.draw(slot);
        if draw > self.draw {
            (self.index, self.draw) = (contender.index, draw);
        }
    }

    /// The lower cost wins, and the larger draw among equal costs.
    fn challenge_weighted(&mut self, contender: &Contender, slot: usize) {
        let draw = contender.draw(slot);
        if !contender.may_beat(draw, self.cost) {
            return;
        }
        let cost = contender.cost(draw);
        if cost < self.cost || (cost <= self.cost && draw > self.draw) {
            *self = Self {
                index: contender.index,
                cost,
                draw,
            };
        }
    }
}

/// Which of the contenders has the best score for `slot`: its index.
pub(super) fn best<'a>(
    scale: Scale,
    contenders: impl IntoIterator<Item = &'a Contender>,
    slot: usize,
) -> u16 {
    let mut leader = Leader::NOBODY;
    for contender in contenders {
        match scale {
            Scale::Equal => leader.challenge_equal(contender, slot),
            Scale::Weighted => leader.challenge_weighted(contender, slot),
        }
    }
    leader.index
}

#[expect(
    clippy::large_stack_arrays,
    reason = "a block is as large as what the processor keeps near"
)]
/// The same for at most [`BLOCK`] slots from `first` on.
pub(super) fn contest(scale: Scale, contenders: &[Contender], first: usize, owners: &mut [u16]) {
    let mut leaders = [Leader::NOBODY; BLOCK];
    let leaders = &mut leaders[..owners.len()];
    for contender in contenders {
        match scale {
            Scale::Equal => {
                for (slot, leader) in (first..).zip(leaders.iter_mut()) {
                    leader.challenge_equal(contender, slot);
                }
            }
            Scale::Weighted => {
                for (slot, leader) in (first..).zip(leaders.iter_mut()) {
                    leader.challenge_weighted(contender, slot);
                }
            }
        }
    }
    for (owner, leader) in owners.iter_mut().zip(leaders) {
        *owner = leader.index;
    }
}
