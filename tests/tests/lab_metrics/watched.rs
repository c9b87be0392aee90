//! To look at a relay does not hold its packets up.

use anyhow::{Result, ensure};
use redirector_tests::bench::watched;

use crate::exact::traffic_object;

const ROUNDS: usize = 15;
/// Packets that go by with everybody watching while 1 goes by with nobody.
const LEAST: f64 = 0.97;

#[test]
fn packets_go_as_fast_with_metrics_scraped_every_second_the_page_and_top_open_as_with_nobody_looking()
-> Result<()> {
    let speed = watched::measure(&traffic_object()?, ROUNDS, watched::Who::Watches)?;
    println!("watched against not: {speed:?}");
    ensure!(speed.median >= LEAST, "{speed:?}");
    Ok(())
}

#[test]
fn a_measurement_of_who_watches_sees_a_relay_that_is_held_up() -> Result<()> {
    let speed = watched::measure(&traffic_object()?, 3, watched::Who::HoldsUp)?;
    println!("held up against not: {speed:?}");
    ensure!(speed.median < LEAST, "{speed:?}");
    Ok(())
}
