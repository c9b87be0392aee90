//! The trie of return routes of one family, built from a view of the kernel's routes and neighbours.
//!
//! What is certain becomes a next hop or "local"; everything else becomes [`TRIE_ASK_KERNEL`]: prefixes
//! out of interfaces that are not attached or not usable, gateways and on-link hosts whose Ethernet
//! address is not known, multipath and other special routes, routes for one type of service, refusing
//! routes, IPv6's link-local addresses (which mean another host on each interface), and the whole trie
//! when there are policy rules. So does whatever exceeds the [`Limits`].
//!
//! On-link IPv4 hosts are in the trie. An IPv6 host would take a dozen nodes of it, so there an on-link
//! prefix is [`TRIE_NEIGHBOUR`] and its hosts are listed beside the trie.
//!
//! 1,000 routes and 1,000 neighbours take 0.3 ms:
//! `cargo test --release -p redirector net::trie -- --nocapture`.

mod flatten;
mod painter;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    ops::Range,
};

use bytemuck::Zeroable;
use redirector_common::abi::{
    MAX_HOPS, MAX_NEIGHBOURS, MAX_TRIE_NODES, NextHop, TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP,
    TRIE_LOCAL, TRIE_NEIGHBOUR, TrieEntry, TrieNode, TrieRoot,
};

use self::{
    flatten::{Span, flatten},
    painter::Painter,
};
use super::{
    resolve,
    routes::{Route, RouteKind, Special},
    view::NetView,
};
use crate::family::{Family, bits};

/// Next hops of IPv6 among the [`MAX_HOPS`] of both families: gateways only, so few are many.
const IPV6_HOPS: u32 = 2048;

/// The indices of next hops that the trie of a family may use.
pub(super) fn hop_indices(family: Family) -> Range<u32> {
    match family {
        Family::V4 => 0..MAX_HOPS - IPV6_HOPS,
        Family::V6 => MAX_HOPS - IPV6_HOPS..MAX_HOPS,
    }
}

/// How large a trie may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Inner nodes.
    pub nodes: usize,
    /// Next hops.
    pub hops: usize,
    /// On-link neighbours beside the trie.
    pub neighbours: usize,
}

impl Limits {
    /// Half of what the maps hold, so that the next trie finds room beside the one that is in use. The
    /// neighbours beside it are changed one by one.
    pub fn of(family: Family) -> Self {
        Self {
            nodes: MAX_TRIE_NODES as usize / 2 - 1,
            hops: hop_indices(family).len() / 2,
            neighbours: MAX_NEIGHBOURS as usize,
        }
    }
}

/// What the trie says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does not know; the kernel does.
    AskKernel,
    /// The address is the relay's own, a broadcast or a multicast.
    Local,
    /// Packets to it go to this next hop.
    Hop(NextHop),
}

/// A trie of return routes with indices of its own; [`super::trie_store::TrieStore`] fits it into the
/// maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTrie {
    /// The family of the addresses in it.
    pub family: Family,
    /// First level.
    pub root: Box<TrieRoot>,
    /// The levels below; index 0 is not used.
    pub nodes: Vec<TrieNode>,
    /// Next hops.
    pub hops: Vec<NextHop>,
    /// What [`TRIE_NEIGHBOUR`] refers to: known on-link neighbours. Empty in IPv4.
    pub neighbours: BTreeMap<Ipv6Addr, NextHop>,
    /// Gateways with their interfaces, whether their Ethernet addresses are known or not; at most
    /// [`MAX_GATEWAYS`].
    pub gateways: BTreeSet<(u32, IpAddr)>,
}

/// Most gateways of a trie that are told of. Someone with more of them hears from all of them all the time.
pub const MAX_GATEWAYS: usize = 64;

impl ReturnTrie {
    /// Builds the trie for packets that may leave by the `allowed` interfaces (by index).
    pub fn build(view: &NetView, allowed: &BTreeSet<u32>, family: Family) -> Self {
        Self::build_within(view, allowed, family, Limits::of(family))
    }

