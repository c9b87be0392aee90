//! How loaded nodes are, where new connections go to the one with the fewest.
//!
//! The data path adds each new connection to its node's load, and can't tell when one ends; so the agent counts the
//! recorded ones every round and says how many there are.

use std::collections::BTreeMap;

use redirector_common::abi::Load;

use super::{Relay, relay::LiveFlows};
use crate::config::{MAX_WEIGHT, Mode};

/// What a connection weighs on a node of weight 1; a multiple of no weight but far above all of them.
const UNIT: u64 = 1 << 20;

const _: () = assert!(UNIT > 1000 * MAX_WEIGHT as u64);

impl Relay {
    /// The load of each node that takes clients by `least-states`, when these connections live. A node in pools that
    /// disagree about its weight has the greatest.
    pub fn loads(&self, live: &LiveFlows) -> BTreeMap<u16, Load> {
        let mut steps = BTreeMap::new();
        for member in self.members() {
            if member.redirect.mode != Mode::LeastStates {
                continue;
            }
            if let Some(id) = self.backends().id_of(member.socket()) {
                let step = UNIT / u64::from(member.node.weight.max(1));
                let known = steps.entry(id).or_insert(step);
                *known = step.min(*known);
            }
        }
        let empty = |(id, step)| (id, Load { sum: 0, step });
        let mut loads: BTreeMap<u16, Load> = steps.into_iter().map(empty).collect();
        for ((_, backend), live) in live {
            if let Some(load) = loads.get_mut(backend) {
                let more = live.connections.saturating_mul(load.step);
                load.sum = load.sum.saturating_add(more);
            }
        }
        loads
    }
}
