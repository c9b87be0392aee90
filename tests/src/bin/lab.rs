//! Brings the lab up, runs the redirector in it and shows what it does with real SOCKS traffic.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use redirector_tests::lab::{Topology, demo, leftovers};

/// Shows the redirector at work in network namespaces of this machine. Needs root.
#[derive(Debug, Parser)]
struct Arguments {
    /// How the relay is connected.
    #[arg(long, value_enum, default_value = "two-armed")]
    topology: Arms,

    /// How many Dante nodes there are.
    #[arg(long, default_value_t = 3)]
    nodes: usize,

    /// Keep the lab after the demonstration, until ctrl-c, and tell how to use it.
    #[arg(long)]
    stay: bool,

    /// Remove what killed runs have left, and do nothing else.
    #[arg(long)]
    clean: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arms {
    TwoArmed,
    OneArmed,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Only the chain: a backtrace would hide what the reader needs.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.clean {
        let left = leftovers::of_dead_labs()?;
        left.remove()?;
        println!(
            "removed {} namespaces and {} directories",
            left.namespaces.len(),
            left.directories.len()
        );
        return Ok(());
    }
    let topology = match arguments.topology {
        Arms::TwoArmed => Topology::TwoArmed,
        Arms::OneArmed => Topology::OneArmed,
    };
    demo::run(topology, arguments.nodes, arguments.stay)
}
