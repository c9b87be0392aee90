//! What it costs the agent to be scraped.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use redirector_tests::lab::metrics;

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
    Ok(all[ROUNDS / 4])
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

#[test]
fn a_scrape_of_many_mebibytes_takes_no_such_memory_and_holds_nobody_up() -> Result<()> {
    const REDIRECTS: u16 = 64;
    const TIMES: usize = 20;
    const MEMORY_MIB: f64 = 12.0;
    const HELD: Duration = Duration::from_millis(150);
    let scale = Scale::bring_up(REDIRECTS)?;
    sleep(Duration::from_secs(6));
    let (before, start) = (scale.peak_memory()?, scale.cpu()?);
    let scraping = scale.lab.relay().spawn("scraper", || {
        let mut longest = 0;
        for _ in 0..TIMES {
            longest = longest.max(metrics::scrape()?.len());
            sleep(Duration::from_millis(250));
        }
        anyhow::Ok(longest)
    })?;
    let mut answered = Vec::new();
    while !scraping.is_finished() {
        let start = Instant::now();
        // It asks the agent's loop for next to nothing.
        scale.agent.cli(&["log", "brief"])?;
        answered.push(start.elapsed());
    }
    let length = scraping
        .join()
        .map_err(|_| anyhow!("the scraper panicked"))??;
    let grown = scale.peak_memory()? - before;
    let each = (scale.cpu()?.saturating_sub(start)) / u32::try_from(TIMES)?;
    answered.sort_unstable();
    let (median, last) = (answered[answered.len() / 2], answered[answered.len() - 1]);
    println!(
        "{length} bytes, {each:?} of work each; {grown:.1} MiB more at most; {} others answered after {median:?}, {last:?} at most",
        answered.len()
    );
    let length = length as f64 / f64::from(1 << 20);
    ensure!(length > MEMORY_MIB, "{length} MiB are not much");
    ensure!(grown < MEMORY_MIB, "{grown} MiB more");
    ensure!(last < HELD, "somebody was answered after {last:?}");
    Ok(())
}
