//! Runs other people's tools (`ip`, `ethtool`, `nft`) and turns their failures into errors.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `line`, split at white space, and returns what it printed.
///
/// # Errors
/// When the tool is missing or fails; the error holds the line and what it printed to stderr.
pub(crate) fn run(line: &str) -> Result<String> {
    run_with_input(line, "")
}

/// Runs `line`, split at white space, with `input` on its standard input.
///
/// # Errors
/// Like [`run`].
pub(crate) fn run_with_input(line: &str, input: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start `{line}`; is {program} installed?"))?;
    child
        .stdin
        .take()
        .context("a child without standard input")?
        .write_all(input.as_bytes())
        .with_context(|| format!("can't write to `{line}`"))?;
    let output = child
        .wait_with_output()
        .with_context(|| format!("can't wait for `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `program` is in the search path.
pub(crate) fn available(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(program).is_file())
}
