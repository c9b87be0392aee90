//! `cargo xtask bench`.

use std::path::PathBuf;

use clap::Parser;
use redirector_tests::bench::per_packet;

/// Measures the redirector on this machine.
#[derive(Parser)]
struct Options {
    /// The BPF object under test.
    #[arg(
        long,
        env = "REDIRECTOR_BPF_OBJECT",
        default_value = "target/bpf/redirector.o"
    )]
    object: PathBuf,
    /// The measuring BPF object.
    #[arg(
        long,
        env = "REDIRECTOR_BENCH_OBJECT",
        default_value = "target/bpf/bench.o"
    )]
    bench_object: PathBuf,
    /// Rounds in which all variants take turns.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Packets per variant and round.
    #[arg(long, default_value_t = 1_000_000)]
    packets: u32,
    /// Fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let rounds = if options.quick { 9 } else { options.rounds };
    let report = per_packet::measure(
        &options.object,
        &options.bench_object,
        rounds,
        options.packets,
    )?;
    println!("floor (return XDP_TX): {:.0} ns", report.floor_ns);
    println!(
        "{:32} {:>8} {:>10}  (lowest .. highest)",
        "one packet", "own ns", "x floor"
    );
    for figure in &report.figures {
        println!(
            "{:32} {:>8.0} {:>10.2}  ({:.2} .. {:.2})",
            figure.name, figure.own_ns, figure.times_floor, figure.spread.0, figure.spread.1
        );
    }
    println!(
        "{:40} {:>8} {:>14}",
        "whole packets, one way against another", "ratio", "difference"
    );
    for comparison in &report.comparisons {
        println!(
            "{:40} {:>7.2}x {:>11.1} ns",
            comparison.name, comparison.ratio, comparison.difference_ns
        );
    }
    println!("instructions verified, of 1,000,000");
    for (program, instructions) in &report.verified_instructions {
        println!("{program:12} {instructions:>8}");
    }
    if let Some(path) = options.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
        println!("written to {}", path.display());
    }
    Ok(())
}
