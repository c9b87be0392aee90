//! What the program does not do yet, so that it is not judged in histories. Each line of [`not_done_yet`] is one to be
//! removed.

use std::{collections::HashSet, net::IpAddr};

use crate::{
    fixture::{MORE, NARROW_MTU},
    oracle::{
        Mode, World,
        headers::{Headers, Piece},
    },
};

/// A first fragment that was not judged, by addresses and identification: what follows it can't be judged, either.
type Datagram = (IpAddr, IpAddr, u32);

/// What is left out of a history.
#[derive(Default)]
pub(super) struct Gaps {
    firsts: HashSet<Datagram>,
}

impl Gaps {
    /// Whether a frame is left out.
    pub(super) fn contain(&mut self, world: &World, input: &[u8]) -> bool {
        let left_out = not_done_yet(world, input);
        let Ok(headers) = Headers::read(input) else {
            return left_out;
        };
        let name = |identification| (headers.source, headers.destination, identification);
        match headers.piece {
            Piece::Whole => left_out,
            Piece::First(identification) if left_out => {
                self.firsts.insert(name(identification));
                true
            }
            Piece::First(identification) => {
                self.firsts.remove(&name(identification));
                false
            }
            Piece::Later(identification) => left_out || self.firsts.contains(&name(identification)),
        }
    }
}

/// Whether a frame is of a kind that the program does not do yet.
fn not_done_yet(world: &World, input: &[u8]) -> bool {
    is_ipv6(input)
        || Headers::read(input).is_ok_and(|headers| {
            headers.is_icmp()
                || is_partial(&headers, input)
                || is_routed(world, headers.destination)
                || is_of_more_redirects(&headers)
                || does_not_fit(world, &headers)
        })
}

fn is_ipv6(input: &[u8]) -> bool {
    let after_tags = input.get(12..).and_then(|rest| {
        rest.chunks_exact(2)
            .step_by(2)
            .find(|kind| !matches!(kind, [0x81, 0x00] | [0x88, 0xa8]))
    });
    after_tags == Some(&[0x86, 0xdd])
}

fn is_partial(headers: &Headers, input: &[u8]) -> bool {
    headers
        .transport_sum(input)
        .is_some_and(|sum| sum.is_partial(input))
}

fn is_routed(world: &World, destination: IpAddr) -> bool {
    world
        .listeners
        .iter()
        .any(|listener| listener.address == destination && listener.mode == Mode::Routed)
}

/// Every port, and listeners that share their nodes' sockets.
fn is_of_more_redirects(headers: &Headers) -> bool {
    MORE.iter().any(|redirect| {
        let is_its_own =
            |address| redirect.vip == address || redirect.nodes().any(|(_, node)| node == address);
        is_its_own(headers.destination) || is_its_own(headers.source)
    })
}

fn does_not_fit(world: &World, headers: &Headers) -> bool {
    let narrow = |way: &crate::oracle::Neighbour| way.mtu != 0;
    world.nodes.iter().any(|node| narrow(&node.way))
        && headers.end - headers.ip > usize::from(NARROW_MTU)
}
