//! What the program does not do yet, so that it is not judged in histories. Each line of [`not_done_yet`] is one to be
//! removed.

use std::net::IpAddr;

use crate::{
    fixture::{MORE, NARROW_MTU},
    oracle::{Mode, World, headers::Headers},
};

/// Whether a frame is of a kind that the program does not do yet.
pub(super) fn not_done_yet(world: &World, input: &[u8]) -> bool {
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
