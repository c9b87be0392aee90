//! Files and directories that must belong to whom the agent runs as.
//!
//! An earlier agent may have run as somebody else, and without the right to pass by the permissions of files not even
//! root can open what that one has left. Directories that others may write to are walked by descriptors, so that a link
//! in them leads nowhere.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid};
use thiserror::Error;

use super::Account;

/// Pins lie this deep, with a level to spare.
const DEPTH: usize = 4;

/// Why a user cannot have what the agent needs.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The operating system refuses.
    #[error("cannot {action} {}, which the agent's user needs: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A directory that is not the agent's alone.
    #[error(
        "the agent's user could not write to {}, which holds other things than the agent's and so is not given to it; name a \
         place in a directory of its own with {option}", path.display()
    )]
    Shared {
        /// The directory.
        path: PathBuf,
        /// What names another.
        option: &'static str,
    },
}

/// What the agent writes to while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Where links and maps are pinned.
    pub pins: &'a Path,
    /// The control socket.
    pub socket: &'a Path,
    /// What the operator has said.
    pub operator_file: &'a Path,
    /// What nodes' names stand for.
    pub names_file: &'a Path,
}

impl Places<'_> {
    /// Gives them to another account, and makes the directories of socket and files where they are missing.
    ///
    /// # Errors
    /// [`PlaceError`]; what was given until then is only what the agent's own user should have anyway.
    pub fn give_to(&self, account: Account) -> Result<(), PlaceError> {
        self.own_directory(self.socket, "--socket", account)?;
        self.own_directory(self.operator_file, "--operator-file", account)?;
        self.own_directory(self.names_file, "--names-file", account)?;
        self.take_over(account)
    }

    /// Gives the account what earlier agents have left there, as far as it is the agents' without doubt.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn take_over(&self, account: Account) -> Result<(), PlaceError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: rustix::io::Errno| PlaceError::Io {
                action: "chown",
                path,
                source: source.into(),
            }
        };
        match open(CWD, self.pins.as_os_str(), OFlags::DIRECTORY) {
            Ok(pins) => give_all(&pins, account, DEPTH).map_err(failed(self.pins))?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(failed(self.pins)(error)),
        }
        // A socket that somebody listens on is not ours to give.
        let left = UnixStream::connect(self.socket).is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied
            )
        });
        let files = [self.operator_file, self.names_file];
        for file in files.into_iter().chain(left.then_some(self.socket)) {
            match give(CWD, file.as_os_str(), account) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(failed(file)(error)),
            }
        }
        Ok(())
    }

    /// The directory of a file that the account will make anew there, again and again.
    fn own_directory(
        &self,
        file: &Path,
        option: &'static str,
        account: Account,
    ) -> Result<(), PlaceError> {
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        make(directory)?;
        let failed = |action| {
            move |source| PlaceError::Io {
                action,
                path: directory.to_owned(),
                source,
            }
        };
        let metadata = fs::metadata(directory).map_err(failed("look at"))?;
        if may_write(&metadata, account) {
            return Ok(());
        }
        for entry in fs::read_dir(directory).map_err(failed("look into"))? {
            let name = entry.map_err(failed("look into"))?.file_name();
            if !self.has_named(&name) {
                return Err(PlaceError::Shared {
                    path: directory.to_owned(),
                    option,
                });
            }
        }
        give(CWD, directory.as_os_str(), account)
            .map_err(io::Error::from)
            .map_err(failed("chown"))
    }

    /// Whether a file of this name is an agent's: the socket, a file that it keeps, or a draft of one of them.
    fn has_named(&self, name: &OsStr) -> bool {
        [self.socket, self.operator_file, self.names_file]
            .into_iter()
            .filter_map(Path::file_name)
            .any(|own| name.as_bytes().starts_with(own.as_bytes()))
    }
}

fn make(directory: &Path) -> Result<(), PlaceError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(directory);
    made.map_err(|source| PlaceError::Io {
        action: "make",
        path: directory.to_owned(),
        source,
    })
}

