//! `cargo xtask test`: every tier, with one count at the end.

mod tally;
mod watchdog;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    io::{self, Read as _, Write as _},
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use self::watchdog::Watchdog;
use crate::{build, command, user, workspace};
pub(crate) use tally::Tally;

/// How often it is looked whether a test has come to its end.
const LOOK: Duration = Duration::from_secs(2);

/// A group of tests by what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tier {
    /// Pure logic; needs no root, no BPF toolchain and no network.
    Host,
    /// The eBPF program through `BPF_PROG_TEST_RUN`; needs root.
    Kernel,
    /// Network namespaces with real Dante nodes; needs root.
    Lab,
}

impl Tier {
    /// All tiers, cheapest first.
    pub(crate) const ALL: [Self; 3] = [Self::Host, Self::Kernel, Self::Lab];

    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Kernel => "kernel",
            Self::Lab => "lab",
        }
    }

    fn needs_root(self) -> bool {
        match self {
            Self::Host => false,
            Self::Kernel | Self::Lab => true,
        }
    }

    /// Builds what the tests of the tier load or start.
    fn build(self) -> Result<()> {
        match self {
            Self::Host => Ok(()),
            Self::Kernel => build::bpf_object(),
            Self::Lab => {
                build::next_version()?;
                build::with_tests()
            }
        }
    }
}

/// What became of a tier.
struct Outcome {
    tier: Tier,
    tally: Tally,
    /// Why the tier failed apart from any single test. Counts as one more failure.
    broken: Option<String>,
    time: Duration,
}

impl Outcome {
    fn passed(&self) -> u64 {
        self.tally.passed
    }

    fn failed(&self) -> u64 {
        self.tally.failed + u64::from(self.broken.is_some())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<8}{:>8}{:>8}{:>9}{:>8.1} s",
            self.tier.name(),
            self.passed(),
            self.failed(),
            self.tally.ignored,
            self.time.as_secs_f32()
        )?;
        if let Some(broken) = &self.broken {
            write!(f, "  {broken}")?;
        }
        Ok(())
    }
}

/// Runs the tiers and prints the table and the summary; returns whether all is well.
///
/// `arguments` go to the test programs. A test that takes longer than `limit` is ended.
pub(crate) fn run(tiers: &[Tier], limit: Duration, arguments: &[OsString]) -> bool {
    let mut outcomes = Vec::new();
    for &tier in tiers {
        eprintln!("\n== tier {}", tier.name());
        let started = Instant::now();
        let (tally, broken) = match run_tier(tier, limit, arguments) {
            Ok(counted) => counted,
            Err(error) => (Tally::default(), Some(format!("{error:#}"))),
        };
        if let Some(broken) = &broken {
            eprintln!("tier {} failed: {broken}", tier.name());
        }
        outcomes.push(Outcome {
            tier,
            tally,
            // The table has room for the first line; the whole was printed above.
            broken: broken.map(|text| text.lines().next().unwrap_or_default().to_owned()),
            time: started.elapsed(),
        });
    }
    println!("\ntier      passed  failed  ignored      time");
    for outcome in &outcomes {
        println!("{outcome}");
    }
    let passed: u64 = outcomes.iter().map(Outcome::passed).sum();
    let failed: u64 = outcomes.iter().map(Outcome::failed).sum();
    println!("\n{passed} passed, {failed} failed");
    failed == 0
}

