//! To look at a relay does not hold its packets up.

use anyhow::{Result, ensure};
use redirector_tests::bench::rounds::Spread;
use redirector_tests::bench::watched::{self, Who};

use crate::exact::traffic_object;

/// The quartiles of so many rounds are the bounds between which the median of all rounds that could be had lies, with 96 of 100
/// chances (the 4th and the 12th of 15 by their order).
const ROUNDS: usize = 15;
/// Other work on the machine can hold up most rounds of a measurement, by chance, so that there is more than one.
const MEASUREMENTS: usize = 3;
/// Packets that go by with everybody watching while 1 goes by with nobody.
const LEAST: f64 = 0.97;

/// Whether packets are certainly held up.
fn held_up(speed: &Spread) -> bool {
    speed.high < LEAST
}

#[test]
fn packets_go_as_fast_with_metrics_scraped_every_second_the_page_and_top_open_as_with_nobody_looking()
-> Result<()> {
    let object = traffic_object()?;
    let mut speeds = Vec::new();
    while speeds.iter().all(held_up) {
        ensure!(speeds.len() < MEASUREMENTS, "{speeds:?}");
        speeds.push(watched::measure(&object, ROUNDS, Who::Watches)?);
    }
    println!("watched against not: {speeds:?}");
    Ok(())
}

#[test]
fn a_measurement_of_who_watches_sees_a_relay_that_is_held_up() -> Result<()> {
    for _ in 0..MEASUREMENTS {
        let speed = watched::measure(&traffic_object()?, 3, Who::HoldsUp)?;
        println!("held up against not: {speed:?}");
        ensure!(held_up(&speed), "{speed:?}");
    }
    Ok(())
}
