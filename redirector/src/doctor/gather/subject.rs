//! What is to be looked at: out of the configuration, or out of what a running agent tells.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Delivery, Listen, Timing, XdpMode};
use crate::control::Status;
use crate::health::{Material, Target};

/// The shortest time for a check here: the host may be busier than usual, being looked at.
const SHORTEST_CHECK: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Subject {
    pub(super) interfaces: Vec<String>,
    pub(super) xdp_mode: XdpMode,
    pub(super) shared: BTreeSet<IpAddr>,
    pub(super) nodes: Vec<Node>,
    /// What the checks need of this host, or why it is not there.
    pub(super) material: Option<Result<Material, String>>,
}

pub(super) struct Node {
    pub(super) pool: String,
    pub(super) name: String,
    pub(super) address: IpAddr,
    /// How it is checked, where the configuration tells.
    pub(super) target: Option<(Target, Timing)>,
    pub(super) answers_directly: bool,
    /// The shared address of its family.
    pub(super) shared: Option<IpAddr>,
    /// SYNs and SYN-ACKs, from a running agent.
    pub(super) talk: Option<(u64, u64)>,
    /// What the agent's last check saw, and whether the node is up.
    pub(super) last: Option<(String, String, bool)>,
}

impl Subject {
    pub(super) fn of_config(config: &Config, status: Option<&Status>) -> Self {
        let mut subject = Self {
            interfaces: config.interfaces.clone(),
            xdp_mode: config.xdp_mode,
            material: Some(Material::read(config).map_err(|error| error.to_string())),
            ..Self::default()
        };
        for redirect in &config.redirects {
            let addresses = redirect.listen.iter().map(|listen: &Listen| listen.address);
            let addresses: BTreeSet<IpAddr> = addresses.collect();
            for pool in std::iter::once(redirect.pool)
                .chain(redirect.backup)
                .map(|index| &config.pools[index])
            {
                let nodes = pool.nodes.iter();
                let placed = nodes.flat_map(|node| node.addresses.iter().map(move |at| (node, at)));
                for (node, address) in placed {
                    let configured = node.timing.unwrap_or(pool.timing);
                    let timeout = configured.timeout.max(SHORTEST_CHECK);
                    let timing = Timing {
                        timeout,
                        interval: configured.interval.max(timeout),
                        ..configured
                    };
                    let target = Target {
                        pool: pool.name.clone(),
                        node: node.name.clone(),
                        address: redirect.checked_socket(node, address),
                        checks: Arc::clone(&pool.checks),
                        ttl: node.check_ttl,
                    };
                    let shared = addresses
                        .iter()
                        .find(|shared| shared.is_ipv4() == address.is_ipv4());
                    let talk = status.and_then(|status| {
                        let mut nodes = status.nodes();
                        let (_, _, told) = nodes.find(|(of, in_pool, told)| {
                            of.name == redirect.name
                                && in_pool.name == pool.name
                                && told.name == node.name
                                && told.address.is_none_or(|told| told.ip() == address)
                        })?;
                        Some((told.traffic.syns, told.traffic.syn_acks))
                    });
                    subject.add(Node {
                        pool: pool.name.clone(),
                        name: node.name.clone(),
                        address,
                        // A node with a parent is not checked itself.
                        target: node.parent.is_none().then_some((target, timing)),
                        answers_directly: redirect.delivery == Delivery::Route,
                        shared: shared.copied(),
                        talk,
                        last: None,
                    });
                }
            }
            subject.shared.extend(addresses);
        }
        subject
    }

    pub(super) fn of_status(status: &Status) -> Self {
        let mut subject = Self {
            interfaces: status
                .interfaces
                .iter()
                .map(|of| of.interface.clone())
                .collect(),
            ..Self::default()
        };
        for redirect in &status.redirects {
            let listen = redirect.listen.iter();
            let addresses: BTreeSet<IpAddr> =
                listen.filter_map(|listen| listened(listen)).collect();
            for pool in redirect.pools() {
                let nodes = pool.nodes.iter();
                let placed = nodes.filter_map(|node| Some((node, node.address?.ip())));
                for (node, address) in placed {
                    let shared = addresses
                        .iter()
                        .find(|shared| shared.is_ipv4() == address.is_ipv4());
                    subject.add(Node {
                        pool: pool.name.clone(),
                        name: node.name.clone(),
                        address,
                        target: None,
                        answers_directly: !redirect.hears_nodes(),
                        shared: shared.copied(),
                        talk: Some((node.traffic.syns, node.traffic.syn_acks)),
                        last: node.last_check.as_ref().map(|last| {
                            (
                                last.check.clone(),
                                last.outcome.clone(),
                                node.health == crate::health::Health::Up,
                            )
                        }),
                    });
                }
            }
            subject.shared.extend(addresses);
        }
        subject
    }

    /// A node of several redirects is looked at once.
    fn add(&mut self, node: Node) {
        let known = self.nodes.iter_mut().find(|known| {
            known.pool == node.pool
                && known.name == node.name
                && known.target == node.target
                && known.address == node.address
        });
        match known {
            None => self.nodes.push(node),
            Some(known) => {
                let sum = |(a, b): (u64, u64), (c, d): (u64, u64)| (a + c, b + d);
                known.talk = known
                    .talk
                    .zip(node.talk)
                    .map(|(one, other)| sum(one, other));
            }
        }
    }
}

/// The address of a listener as `show` writes it: with a port, a range of ports, or alone.
fn listened(text: &str) -> Option<IpAddr> {
    let bare = |text: &str| text.trim_matches(['[', ']']).parse().ok();
    bare(text).or_else(|| bare(text.rsplit_once(':')?.0))
}

#[cfg(test)]
mod tests {
    use super::listened;

    #[test]
    fn listeners_are_read_in_every_form() {
        for (text, address) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:1080", "10.0.0.1"),
            ("10.0.0.1:1080-1089", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:1080", "2001:db8::1"),
        ] {
            assert_eq!(listened(text), address.parse().ok(), "{text}");
        }
        assert_eq!(listened("nobody"), None);
    }
}
