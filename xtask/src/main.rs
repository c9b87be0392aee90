//! The tasks of this workspace: `cargo xtask build | run | test | bench | fuzz | tidy`.
#![forbid(unsafe_code)]

mod build;
mod command;
mod deploy;
mod fuzz;
mod kernels;
mod run;
mod setup;
mod test;
mod tidy;
mod user;
mod workspace;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};

use setup::Need;
use test::Tier;

/// Builds, runs, tests and tidies the redirector. Every task first finds or installs what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what the other tasks need, and no more
    Setup,
    /// Build the eBPF program (target/bpf/redirector.o) and the agent (target/release/redirector)
    Build {
        /// First the same of another version, for the tests of upgrades (target/next)
        #[arg(long)]
        next: bool,
    },
    /// Bring up the lab in network namespaces, or run the agent on this host with --config
    Run {
        /// Run the agent on this host with this file in place of the lab
        #[arg(long)]
        config: Option<PathBuf>,
        /// Arguments for the lab or the agent
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run every tier of tests; the last line is `N passed, N failed`
    Test {
        /// Run this tier only; can be given more than once
        #[arg(long = "tier", value_enum)]
        tiers: Vec<Tier>,
        /// Run the kernel tier and a small lab on other kernels, in virtual machines: on all, or on those named,
        /// such as `--kernels=5.10,newest`
        #[arg(
            long,
            value_name = "NAMES",
            num_args = 0..=1,
            require_equals = true,
            conflicts_with = "tiers"
        )]
        #[expect(
            clippy::option_option,
            reason = "not given, given, or given with names"
        )]
        kernels: Option<Option<String>>,
        /// Test what users install in place of the tiers: all of it, or one part
        #[arg(
            long,
            value_enum,
            value_name = "PART",
            num_args = 0..=1,
            require_equals = true,
            conflicts_with_all = ["tiers", "kernels"]
        )]
        #[expect(
            clippy::option_option,
            reason = "not given, given, or given with a part"
        )]
        deploy: Option<Option<deploy::Part>>,
        /// End a test that takes longer than this, and count it as failed
        #[arg(
            long,
            value_name = "SECONDS",
            default_value_t = 900,
            conflicts_with_all = ["kernels", "deploy"]
        )]
        test_limit: u64,
        /// Write tests/KERNELS.md anew
        #[arg(long, requires = "kernels")]
        record: bool,
        /// Arguments for the test programs, such as part of a test's name; with --kernels, the programs to run
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Run the benches
    Bench {
        /// Also write the results to this file
        #[arg(long)]
        json: Option<PathBuf>,
        /// Less of everything: two minutes in place of twenty
        #[arg(long)]
        quick: bool,
        /// Arguments for the bench program
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Take the pictures of the status page and of `redirector top` anew (tests/figures)
    Screenshots,
    /// Build the container image `redirector:VERSION`
    Image,
    /// Build everything of a release: tarball, Debian package, image, chart, checksums (target/dist)
    Dist,
    /// Feed the packet path what a fuzzer thinks of; what it finds becomes a test
    Fuzz {
        /// How long
        #[arg(long, default_value_t = 900)]
        seconds: u32,
    },
    /// Check format, lints and the rules of the house
    Tidy,
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the task found everything in order.
fn carry_out(task: Task) -> Result<bool> {
    match task {
        Task::Setup => setup::ready(Need::Lab).map(drop)?,
        Task::Build { next: false } => build::agent()?,
        Task::Build { next: true } => {
            build::next_version()?;
            build::with_tests()?;
        }
        Task::Run {
            config: None,
            arguments,
        } => run::lab(&arguments)?,
        Task::Run {
            config: Some(config),
            arguments,
        } => run::agent(&config, &arguments)?,
        Task::Test {
            deploy: Some(part), ..
        } => return Ok(deploy::test(part)),
        Task::Test {
            kernels: Some(names),
            record,
            arguments,
            ..
        } => {
            let tests = arguments
                .iter()
                .map(|name| name.to_string_lossy().into_owned());
            let tests: Vec<String> = tests.collect();
            return kernels::run(names.as_deref(), &tests, record);
        }
        Task::Test {
            tiers,
            test_limit,
            arguments,
            ..
        } => {
            let tiers = if tiers.is_empty() {
                &Tier::ALL[..]
            } else {
                &tiers
            };
            let limit = Duration::from_secs(test_limit);
            return Ok(test::run(tiers, limit, &arguments));
        }
        Task::Bench {
            json,
            quick,
            arguments,
        } => run::bench(json.as_deref(), quick, &arguments)?,
        Task::Screenshots => run::screenshots()?,
        Task::Image => deploy::image().map(drop)?,
        Task::Dist => deploy::dist()?,
        Task::Fuzz { seconds } => fuzz::run(seconds)?,
        Task::Tidy => return Ok(tidy::run()),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_arguments(line: &str) -> (Option<PathBuf>, Vec<OsString>) {
        let words = ["cargo xtask", "run"].into_iter().chain(line.split(' '));
        match Arguments::try_parse_from(words).map(|parsed| parsed.task) {
            Ok(Task::Run { config, arguments }) => (config, arguments),
            Ok(_) | Err(_) => panic!("`{line}` should be arguments of run"),
        }
    }

    #[test]
    fn arguments_of_the_lab_pass_with_and_without_a_separator() {
        for line in [
            "--stay --topology one-armed",
            "-- --stay --topology one-armed",
        ] {
            let (config, arguments) = run_arguments(line);
            assert_eq!(config, None, "{line}");
            assert_eq!(arguments, ["--stay", "--topology", "one-armed"], "{line}");
        }
    }

    #[test]
    fn arguments_after_the_config_are_the_agents() {
        let (config, arguments) = run_arguments("--config a.toml -- --socket s");
        assert_eq!(config, Some("a.toml".into()));
        assert_eq!(arguments, ["--socket", "s"]);
    }

    #[test]
    fn an_unknown_tier_is_refused() {
        let parsed = Arguments::try_parse_from(["cargo xtask", "test", "--tier", "moon"]);
        assert!(parsed.is_err());
    }
}