fn may_write(of: &Metadata, account: Account) -> bool {
    let mode = of.mode();
    (of.uid() == account.user.as_raw() && mode & 0o300 == 0o300) || mode & 0o003 == 0o003
}

fn open(at: impl AsFd, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Gives an entry of a directory, where it has another owner.
fn give(at: impl AsFd, name: &OsStr, account: Account) -> rustix::io::Result<()> {
    let found = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let (user, group) = (account.user.as_raw(), account.group.as_raw());
    if (found.st_uid, found.st_gid) == (user, group) {
        return Ok(());
    }
    let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    rustix::fs::chownat(at, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives a directory with all that is in it.
fn give_all(directory: &OwnedFd, account: Account, depth: usize) -> rustix::io::Result<()> {
    let (user, group) = (account.user.as_raw(), account.group.as_raw());
    let found = rustix::fs::fstat(directory)?;
    if (found.st_uid, found.st_gid) != (user, group) {
        let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        rustix::fs::fchown(directory, owner.0, owner.1)?;
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        give(directory, name, account)?;
        if entry.file_type() == FileType::Directory && depth > 0 {
            let below = open(directory.as_fd(), name, OFlags::DIRECTORY)?;
            give_all(&below, account, depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("redirector-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn paths(&self) -> [PathBuf; 4] {
            [
                "pins",
                "run/control.sock",
                "run/control.operator.json",
                "run/control.names.json",
            ]
            .map(|name| self.0.join(name))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn places([pins, socket, operator_file, names_file]: &[PathBuf; 4]) -> Places<'_> {
        Places {
            pins,
            socket,
            operator_file,
            names_file,
        }
    }

    fn strangers() -> Account {
        Account {
            user: nix::unistd::Uid::from_raw(65_534),
            group: nix::unistd::Gid::from_raw(65_534),
        }
    }

    #[test]
    fn what_is_missing_is_made_for_who_needs_it() {
        let directory = Directory::new("places-made");
        let paths = directory.paths();
        places(&paths).give_to(Account::current()).unwrap();
        assert!(directory.0.join("run").is_dir());
    }

    /// The user of the test owns the directory, and the account in question is somebody else's.
    #[test]
    fn a_directory_with_other_things_in_it_is_not_given_away() {
        let directory = Directory::new("places-shared");
        let paths = directory.paths();
        fs::create_dir_all(directory.0.join("run")).unwrap();
        fs::write(directory.0.join("run/other"), "").unwrap();
        let error = places(&paths).give_to(strangers()).unwrap_err();
        assert!(matches!(error, PlaceError::Shared { .. }), "{error}");
        assert!(error.to_string().contains("--socket"), "{error}");
        let owner = fs::metadata(directory.0.join("run")).unwrap().uid();
        assert_eq!(owner, nix::unistd::Uid::effective().as_raw());
    }

    #[test]
    fn a_link_among_the_pins_leads_nowhere() {
        if !nix::unistd::Uid::effective().is_root() {
            // Only root can give files away; the lab runs this as root.
            return;
        }
        let directory = Directory::new("places-link");
        let paths = directory.paths();
        let outside = directory.0.join("outside");
        fs::create_dir_all(outside.join("below")).unwrap();
        fs::create_dir_all(paths[0].join("v1/links")).unwrap();
        fs::write(paths[0].join("v1/MAP"), "").unwrap();
        std::os::unix::fs::symlink(&outside, paths[0].join("v1/out")).unwrap();
        places(&paths).give_to(strangers()).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for own in ["", "v1", "v1/links", "v1/MAP", "v1/out"] {
            assert_eq!(owner(&paths[0].join(own)), 65_534, "{own}");
        }
        assert_eq!(owner(&directory.0.join("run")), 65_534);
        for other in [&directory.0, &outside, &outside.join("below")] {
            assert_eq!(owner(other), 0, "{}", other.display());
        }
    }
}
