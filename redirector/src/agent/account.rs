//! Whom the agent runs as, and what it has left to reload with.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use anyhow::Context as _;
use nix::unistd::Gid;
use rustix::fs::Access;

use super::{RunOptions, start};
use crate::{
    config::Config,
    control::directory_of,
    health::Material,
    http, peer,
    privileges::{self, Account, Places},
};

fn places(options: &RunOptions) -> Places<'_> {
    Places {
        pins: &options.pin_dir,
        socket: &options.socket,
        operator_file: &options.operator_file,
        names_file: &options.names_file,
    }
}

/// Becomes the user that the configuration names, if it names one. Gives the lock of the pin directory, if it was taken for
/// that or for what another has left. A user reaches the directory through it: systemd mounts the BPF file system so that
/// only root can pass to what is in it.
/// To be called before there is a second thread.
///
/// # Errors
/// There is no such user or group, or what the agent needs cannot be given to it. Nothing is attached then.
pub(super) fn enter(
    config: &Config,
    options: &mut RunOptions,
) -> anyhow::Result<Option<start::PinLock>> {
    let account = Account::find(&config.privileges)?;
    let other = config.privileges.user.as_deref();
    let Some(name) = other.filter(|_| !account.is_current()) else {
        if other.is_some() {
            privileges::leave_groups().context("cannot leave further groups")?;
        }
        let lock = take_over_early(options)?;
        bar_the_way_back()?;
        return Ok(lock);
    };
    let lock = start::lock(&options.pin_dir)?;
    places(options).give_to(account)?;
    bar_the_way_back()?;
    account.enter(name)?;
    let shown = options.pin_dir.display().to_string();
    options.pin_dir = lock.path();
    log::info!(
        "running as the user {name}, who reaches {shown} as {}",
        options.pin_dir.display()
    );
    Ok(Some(lock))
}

/// What names stood for is read before the pins are locked, but an agent of another user may have left it where this one
/// has no way to it.
fn take_over_early(options: &RunOptions) -> anyhow::Result<Option<start::PinLock>> {
    let readable = rustix::fs::access(&options.names_file, Access::READ_OK);
    if readable != Err(rustix::io::Errno::ACCESS) {
        return Ok(None);
    }
    let lock = start::lock(&options.pin_dir)?;
    take_over(options)?;
    Ok(Some(lock))
}

fn bar_the_way_back() -> anyhow::Result<()> {
    privileges::bar_the_way_back().context("cannot give up the right to gain privileges")
}

/// Says so when members of the group of the control socket can't get to it.
pub(super) fn warn_of_closed_directory(socket: &Path, group: Gid) {
    let shown = directory_of(socket);
    let Ok(directory) = std::fs::metadata(shown) else {
        // It is made by whoever binds the socket.
        return;
    };
    let by_group = directory.gid() == group.as_raw() && directory.mode() & 0o010 != 0;
    if directory.mode() & 0o001 == 0 && !by_group {
        log::warn!(
            "members of the group of the control socket cannot pass its directory; chmod o+x {}",
            shown.display()
        );
    }
}

/// Makes pins usable that an agent of another user has left.
///
/// # Errors
/// They can't be given to this one.
pub(super) fn take_over(options: &RunOptions) -> anyhow::Result<()> {
    Ok(places(options).take_over()?)
}

/// Whether a reload could read all that it needs.
fn readable(config: &Path) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    Material::read(&config)?;
    config.http.as_ref().map(http::token_of).transpose()?;
    peer::Prepared::new(&config.peers)?;
    Ok(())
}

/// Gives up what is not needed any more, and says what a later reload would fail on for want of it.
///
/// # Errors
/// The kernel refuses.
pub(super) fn settle(options: &RunOptions) -> anyhow::Result<()> {
    privileges::settle().context("cannot give up capabilities")?;
    if let Err(error) = readable(&options.config) {
        log::warn!(
            "a reload will fail, since the agent has given up the right to pass by the permissions of files: {error:#}"
        );
    }
    for (file, option) in [
        (&options.socket, "--socket"),
        (&options.operator_file, "--operator-file"),
        (&options.names_file, "--names-file"),
    ] {
        let directory = directory_of(file);
        if rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            log::warn!(
                "the agent will not be able to write to {}; give the directory to its user, or choose another one \
                 with {option}",
                directory.display()
            );
        }
    }
    Ok(())
}
