//! The running agent.

use std::path::PathBuf;

/// What `redirector run` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where links and maps are pinned.
    pub pin_dir: PathBuf,
    /// The data path's object file, in place of the embedded one.
    pub bpf_object: Option<PathBuf>,
}

/// Runs until it is told to stop.
///
/// # Errors
/// Whatever keeps it from running.
pub fn run(options: RunOptions) -> anyhow::Result<()> {
    let RunOptions { config, .. } = options;
    crate::config::Config::load(config)?;
    anyhow::bail!("this build has no data path")
}