    /// As [`Self::build`], with other limits.
    pub fn build_within(
        view: &NetView,
        allowed: &BTreeSet<u32>,
        family: Family,
        limits: Limits,
    ) -> Self {
        let mut hops = Hops {
            view,
            allowed,
            limit: limits.hops,
            list: Vec::new(),
            index: HashMap::new(),
            gateways: BTreeSet::new(),
        };
        let mut painter = Painter::new(limits.nodes);
        let mut neighbours = BTreeMap::new();
        if !view.policy_rules.contains(&family) {
            let spans = flatten(view, family, &mut hops);
            for span in &spans {
                let code = match (span.way, family) {
                    (Way::Local, _) => TRIE_LOCAL,
                    (Way::Hop(code), _) => code,
                    (Way::OnLink { .. }, Family::V6) => TRIE_NEIGHBOUR,
                    (Way::OnLink { .. }, Family::V4) | (Way::AskKernel, _) => continue,
                };
                painter.paint(span.first, span.last, code);
            }
            for (address, hop) in on_link_hosts(view, family, &spans, allowed) {
                match address {
                    IpAddr::V4(_) => {
                        if let Some(code) = hops.code(hop) {
                            painter.paint(bits(address), last_of(address), code);
                        }
                    }
                    IpAddr::V6(address) if neighbours.len() < limits.neighbours => {
                        neighbours.insert(address, hop);
                    }
                    IpAddr::V6(_) => {}
                }
            }
        }
        Self {
            family,
            root: painter.root,
            nodes: painter.nodes,
            hops: hops.list,
            neighbours,
            gateways: hops.gateways,
        }
    }

    /// Looks an address of the trie's family up as the data path does.
    pub fn lookup(&self, address: IpAddr) -> Answer {
        let [a, b, rest @ ..] = bits(address).to_be_bytes();
        let mut entry = self.root.entries[usize::from(u16::from_be_bytes([a, b]))];
        for octet in rest {
            if entry & TRIE_CHILD == 0 {
                break;
            }
            entry = self.nodes[usize::from(entry & !TRIE_CHILD)].entries[usize::from(octet)];
        }
        match (entry, address) {
            (TRIE_LOCAL, _) => Answer::Local,
            (TRIE_NEIGHBOUR, IpAddr::V6(address)) => self
                .neighbours
                .get(&address)
                .map_or(Answer::AskKernel, |hop| Answer::Hop(*hop)),
            (TRIE_ASK_KERNEL | TRIE_NEIGHBOUR, _) => Answer::AskKernel,
            (code, _) => Answer::Hop(self.hops[usize::from(code - TRIE_FIRST_HOP)]),
        }
    }
}

const _: () = assert!(TRIE_ASK_KERNEL == 0, "an empty root is one of zeros");

/// A root that knows nothing.
pub fn empty_root() -> Box<TrieRoot> {
    Box::new(TrieRoot::zeroed())
}

/// The last number that begins with an address.
fn last_of(address: IpAddr) -> u128 {
    bits(address) | last_bits(Family::of(address).width())
}

/// Ones behind the top `length` bits.
fn last_bits(length: u8) -> u128 {
    u128::MAX.checked_shr(length.into()).unwrap_or(0)
}

/// Where the packets to a range of addresses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    AskKernel,
    Local,
    /// To the host itself.
    OnLink {
        /// Index of the interface.
        ifindex: u32,
        /// The route's own MTU.
        mtu: Option<u32>,
    },
    /// To the next hop of that code.
    Hop(TrieEntry),
}

/// The next hops in use and their codes.
struct Hops<'a> {
    view: &'a NetView,
    allowed: &'a BTreeSet<u32>,
    limit: usize,
    list: Vec<NextHop>,
    index: HashMap<NextHop, TrieEntry>,
    gateways: BTreeSet<(u32, IpAddr)>,
}

