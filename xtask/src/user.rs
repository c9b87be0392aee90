//! Who runs this task.

use anyhow::{Context, Result};

/// The effective user id.
pub(crate) fn effective_uid() -> Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("could not read /proc/self/status to learn which user this is")?;
    parse_effective_uid(&status)
        .context("/proc/self/status has no `Uid:` line with an effective user id")
}

/// Whether this is root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(effective_uid()? == 0)
}

fn parse_effective_uid(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_user_is_the_second_of_the_four() {
        let status = "Name:\txtask\nUid:\t1000\t0\t1000\t1000\nGid:\t1\t2\t3\t4\n";
        assert_eq!(parse_effective_uid(status), Some(0));
    }

    #[test]
    fn a_status_without_users_is_no_user() {
        assert_eq!(parse_effective_uid("Name:\txtask\n"), None);
    }
}
