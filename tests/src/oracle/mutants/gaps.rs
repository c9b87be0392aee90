//! What the program does not do yet, so that it is not judged in histories. Each line here is one to be removed.

use crate::oracle::{
    Mode, World,
    headers::{Headers, Piece},
};

/// Whether a frame is of a kind that the program does not do yet.
pub(super) fn not_done_yet(world: &World, input: &[u8]) -> bool {
    is_ipv6(input)
        || Headers::read(input).is_ok_and(|headers| {
            headers.is_icmp()
                || is_routed(world, &headers)
                || headers.piece == Piece::Whole
                    && headers
                        .transport_sum(input)
                        .is_some_and(|sum| sum.is_partial(input))
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

fn is_routed(world: &World, headers: &Headers) -> bool {
    world
        .listeners
        .iter()
        .any(|listener| listener.address == headers.destination && listener.mode == Mode::Routed)
}
