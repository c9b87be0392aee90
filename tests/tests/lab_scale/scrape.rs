//! What it costs the agent to be scraped.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::relay::Scale;

/// A few: each reaches all 256 nodes.
const REDIRECTS: u16 = 4;
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_secs(4);
/// Of one core, for being scraped once a second.
const PERCENT: f64 = 1.0;

/// The share of a core that the agent takes, in percent, while it is scraped so often in a second.
fn load(scale: &Scale, per_second: u32) -> Result<f64> {
    let (start, before) = (Instant::now(), scale.cpu()?);
    let end = start + WINDOW;
    let mut next = start;
    while let Some(every) = Duration::from_secs(1).checked_div(per_second) {
        next += every;
        if next > end {
            break;
        }
        sleep(next.saturating_duration_since(Instant::now()));
        scale.scrape()?;
    }
    sleep(end.saturating_duration_since(Instant::now()));
    let took = scale.cpu()?.saturating_sub(before);
    Ok(100.0 * took.as_secs_f64() / start.elapsed().as_secs_f64())
}

/// What scraping so often adds to that. The rounds are interleaved, and whoever else uses the machine makes the same work
/// take longer, never less.
fn added(scale: &Scale, per_second: u32) -> Result<f64> {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let idle = load(scale, 0)?;
        all.push(load(scale, per_second)? - idle);
    }
    all.sort_by(f64::total_cmp);
    println!("scraped {per_second} times a second: {all:.2?} % of a core more");
    Ok(all[ROUNDS / 2])
}

#[test]
fn to_be_scraped_every_second_takes_a_percent_of_a_core_at_most_with_256_nodes_and_more_memory_by_no_body()
-> Result<()> {
    const MEMORY_MIB: f64 = 4.0;
    let scale = Scale::bring_up(REDIRECTS)?;
    // From the second check on the nodes take turns.
    sleep(Duration::from_secs(6));
    let memory = scale.memory()?;
    println!("{} bytes, {memory:.1} MiB before", scale.scrape()?.len());
    let once = added(&scale, 1)?;
    let grown = scale.memory()? - memory;
    println!("{grown:.1} MiB more memory");
    ensure!(once <= PERCENT, "{once} % of a core");
    ensure!(grown <= MEMORY_MIB, "{grown} MiB");
    // What is measured is what scraping costs: fifty times as much of it breaks the bound.
    let often = added(&scale, 50)?;
    ensure!(
        often > PERCENT,
        "{often} % of a core for 50 scrapes a second"
    );
    Ok(())
}
