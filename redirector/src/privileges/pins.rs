//! The directory of pins.
//!
//! Nothing else is given away with all that is in it, so it must be what it is said to be: in a BPF file system, and with
//! nothing but the directories of versions in it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::CWD;

use super::Account;
use super::found::{Found, find, names_in};
use super::places::PlaceError;
use crate::datapath::is_version;

/// Pins lie this deep below the directory of a version, with a level to spare.
const DEPTH: usize = 4;

/// Opens the directory of pins for the one who will lock it. If it had to be taken from an account for this, that is told,
/// so that it can be given back.
///
/// # Errors
/// [`PlaceError`]
pub fn open(path: &Path) -> Result<(File, Option<Account>), PlaceError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        opened => {
            let opened = opened.map_err(PlaceError::io("open", path))?;
            return Ok((opened, None));
        }
    }
    let mut found = Found::at(CWD, path.as_os_str()).map_err(PlaceError::io("open", path))?;
    let in_bpf_fs = found.is_in_bpf_fs();
    if !in_bpf_fs.map_err(PlaceError::io("look at", path))? {
        return Err(PlaceError::NotForPins(path.to_owned()));
    }
    let before = found.owner();
    let opened = found.open().map_err(PlaceError::io("open", path))?;
    Ok((opened.into(), Some(before)))
}

/// Gives an open directory back to whom it was taken from.
///
/// # Errors
/// The kernel refuses.
pub fn give_back(directory: &File, account: Account) -> io::Result<()> {
    std::os::unix::fs::fchown(
        directory,
        Some(account.user.as_raw()),
        Some(account.group.as_raw()),
    )
}

/// Gives the directory, if there is one, with all that is in it.
///
/// # Errors
/// [`PlaceError`]
pub(super) fn give(path: &Path, account: Account) -> Result<(), PlaceError> {
    let found = find(path).map_err(PlaceError::io("look at", path))?;
    let Some(mut found) = found else {
        return Ok(());
    };
    let in_bpf_fs = found.is_in_bpf_fs();
    if !in_bpf_fs.map_err(PlaceError::io("look at", path))? {
        // Nothing can be pinned there, which is said by who tries.
        let own = found.owner() == account;
        let refused = || PlaceError::NotForPins(path.to_owned());
        return own.then_some(()).ok_or_else(refused);
    }
    give_versions(path, &mut found, account)
}

/// Gives a directory that holds nothing but the pins of versions.
fn give_versions(path: &Path, pins: &mut Found, account: Account) -> Result<(), PlaceError> {
    let changes = pins.owner() != account;
    let within = pins.open().map_err(PlaceError::io("open", path))?;
    let mut versions = Vec::new();
    for name in names_in(&within).map_err(PlaceError::io("look into", path))? {
        let entry = Found::at(&within, &name).map_err(PlaceError::io("look at", path))?;
        if is_version(&name) && entry.is_directory() {
            versions.push(entry);
        } else if changes {
            return Err(PlaceError::Shared {
                path: path.to_owned(),
                option: "--pin-dir",
            });
        }
    }
    let mut versions = versions.into_iter();
    versions
        .try_for_each(|mut version| version.give_all(account, DEPTH))
        .and_then(|()| pins.give(account))
        .map_err(PlaceError::io("chown", path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("redirector-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn strangers() -> Account {
        Account {
            user: nix::unistd::Uid::from_raw(65_534),
            group: nix::unistd::Gid::from_raw(65_534),
        }
    }

    #[test]
    fn a_directory_that_can_hold_no_pins_is_not_given_away() {
        let directory = Directory::new("places-no-pins");
        let pins = directory.0.join("pins");
        fs::create_dir_all(pins.join("v1")).unwrap();
        let error = give(&pins, strangers()).unwrap_err();
        assert!(matches!(error, PlaceError::NotForPins(_)), "{error}");
        assert!(error.to_string().contains("--pin-dir"), "{error}");
        give(&pins, Account::current()).unwrap();
    }

    #[test]
    fn a_directory_with_other_things_than_pins_is_not_given_away() {
        let directory = Directory::new("places-not-pins");
        let pins = directory.0.join("pins");
        let found = || Found::at(CWD, pins.as_os_str()).unwrap();
        for other in ["tc", "v", "v1x", "vx", "links"] {
            fs::create_dir_all(pins.join("v1")).unwrap();
            fs::create_dir_all(pins.join(other)).unwrap();
            let error = give_versions(&pins, &mut found(), strangers()).unwrap_err();
            assert!(matches!(error, PlaceError::Shared { .. }), "{error}");
            assert!(error.to_string().contains("--pin-dir"), "{error}");
            give_versions(&pins, &mut found(), Account::current()).unwrap();
            fs::remove_dir_all(&pins).unwrap();
        }
        fs::create_dir_all(&pins).unwrap();
        fs::write(pins.join("v1"), "").unwrap();
        let error = give_versions(&pins, &mut found(), strangers()).unwrap_err();
        assert!(matches!(error, PlaceError::Shared { .. }), "{error}");
    }

    #[test]
    fn a_link_among_the_pins_leads_nowhere() {
        if !nix::unistd::Uid::effective().is_root() {
            // Only root can give files away; the lab runs this as root.
            return;
        }
        let directory = Directory::new("places-link");
        let pins = directory.0.join("pins");
        let outside = directory.0.join("outside");
        fs::create_dir_all(outside.join("below")).unwrap();
        fs::create_dir_all(pins.join("v1/links")).unwrap();
        fs::write(pins.join("v1/MAP"), "").unwrap();
        std::os::unix::fs::symlink(&outside, pins.join("v1/out")).unwrap();
        let mut found = Found::at(CWD, pins.as_os_str()).unwrap();
        give_versions(&pins, &mut found, strangers()).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for own in ["", "v1", "v1/links", "v1/MAP", "v1/out"] {
            assert_eq!(owner(&pins.join(own)), 65_534, "{own}");
        }
        for other in [&directory.0, &outside, &outside.join("below")] {
            assert_eq!(owner(other), 0, "{}", other.display());
        }
    }
}
