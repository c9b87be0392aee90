//! Takes the pictures of the status page and of `redirector top` that the README shows.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use redirector_tests::lab::screenshots;

/// Brings up the lab, with traffic and a node that dies, and takes pictures. Needs root, and chromium-driver.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the pictures go.
    #[arg(long)]
    directory: PathBuf,
}

fn main() -> Result<()> {
    screenshots::take(&Arguments::parse().directory)
}
