use redirector_common::abi::SLOTS;

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    session: 100,
    udp: 20,
    handshake: 10,
    closing: 5,
};

/// The places of backends 1, 2, ... at a peer whose backends have other numbers: its first is our second.
const BACKENDS: [u16; 3] = [2, 1, 3];

fn all(backend: u16) -> Vec<u16> {
    vec![backend; SLOTS]
}

/// A table whose new connections have gone to these backends, since these moments.
fn book(history: &[(u16, u32)]) -> SlotBook {
    let mut book = SlotBook::new([1, 2], [0; 2]);
    for (backend, epoch) in history {
        book.retarget(&all(*backend), TIMEOUTS.udp, *epoch);
    }
    book
}

/// What a peer with this table tells at `epoch`, by its own numbers.
fn told(peer: &SlotBook, epoch: u32) -> SlotsRecord {
    peer.told(|id| id, epoch)
}

fn exchange(own: &mut SlotBook, told: &SlotsRecord, standing: Standing, epoch: u32) -> SlotsTaken {
    let taken = own.to_take(told, &BACKENDS, standing, &TIMEOUTS, epoch);
    own.take(&taken, TIMEOUTS.udp, epoch);
    taken
}

fn split(now: u16, was: u16) -> Slot {
    Slot {
        now,
        was: was | SLOT_SPLIT,
    }
}

#[test]
fn one_that_has_carried_nobody_takes_over_where_connections_live_and_not_where_new_ones_go() {
    // The peer's 1 is our 2.
    let peer = book(&[(1, 0), (2, 50)]);
    for (own, expected) in [
        (book(&[(1, 0)]), split(1, 2)),
        (book(&[(2, 0)]), split(2, 2)),
        (book(&[(3, 0), (1, 9)]), split(1, 2)),
        (book(&[]), split(0, 2)),
    ] {
        let mut own = own;
        exchange(&mut own, &told(&peer, 60), Standing::Behind, 1000);
        assert_eq!(own[7], expected);
        assert_eq!(own.table().split_slots as usize, SLOTS);
    }
}

#[test]
fn the_peers_times_are_kept_as_ages_and_only_then_does_a_slot_settle() {
    let peer = book(&[(1, 0), (2, 50)]);
    let mut own = book(&[(1, 0)]);
    exchange(&mut own, &told(&peer, 60), Standing::Behind, 1000);
    let settles = |own: &SlotBook, epoch| {
        let census = crate::engine::Census::take(own, []);
        !own.may_settle(&census, &TIMEOUTS, epoch).is_empty()
    };
    // Split for ten seconds then, of more than 110.
    assert!(!settles(&own, 1100));
    assert!(settles(&own, 1101));
}

#[test]
fn what_has_settled_where_clients_were_carried_settles_here() {
    let peer = book(&[(2, 0)]);
    let mut own = book(&[(3, 0), (1, 50)]);
    let taken = exchange(&mut own, &told(&peer, 60), Standing::Behind, 60);
    assert_eq!(own[7], Slot::settled_on(1));
    assert_eq!(own.table().split_slots, 0);
    assert!(!taken.is_empty());
}

#[test]
fn connections_that_live_elsewhere_than_new_ones_go_here_split_the_slot_once() {
    let peer = book(&[(1, 0)]);
    let mut own = book(&[(1, 0)]);
    exchange(&mut own, &told(&peer, 60), Standing::Behind, 60);
    assert_eq!(own[7], split(1, 2));
    let generation = own.table().generation;
    for epoch in 61..70 {
        let taken = exchange(&mut own, &told(&peer, epoch), Standing::Behind, epoch);
        assert!(taken.is_empty(), "at {epoch}");
    }
    assert_eq!(own.table().generation, generation);
}

#[test]
fn a_slot_stays_split_for_as_long_as_new_connections_go_elsewhere_at_the_relay_that_carries_them() {
    let peer = book(&[(1, 0)]);
    let mut own = book(&[(1, 0)]);
    for epoch in (60..600).step_by(20) {
        exchange(&mut own, &told(&peer, epoch), Standing::Behind, epoch);
        let census = crate::engine::Census::take(&own, []);
        let settling = own.may_settle(&census, &TIMEOUTS, epoch + 19);
        assert!(settling.is_empty(), "at {epoch}");
    }
}

#[test]
fn one_that_has_carried_clients_last_lets_nobody_tell_it_where_they_are() {
    let peer = book(&[(1, 0), (2, 50)]);
    let mut own = book(&[(3, 0)]);
    let taken = exchange(&mut own, &told(&peer, 60), Standing::Ahead, 60);
    assert!(taken.is_empty());
    assert_eq!(own[7], Slot::settled_on(3));
}

#[test]
fn relays_that_both_carry_clients_split_what_either_has_split_and_keep_what_each_knows() {
    let peer = book(&[(2, 0), (1, 50)]);
    let mut own = book(&[(1, 0)]);
    exchange(&mut own, &told(&peer, 60), Standing::Level, 60);
    assert_eq!(own[7], split(1, 1), "it will follow in a moment");

    let mut own = book(&[(3, 0)]);
    let taken = exchange(&mut own, &told(&peer, 60), Standing::Level, 60);
    assert_eq!(own[7], Slot::settled_on(3));
    assert_eq!(taken.conflicts, SLOTS);
}

#[test]
fn of_two_that_carry_clients_neither_splits_again_what_both_could_settle() {
    let peer = book(&[(2, 0), (1, 50), (2, 150)]);
    // It could have settled at 161.
    let mut own = book(&[(1, 0)]);
    assert!(exchange(&mut own, &told(&peer, 161), Standing::Level, 161).is_empty());
    // Before that it is split here as well.
    exchange(&mut own, &told(&peer, 160), Standing::Level, 160);
    assert_eq!(own[7], split(1, 1));
}

#[test]
fn nodes_that_are_not_known_here_are_left_out_and_counted() {
    let peer = book(&[(4, 0), (1, 50)]);
    let mut own = book(&[(1, 0)]);
    let taken = exchange(&mut own, &told(&peer, 60), Standing::Behind, 60);
    assert_eq!(taken.unknown, SLOTS);
    assert_eq!(own[7], Slot::settled_on(1));
}

#[test]
fn who_has_carried_clients_last_counts_and_two_at_about_the_same_time_are_level() {
    for (own, peer, standing) in [
        (None, None, Standing::Level),
        (None, Some(90_000), Standing::Behind),
        (Some(90_000), None, Standing::Ahead),
        (Some(0), Some(2500), Standing::Level),
        (Some(0), Some(2501), Standing::Ahead),
        (Some(2501), Some(0), Standing::Behind),
        (Some(900_000), Some(901_000), Standing::Level),
    ] {
        assert_eq!(Standing::of(own, peer, 2500), standing, "{own:?} {peer:?}");
    }
}