impl Hops<'_> {
    /// Whether packets may and can leave by an interface.
    fn carries(&self, ifindex: u32) -> bool {
        let link = self.view.links.get(&ifindex);
        self.allowed.contains(&ifindex) && link.is_some_and(|l| l.usable() && l.mac.is_some())
    }

    /// The code of a next hop; none if there is no room.
    fn code(&mut self, hop: NextHop) -> Option<TrieEntry> {
        if let Some(code) = self.index.get(&hop) {
            return Some(*code);
        }
        if self.list.len() >= self.limit {
            return None;
        }
        let code = TRIE_FIRST_HOP + TrieEntry::try_from(self.list.len()).ok()?;
        self.list.push(hop);
        self.index.insert(hop, code);
        Some(code)
    }

    /// The way through a gateway, if its Ethernet address is known.
    fn through(&mut self, way: &resolve::Way) -> Way {
        if !self.carries(way.ifindex) {
            return Way::AskKernel;
        }
        if self.gateways.len() < MAX_GATEWAYS {
            self.gateways.insert((way.ifindex, way.neighbour));
        }
        resolve::next_hop(self.view, way)
            .and_then(|hop| self.code(hop))
            .map_or(Way::AskKernel, Way::Hop)
    }

    /// The way that the routes of one table and prefix lead.
    fn way(&mut self, group: &[Route]) -> Way {
        let for_some =
            |route: &Route| route.tos != 0 || route.special == Some(Special::SourceSpecific);
        if group.iter().any(for_some) {
            return Way::AskKernel;
        }
        if group.iter().all(|route| is_for_the_relay(route.kind)) {
            return Way::Local;
        }
        let (best, rival) = (&group[0], group.get(1));
        let contested = rival.is_some_and(|rival| rival.metric == best.metric);
        let (false, None, Some(ifindex)) = (contested, best.special, best.ifindex) else {
            return Way::AskKernel;
        };
        let mtu = best.mtu;
        match (best.kind, best.gateway) {
            (RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast, _) => Way::Local,
            (RouteKind::Unicast, Some(neighbour)) => self.through(&resolve::Way {
                ifindex,
                neighbour,
                mtu,
            }),
            (RouteKind::Unicast, None) if self.carries(ifindex) => Way::OnLink { ifindex, mtu },
            (
                RouteKind::Unicast
                | RouteKind::Blackhole
                | RouteKind::Unreachable
                | RouteKind::Prohibit
                | RouteKind::Throw,
                _,
            ) => Way::AskKernel,
        }
    }
}

fn is_for_the_relay(kind: RouteKind) -> bool {
    matches!(
        kind,
        RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast
    )
}

/// Known neighbours whose own address is on-link by the interface where they are known, in ascending
/// order.
fn on_link_hosts(
    view: &NetView,
    family: Family,
    spans: &[Span],
    allowed: &BTreeSet<u32>,
) -> Vec<(IpAddr, NextHop)> {
    let mut hosts: Vec<(IpAddr, u32)> = view
        .neighbours
        .iter()
        .filter(|((ifindex, address), neighbour)| {
            Family::of(*address) == family
                && neighbour.usable_mac().is_some()
                && allowed.contains(ifindex)
        })
        .map(|((ifindex, address), _)| (*address, *ifindex))
        .collect();
    hosts.sort_unstable();
    hosts
        .into_iter()
        .filter_map(|(neighbour, at)| {
            let bits = bits(neighbour);
            let after = spans.partition_point(|span| span.first <= bits);
            let span = spans.get(after.checked_sub(1)?)?;
            match span.way {
                Way::OnLink { ifindex, mtu } if ifindex == at && bits <= span.last => {
                    let way = resolve::Way {
                        ifindex,
                        neighbour,
                        mtu,
                    };
                    Some((neighbour, resolve::next_hop(view, &way)?))
                }
                Way::OnLink { .. } | Way::AskKernel | Way::Local | Way::Hop(_) => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