/// Runs one tier. The text says what is wrong beyond the tests that failed by name.
fn run_tier(
    tier: Tier,
    limit: Duration,
    arguments: &[OsString],
) -> Result<(Tally, Option<String>)> {
    if tier.needs_root() && !user::is_root()? {
        let uid = user::effective_uid()?;
        return Ok((
            Tally::default(),
            Some(format!(
                "needs root to load eBPF programs, and this is uid {uid}: \
                 sudo env \"PATH=$PATH\" cargo xtask test --tier {}",
                tier.name()
            )),
        ));
    }
    tier.build()?;
    let mut cargo = cargo_test(tier);
    cargo.arg("--").args(arguments);
    if tier.needs_root() {
        // These tests share the kernel, and time matters to some of them.
        cargo.arg("--test-threads=1");
    }
    let (tally, success) = counted(&mut cargo, limit)?;
    let broken = if success && tally.executed() == 0 {
        Some("executed no test".to_owned())
    } else if !success && tally.failed == 0 {
        Some("did not build, or a test program died (see above)".to_owned())
    } else {
        None
    };
    Ok((tally, broken))
}

fn cargo_test(tier: Tier) -> Command {
    let mut cargo = workspace::cargo();
    if tier.needs_root() {
        // As a runner, the variables reach the tests and not the compiler, for which a change of
        // REDIRECTOR_BPF_OBJECT would mean another build of the agent.
        cargo.arg("--config").arg(format!(
            "target.'cfg(all())'.runner = ['env', 'REDIRECTOR_BPF_OBJECT={}', 'REDIRECTOR_BIN={}', \
             'REDIRECTOR_NEXT={}']",
            workspace::bpf_object().display(),
            workspace::agent().display(),
            workspace::next_version().display()
        ));
    }
    cargo.args(["test", "--no-fail-fast"]);
    match tier {
        Tier::Host => {}
        Tier::Kernel | Tier::Lab => {
            // The tests of a tier are integration tests behind its feature. The unit tests beside
            // them were counted in the host tier.
            cargo.args(["--package", "redirector-tests"]);
            cargo.args(["--test", &format!("{}_*", tier.name())]);
            cargo.args(["--features", tier.name()]);
        }
    }
    cargo
}

/// Builds these integration tests and says where they are, by their names.
pub(crate) fn binaries(tests: &[&str], features: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--package", "redirector-tests"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.args(["--features", &features.join(",")]);
    for test in tests {
        cargo.args(["--test", test]);
    }
    let messages = command::output_bytes(&mut cargo)?;
    Ok(executables(&String::from_utf8_lossy(&messages)))
}

/// The executables in cargo's messages, by the names of their targets.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message.get("target")?.get("name")?.as_str()?.to_owned();
        Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
    };
    messages.lines().filter_map(executable).collect()
}

/// Runs a test command, showing what it writes and counting what it reports. A test that comes to no end counts as failed.
fn counted(command: &mut Command, limit: Duration) -> Result<(Tally, bool)> {
    let message = format!("could not run `{}`", command::line(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| message.clone())?;
    let mut watchdog = Watchdog::new(child.id(), limit);
    let mut tally = Tally::default();
    let mut line = Vec::new();
    let chunks = chunks(child.stdout.take().context("it writes to a pipe")?);
    loop {
        match chunks.recv_timeout(LOOK) {
            Ok(chunk) => {
                let chunk = chunk.with_context(|| message.clone())?;
                watchdog.heard();
                let mut terminal = io::stdout();
                terminal.write_all(&chunk)?;
                terminal.flush()?;
                for part in chunk.split_inclusive(|&byte| byte == b'\n') {
                    line.extend_from_slice(part);
                    if part.ends_with(b"\n") {
                        tally.add_line(String::from_utf8_lossy(&line).trim_end());
                        line.clear();
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some(why) = watchdog.look() else { continue };
                let test = String::from_utf8_lossy(&line);
                eprintln!(
                    "\n{test}NO END within {} s; its program was ended\n{why}",
                    limit.as_secs()
                );
                tally.failed += 1;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().with_context(|| message.clone())?;
    Ok((tally, status.success()))
}

/// What is read from a pipe, as it comes.
fn chunks(mut pipe: ChildStdout) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        loop {
            let chunk = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => Ok(buffer.get(..length).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = chunk.is_err();
            if sender.send(chunk).is_err() || failed {
                break;
            }
        }
    });
    receiver
}
