//! Files and directories that must belong to whom the agent runs as.
//!
//! An earlier agent may have run as somebody else, and without the right to pass by the permissions of files not even
//! root can go into what that one has left. So a directory is taken, what is in it is given, and then the directory.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use thiserror::Error;

use super::Account;
use super::found::{Found, find, names_in};
use super::pins;
use crate::control::{directory_of, is_listened_on};

/// Why a user cannot have what the agent needs.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The operating system refuses.
    #[error("cannot {action} {}, which the agent's user needs: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
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
    /// A link in place of a directory.
    #[error(
        "the agent's user could not write to {}, which is a link and so is not given to it; name the directory itself with \
         {option}", path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// What names another.
        option: &'static str,
    },
    /// Pins can't be here, so it is something else's.
    #[error(
        "{} is in no BPF file system, so it is not given to the agent's user; mount one there (mount -t bpf bpf \
         /sys/fs/bpf), or name a directory in one with --pin-dir", .0.display()
    )]
    NotForPins(PathBuf),
}

impl PlaceError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io {
            action,
            path,
            cause,
        }
    }
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
        for (directory, option) in self.directories() {
            make(directory)?;
            self.give_directory(directory, option, account)?;
        }
        pins::give(self.pins, account)
    }

    /// Gives this process what earlier agents have left there, as far as it is the agents' without doubt.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn take_over(&self) -> Result<(), PlaceError> {
        let account = Account::current();
        for (directory, option) in self.directories() {
            // Whoever writes there says so if that fails.
            if let Err(error) = self.give_directory(directory, option, account) {
                log::debug!("what is in {} stays as it is: {error}", directory.display());
            }
        }
        pins::give(self.pins, account)
    }

    fn files(&self) -> [(&Path, &'static str); 3] {
        [
            (self.socket, "--socket"),
            (self.operator_file, "--operator-file"),
            (self.names_file, "--names-file"),
        ]
    }

    /// The directories of socket and files, each with the first option that names something in it.
    fn directories(&self) -> Vec<(&Path, &'static str)> {
        let mut directories: Vec<(&Path, &'static str)> = Vec::new();
        for (file, option) in self.files() {
            let directory = directory_of(file);
            if directories.iter().all(|(known, _)| *known != directory) {
                directories.push((directory, option));
            }
        }
        directories
    }

    /// A directory in which the account will make files anew, again and again, and what of them is there.
    fn give_directory(
        &self,
        directory: &Path,
        option: &'static str,
        account: Account,
    ) -> Result<(), PlaceError> {
        let found = find(directory).map_err(PlaceError::io("look at", directory))?;
        let Some(mut found) = found else {
            return Ok(());
        };
        let writable = || {
            let accessible = || rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK);
            account.is_current() && accessible().is_ok()
        };
        if found.is_link() {
            let led_to = fs::canonicalize(directory).and_then(|led_to| find(&led_to));
            let led_to = led_to.map_err(PlaceError::io("follow", directory))?;
            let fine = writable() || led_to.is_some_and(|to| to.may_be_written_by(account));
            return fine.then_some(()).ok_or_else(|| PlaceError::Link {
                path: directory.to_owned(),
                option,
            });
        }
        let before = found.owner();
        let stays = found.may_be_written_by(account) || writable();
        let within = found.open().map_err(PlaceError::io("open", directory))?;
        let fit = if stays {
            Ok(())
        } else {
            self.require_own(&within, directory, option)
        };
        let given = fit.and_then(|()| self.give_files(&within, directory, account));
        // Whatever came of it, nobody loses what it had.
        let owner = if given.is_ok() && !stays {
            account
        } else {
            before
        };
        let directory_given = found
            .give(owner)
            .map_err(PlaceError::io("chown", directory));
        given.and(directory_given)
    }

    /// There is nothing but the agent's in this directory.
    fn require_own(
        &self,
        within: &OwnedFd,
        directory: &Path,
        option: &'static str,
    ) -> Result<(), PlaceError> {
        let names = names_in(within).map_err(PlaceError::io("look into", directory))?;
        let own = names.iter().all(|name| self.has_named(name));
        own.then_some(()).ok_or_else(|| PlaceError::Shared {
            path: directory.to_owned(),
            option,
        })
    }

    /// What earlier agents have left in a directory. What is no file of its own is left to whom it belongs, since it may
    /// be something else's as well; who reads it says so.
    fn give_files(
        &self,
        within: &OwnedFd,
        directory: &Path,
        account: Account,
    ) -> Result<(), PlaceError> {
        for (path, _) in self.files() {
            let name = path.file_name().filter(|_| directory_of(path) == directory);
            let Some(name) = name else {
                continue;
            };
            let mut found = match Found::at(within, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found.map_err(PlaceError::io("look at", path))?,
            };
            let given = if found.owner() == account {
                Ok(())
            } else if path == self.socket && found.is_socket() {
                give_socket(&mut found, path, account)
            } else if path != self.socket && found.is_file_of_one_name() {
                found.give(account)
            } else {
                Ok(())
            };
            given.map_err(PlaceError::io("chown", path))?;
        }
        Ok(())
    }

    /// Whether a file of this name is an agent's: the socket, a file that it keeps, or a draft of one of them.
    fn has_named(&self, name: &OsStr) -> bool {
        let names = self.files().map(|(path, _)| path.file_name());
        names.into_iter().flatten().any(|own| {
            let rest = name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes());
            rest.is_some_and(|rest| match rest {
                b"" | b".new" => true,
                [b'.', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
                _ => false,
            })
        })
    }
}

