//! `completions` and `man`: made of the command line itself.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::print;
use crate::cli::Cli;

pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "redirector", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// A page for the program and one for each of its commands.
pub(crate) fn man(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .with_context(|| format!("cannot write manual pages to {}", directory.display()))
}
