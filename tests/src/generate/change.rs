//! What the agent does.

use std::net::IpAddr;

use rand::{Rng as _, rngs::StdRng};
use redirector_common::{
    abi::{BACKEND_DEAD, FlowKey4, FlowKey6},
    host::HostTables,
};

use super::conversation::Conversation;
use crate::oracle;

/// What the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its clock goes on by a second.
    Tick,
    /// It finds a backend dead, or alive again.
    Dead(u16, bool),
    /// It sends new connections of a client's slot to another backend.
    Retarget {
        /// The redirect.
        redirect: u16,
        /// The client.
        client: IpAddr,
        /// The backend; 0: none.
        backend: u16,
    },
    /// It forgets every third recorded flow.
    Expire,
}

impl Change {
    /// What happens at this step, if it is not a frame.
    pub(super) fn due(
        step: u64,
        random: &mut StdRng,
        conversations: &[Conversation],
    ) -> Option<Self> {
        let any = |random: &mut StdRng| {
            let index = random.random_range(0..conversations.len());
            conversations[index].clone()
        };
        if step.is_multiple_of(29) {
            return Some(Self::Tick);
        }
        if step.is_multiple_of(251) {
            let first = any(random).redirect.first_node;
            let id = first + random.random_range(0..5);
            return Some(Self::Dead(id, random.random()));
        }
        if step.is_multiple_of(401) {
            return Some(Self::Expire);
        }
        if step.is_multiple_of(499) {
            let conversation = any(random);
            // None, one of the nodes, or a backend that the fixture does not have.
            let backend = match random.random_range(0..=6) {
                0 => 0,
                node @ 1..=5 => conversation.redirect.first_node + node - 1,
                _ => UNSET_BACKEND,
            };
            return Some(Self::Retarget {
                redirect: conversation.redirect.number,
                client: conversation.client,
                backend,
            });
        }
        None
    }

    /// Makes the change.
    pub fn apply(self, tables: &mut HostTables) {
        match self {
            Self::Tick => tables.epoch += 1,
            Self::Dead(id, dead) => {
                if let Some(backend) = tables.backends.get_mut(&id) {
                    backend.flags &= !BACKEND_DEAD;
                    backend.flags |= if dead { BACKEND_DEAD } else { 0 };
                }
            }
            Self::Retarget {
                redirect,
                client,
                backend,
            } => {
                let slot = oracle::World::of_fixture().slot_of(client);
                if let Some(table) = tables.slot_tables.get_mut(&redirect) {
                    let before = table.slots[slot];
                    table.slots[slot] = before.retarget(backend);
                    let newly_split = table.slots[slot].is_split() && !before.is_split();
                    table.split_slots += u32::from(newly_split);
                }
            }
            Self::Expire => {
                let mut flows = tables.ipv4.flows.borrow_mut();
                let mut keys: Vec<FlowKey4> = flows.keys().copied().collect();
                keys.sort();
                for key in keys.iter().step_by(3) {
                    flows.remove(key);
                }
                let mut flows = tables.ipv6.flows.borrow_mut();
                let mut keys: Vec<FlowKey6> = flows.keys().copied().collect();
                keys.sort();
                for key in keys.iter().step_by(3) {
                    flows.remove(key);
                }
            }
        }
    }
}

/// A backend that the fixture does not have; slots may name it by an agent's fault.
const UNSET_BACKEND: u16 = 6;
