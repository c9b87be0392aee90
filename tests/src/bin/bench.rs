//! `cargo xtask bench`.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use redirector_tests::bench::{
    Results, attack, bulk, connections, control, fleet, forwarding, growth,
    guard::{Guard, Machine},
    per_packet,
    report::page,
    tables,
};

/// Measures the redirector on this machine, and what else there is beside it.
#[derive(Parser)]
struct Options {
    /// The BPF object under test.
    #[arg(
        long,
        env = "REDIRECTOR_BPF_OBJECT",
        default_value = "target/bpf/redirector.o"
    )]
    object: PathBuf,
    /// The measuring BPF object; the one that makes traffic, `traffic.o`, is beside it.
    #[arg(
        long,
        env = "REDIRECTOR_BENCH_OBJECT",
        default_value = "target/bpf/bench.o"
    )]
    bench_object: PathBuf,
    /// Rounds in which all variants take turns.
    #[arg(long)]
    rounds: Option<usize>,
    /// Less of everything: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Measures these only; can be given more than once.
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Vec<What>,
    /// Writes all figures, of each round, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures nothing and shows the figures of such a file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "json", "quick", "rounds"])]
    from: Option<PathBuf>,
    /// Writes a page with plots into this directory.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "REDIRECTOR_BENCH_REPORT",
        default_value = "target/bench"
    )]
    report: PathBuf,
    /// Fails when costs are beyond what this file keeps.
    #[arg(long, value_name = "FILE")]
    guard: Option<PathBuf>,
    /// Writes what `--guard` compares with, in place of what the file has of this kind of machine, unless something could
    /// not be measured.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// One packet in the program.
    PerPacket,
    /// Whole ways over relays.
    Forwarding,
    /// Forwarding with more clients and processors.
    Growth,
    /// SOCKS connections through Dante.
    Connections,
    /// Bulk data of kernel sockets over veth.
    Bulk,
    /// The agent: failover, reloads.
    Control,
    /// Slot tables.
    Tables,
    /// Many relays and nodes, simulated.
    Fleet,
    /// Real connections under a SYN flood.
    Attack,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let results = match &options.from {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text)
                .with_context(|| format!("{} holds no figures", path.display()))?
        }
        None => measure(&options),
    };
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&results)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let sections = results.sections()?;
    let facts = results.environment.table();
    for row in &facts.rows {
        println!("{:20}{}", row[0], row[1]);
    }
    for section in &sections {
        print!("{}", section.text());
    }
    page::write(&options.report, &facts, &sections)?;
    println!(
        "\nthe same with plots: {}",
        options.report.join("index.html").display()
    );
    let now = Machine::of(&results);
    if let Some(path) = options.keep.as_ref().filter(|_| results.failed.is_empty()) {
        let mut guard = if path.exists() {
            Guard::read(path)?
        } else {
            Guard::default()
        };
        guard.keep(now.clone());
        guard.write(path)?;
        println!("kept in {}", path.display());
    }
    let mut failed = results.failed.clone();
    if let Some(path) = &options.guard {
        let changes = Guard::read(path)?.changes(&now);
        if changes.is_empty() {
            println!("all costs are as {} keeps them", path.display());
        }
        failed.extend(changes);
    }
    for what in &failed {
        eprintln!("FAILED {what}");
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What fails is said, and the others go on.
fn measure(options: &Options) -> Results {
    let mut results = Results::new();
    let quick = options.quick;
    let rounds = options.rounds.unwrap_or(if quick { 9 } else { 15 });
    let wanted = |what| options.only.is_empty() || options.only.contains(&what);
    let mut failed = Vec::new();
    let mut note = |what: &str, error: &anyhow::Error| failed.push(format!("{what}: {error:#}"));
    // The lab's namespaces are made before anything changes this thread's.
    if wanted(What::Forwarding) {
        eprintln!("measuring forwarding");
        let object = options.bench_object.with_file_name("traffic.o");
        let packets = if quick { 1 << 16 } else { 1 << 17 };
        match forwarding::measure(&object, rounds, packets, quick) {
            Ok(report) => results.forwarding = Some(report),
            Err(error) => note("forwarding", &error),
        }
    }
    if wanted(What::Growth) {
        eprintln!("measuring growth");
        let object = options.bench_object.with_file_name("traffic.o");
        match growth::measure(&object, if quick { 3 } else { rounds }, 1 << 16) {
            Ok(report) => results.growth = Some(report),
            Err(error) => note("growth", &error),
        }
    }
    if wanted(What::Connections) {
        eprintln!("measuring connections");
        match connections::measure(rounds, if quick { 160 } else { 800 }) {
            Ok(report) => results.connections = Some(report),
            Err(error) => note("connections", &error),
        }
    }
    if wanted(What::Bulk) {
        eprintln!("measuring bulk data");
        let period = Duration::from_millis(if quick { 200 } else { 400 });
        match bulk::measure(rounds, period, if quick { 80 } else { 400 }) {
            Ok(report) => results.bulk = Some(report),
            Err(error) => note("bulk data", &error),
        }
    }
    if wanted(What::Attack) {
        eprintln!("measuring under attack");
        match attack::measure(Duration::from_secs(if quick { 3 } else { 20 })) {
            Ok(report) => results.attack = Some(report),
            Err(error) => note("under attack", &error),
        }
    }
    if wanted(What::Control) {
        eprintln!("measuring the agent");
        match control::measure(if quick { 1 } else { 5 }) {
            Ok(report) => results.control = Some(report),
            Err(error) => note("the agent", &error),
        }
    }
    if wanted(What::Tables) {
        eprintln!("measuring tables");
        results.tables = Some(tables::measure(if quick { 2 } else { 9 }));
    }
    if wanted(What::Fleet) {
        eprintln!("simulating a fleet");
        let size = if quick {
            fleet::Size::QUICK
        } else {
            fleet::Size::FULL
        };
        match fleet::measure(size) {
            Ok(report) => results.fleet = Some(report),
            Err(error) => note("a fleet", &error),
        }
    }
    if wanted(What::PerPacket) {
        eprintln!("measuring packets");
        let packets = if quick { 100_000 } else { 1_000_000 };
        // It leaves this thread's namespace for one of its own.
        let report = std::thread::scope(|scope| {
            let measuring = scope.spawn(|| {
                per_packet::measure(&options.object, &options.bench_object, rounds, packets)
            });
            measuring.join()
        });
        match report {
            Ok(Ok(report)) => results.per_packet = Some(report),
            Ok(Err(error)) => note("one packet", &error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    results.failed = failed;
    results.environment.finish();
    results
}
