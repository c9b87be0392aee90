//! UDP associations that are over but were not seen to end, and what they leave behind.
//!
//! The data path closes an association with its control connection. What it can't see is a node that died, a
//! redirect that was taken out, or a client that vanished without a word.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use redirector_common::abi::{Association, Pinhole};

use crate::names::{FlowName, PinholeName, With};

/// What a round looks at besides the maps.
pub struct Surroundings<V, B> {
    /// The VIP of a listener; none where there is no such listener.
    pub vip: V,
    /// Whether a backend is there and not dead.
    pub lives: B,
    /// Seconds of silence after which an association is over.
    pub session: u32,
    /// Now.
    pub epoch: u32,
}

/// What a round wants removed, each only if it is still as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Associations.
    pub associations: Vec<(FlowName, Association)>,
    /// Pinholes and marks.
    pub pinholes: Vec<(PinholeName, Pinhole)>,
}

/// The rounds over associations.
#[derive(Clone, Debug, Default)]
pub struct Associations {
    /// Pinholes and marks that belonged to nothing at the last round. They may just have been read before what
    /// they belong to; those that still don't at the next round go.
    orphans: BTreeSet<PinholeName>,
}

impl Associations {
    /// Goes through everything. `pinholes` must have been read before `associations`.
    pub fn round<V, B>(
        &mut self,
        associations: &[(FlowName, Association)],
        pinholes: &[(PinholeName, Pinhole)],
        around: &Surroundings<V, B>,
    ) -> Closed
    where
        V: Fn(u16) -> Option<IpAddr>,
        B: Fn(u16) -> bool,
    {
        let seen: HashMap<PinholeName, u32> = pinholes
            .iter()
            .map(|(name, pinhole)| (*name, pinhole.seen))
            .collect();
        let mut closed = Closed::default();
        let mut open: HashMap<FlowName, &Association> = HashMap::new();
        for (name, association) in associations {
            let pinhole = PinholeName {
                address: name.client.ip(),
                port: u16::from_be_bytes(association.port),
                in_use: false,
            };
            let spoke = seen.get(&pinhole).copied().unwrap_or_default();
            let idle = around.epoch.saturating_sub(spoke.max(association.opened));
            let listens = match name.with {
                With::Listener(listener) => (around.vip)(listener).is_some(),
                With::Backend(_) => false,
            };
            if listens && (around.lives)(association.backend) && idle <= around.session {
                open.insert(*name, association);
            } else {
                closed.associations.push((*name, *association));
            }
        }
        let mut used: BTreeSet<(IpAddr, u16)> = BTreeSet::new();
        let mut orphans = BTreeSet::new();
        let (marks, pinholes): (Vec<&_>, Vec<&_>) =
            pinholes.iter().partition(|(name, _)| name.in_use);
        for (name, pinhole) in pinholes {
            let control = FlowName {
                client: (name.address, u16::from_be_bytes(pinhole.control)).into(),
                with: With::Listener(pinhole.listener),
            };
            let belongs = open.get(&control).is_some_and(|association| {
                association.backend == pinhole.backend
                    && u16::from_be_bytes(association.port) == name.port
            });
            if belongs {
                if let Some(vip) = (around.vip)(pinhole.listener) {
                    used.insert((vip, name.port));
                }
            } else if !self.first_seen(*name, &mut orphans) {
                closed.pinholes.push((*name, *pinhole));
            }
        }
        for (name, mark) in marks {
            if !used.contains(&(name.address, name.port)) && !self.first_seen(*name, &mut orphans) {
                closed.pinholes.push((*name, *mark));
            }
        }
        self.orphans = orphans;
        closed
    }

    /// Notes an orphan; whether it was none at the last round.
    fn first_seen(&self, name: PinholeName, orphans: &mut BTreeSet<PinholeName>) -> bool {
        let first = !self.orphans.contains(&name);
        if first {
            orphans.insert(name);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [10, 0, 0, 1];
    const CLIENT: [u8; 4] = [198, 51, 100, 7];

    fn association() -> (FlowName, Association) {
        let name = FlowName {
            client: (CLIENT, 40_000).into(),
            with: With::Listener(1),
        };
        let association = Association {
            port: 5000_u16.to_be_bytes(),
            backend: 2,
            opened: 100,
            ..Association::default()
        };
        (name, association)
    }

    fn pinhole() -> (PinholeName, Pinhole) {
        let name = PinholeName {
            address: CLIENT.into(),
            port: 5000,
            in_use: false,
        };
        let pinhole = Pinhole {
            backend: 2,
            listener: 1,
            control: 40_000_u16.to_be_bytes(),
            reserved: [0; 3],
            seen: 150,
        };
        (name, pinhole)
    }

    fn mark() -> (PinholeName, Pinhole) {
        let name = PinholeName {
            address: VIP.into(),
            port: 5000,
            in_use: true,
        };
        (name, Pinhole::default())
    }

    /// Two rounds, since orphans go at the second.
    fn closed(
        associations: &[(FlowName, Association)],
        pinholes: &[(PinholeName, Pinhole)],
        backend: u16,
        epoch: u32,
    ) -> Closed {
        let around = Surroundings {
            vip: |listener| (listener == 1).then(|| VIP.into()),
            lives: |id| id == backend,
            session: 100,
            epoch,
        };
        let mut rounds = Associations::default();
        let first = rounds.round(associations, pinholes, &around);
        assert_eq!(first.pinholes, [], "orphans are given another round");
        rounds.round(associations, pinholes, &around)
    }

    #[test]
    fn a_live_association_keeps_its_pinhole_and_its_mark() {
        let closed = closed(&[association()], &[mark(), pinhole()], 2, 250);
        assert_eq!(closed, Closed::default());
    }

    #[test]
    fn an_association_goes_with_its_silence_its_backend_or_its_listener_and_all_goes_with_it() {
        let everything = Closed {
            associations: vec![association()],
            pinholes: vec![pinhole(), mark()],
        };
        let pinholes = [mark(), pinhole()];
        assert_eq!(closed(&[association()], &pinholes, 2, 251), everything);
        assert_eq!(closed(&[association()], &pinholes, 3, 160), everything);
        let (name, value) = association();
        let elsewhere = FlowName {
            with: With::Listener(9),
            ..name
        };
        let closed = closed(&[(elsewhere, value)], &pinholes, 2, 160);
        assert_eq!(closed.associations, [(elsewhere, value)]);
        assert_eq!(closed.pinholes, everything.pinholes);
    }

    #[test]
    fn a_pinhole_of_another_association_is_none_of_this_one() {
        for change in [
            |pinhole: &mut Pinhole| pinhole.control = [0, 1],
            |pinhole: &mut Pinhole| pinhole.backend = 3,
        ] {
            let (name, mut value) = pinhole();
            change(&mut value);
            let closed = closed(&[association()], &[(name, value)], 2, 160);
            assert_eq!(closed.pinholes, [(name, value)]);
            assert_eq!(closed.associations, []);
        }
    }

    #[test]
    fn a_mark_stays_while_any_pinhole_of_its_address_and_port_does() {
        let (name, value) = mark();
        let other = PinholeName { port: 5001, ..name };
        let closed = closed(
            &[association()],
            &[pinhole(), (name, value), (other, value)],
            2,
            160,
        );
        assert_eq!(closed.pinholes, [(other, value)]);
    }
}
