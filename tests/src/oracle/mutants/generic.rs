//! Generic mode, in which the kernel completes checksums.

use super::by_hand::{CLIENT, NODE, VIP, frame, ip, judged, tcp, to_node, with_sum};
use crate::{
    oracle::{Judge, World},
    packets::Sum,
};

#[test]
fn in_generic_mode_a_partial_checksum_stays_partial() {
    let pair = to_node(
        "left to the kernel",
        1,
        2,
        &frame(
            ip(CLIENT, VIP, 64),
            with_sum(tcp(40_000, 1080), Sum::Partial),
        ),
        &frame(
            ip(CLIENT, NODE, 63),
            with_sum(tcp(40_000, 1088), Sum::Partial),
        ),
    );
    let world = World {
        native: false,
        ..World::of_fixture()
    };
    assert_eq!(judged(&mut Judge::new(world), &pair, &pair.output), Ok(()));
    let native = judged(&mut Judge::new(World::of_fixture()), &pair, &pair.output);
    let complaint = native.expect_err("the card does not complete it");
    assert!(complaint.contains("TCP checksum"), "{complaint}");
}
