//! `cargo xtask fuzz`: the packet path under libFuzzer.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    command,
    setup::{self, Program},
    workspace,
};

/// What makes the compiler count which branches an input takes. None of it needs an unstable compiler.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
];

/// Longest input, bytes: a few frames, one of them larger than an Ethernet MTU.
const LONGEST: usize = 4096;

/// Builds the fuzzer and runs it for so many seconds. What it finds is written where the tests will find it.
pub(crate) fn run(seconds: u32) -> Result<()> {
    setup::program(Program::CPlusPlus)?;
    let directory = workspace::target().join("fuzz");
    let corpus = directory.join("corpus");
    fs::create_dir_all(&corpus)
        .with_context(|| format!("could not create {}", corpus.display()))?;
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--package", "redirector-tests"])
        .args(["--bin", "fuzz", "--features", "fuzz"])
        .args(["--target", &workspace::host_triple()?])
        .env("CARGO_TARGET_DIR", &directory)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    command::run(&mut build)?;
    let regressions = workspace::root().join("tests/fuzz/regressions");
    let fuzzer = directory
        .join(workspace::host_triple()?)
        .join("release/fuzz");
    let mut fuzz = std::process::Command::new(fuzzer);
    fuzz.env("FUZZ_SEEDS", &corpus)
        .arg(&corpus)
        .arg(&regressions)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-artifact_prefix={}/", regressions.display()))
        // No input takes a millisecond; on a busy machine the process may wait for its turn much longer.
        .args(["-print_final_stats=1", "-timeout=60"]);
    command::run(&mut fuzz)
}