/// Gives the socket of an agent that has ended; one that somebody listens on is not ours to give.
fn give_socket(found: &mut Found, path: &Path, account: Account) -> io::Result<()> {
    let before = found.owner();
    let mut listened = is_listened_on(path);
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    if listened.as_ref().is_err_and(denied) {
        // Only who may write to it can find out.
        found.give(Account::current())?;
        listened = is_listened_on(path);
    }
    let left = listened.is_ok_and(|listened| !listened);
    found.give(if left { account } else { before })
}

fn make(directory: &Path) -> Result<(), PlaceError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(directory);
    made.map_err(PlaceError::io("make", directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use rustix::fs::CWD;

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
    fn only_sockets_files_and_their_drafts_are_an_agents_own() {
        let directory = Directory::new("places-names");
        let paths = directory.paths();
        for (name, own) in [
            ("control.sock", true),
            ("control.sock.4711", true),
            ("control.operator.json", true),
            ("control.operator.json.new", true),
            ("control.names.json.new", true),
            ("control.sock.backup", false),
            ("control.sock.", false),
            ("control.sockets", false),
            ("control", false),
        ] {
            assert_eq!(places(&paths).has_named(OsStr::new(name)), own, "{name}");
        }
    }

    #[test]
    fn members_of_a_group_may_write_where_it_may() {
        let directory = Directory::new("places-group");
        let found = || Found::at(CWD, directory.0.as_os_str()).unwrap();
        let own = found().owner();
        let member = Account {
            user: nix::unistd::Uid::from_raw(54_321),
            ..own
        };
        for (mode, owner_may, member_may, others_may) in [
            (0o700, true, false, false),
            (0o770, true, true, false),
            (0o720, true, false, false),
            (0o757, true, false, true),
            (0o077, false, true, true),
        ] {
            fs::set_permissions(&directory.0, fs::Permissions::from_mode(mode)).unwrap();
            let may = [own, member, strangers()].map(|who| found().may_be_written_by(who));
            assert_eq!(may, [owner_may, member_may, others_may], "{mode:o}");
        }
        fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o700)).unwrap();
    }

    /// What is given must be the agent's alone: a file that has another name elsewhere is somebody else's as well.
    #[test]
    fn files_are_given_and_what_only_bears_their_names_is_not() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let directory = Directory::new("places-files");
        let paths = directory.paths();
        let run = directory.0.join("run");
        fs::create_dir_all(&run).unwrap();
        let precious = directory.0.join("precious");
        fs::write(&precious, "").unwrap();
        fs::write(&paths[1], "no socket").unwrap();
        fs::write(&paths[2], "{}").unwrap();
        fs::hard_link(&precious, &paths[3]).unwrap();
        places(&paths).give_to(strangers()).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        assert_eq!((owner(&run), owner(&paths[2])), (65_534, 65_534));
        assert_eq!((owner(&precious), owner(&paths[1])), (0, 0));
        fs::remove_file(&paths[3]).unwrap();
        std::os::unix::fs::symlink(&precious, &paths[3]).unwrap();
        places(&paths).give_to(strangers()).unwrap();
        assert_eq!((owner(&precious), owner(&paths[3])), (0, 0));
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_left_to_whom_it_belongs() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let directory = Directory::new("places-socket");
        let paths = directory.paths();
        fs::create_dir_all(directory.0.join("run")).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&paths[1]).unwrap();
        places(&paths).give_to(strangers()).unwrap();
        let owner = || fs::symlink_metadata(&paths[1]).unwrap().uid();
        assert_eq!(owner(), 0);
        drop(listener);
        places(&paths).give_to(strangers()).unwrap();
        assert_eq!(owner(), 65_534);
    }

    #[test]
    fn a_link_in_place_of_a_directory_is_not_given_away() {
        let directory = Directory::new("places-linked");
        let paths = directory.paths();
        let elsewhere = directory.0.join("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, directory.0.join("run")).unwrap();
        let error = places(&paths).give_to(strangers()).unwrap_err();
        assert!(matches!(error, PlaceError::Link { .. }), "{error}");
        places(&paths).give_to(Account::current()).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o777)).unwrap();
        places(&paths).give_to(strangers()).unwrap();
    }
}
