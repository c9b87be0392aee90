//! What is found under a name, looked at and given away by descriptor: links in it lead nowhere, and what was looked at
//! is what is given.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

use super::Account;

/// An entry of a directory, whoever owns it. It is not open for anything: neither the right to read it is needed for
/// this, nor does a pipe or a device notice.
#[derive(Debug)]
pub(super) struct Found {
    handle: OwnedFd,
    stat: Stat,
}

impl Found {
    /// The entry `name`; of a link, the link.
    pub(super) fn at(directory: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&handle)?;
        Ok(Self { handle, stat })
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(super) fn is_link(&self) -> bool {
        self.kind() == FileType::Symlink
    }

    pub(super) fn is_socket(&self) -> bool {
        self.kind() == FileType::Socket
    }

    /// Whether it is a file that has no other name elsewhere.
    pub(super) fn is_file_of_one_name(&self) -> bool {
        self.kind() == FileType::RegularFile && self.stat.st_nlink == 1
    }

    /// Whether it is in a BPF file system.
    pub(super) fn is_in_bpf_fs(&self) -> io::Result<bool> {
        Ok(fstatfs(&self.handle)?.filesystem_type() == BPF_FS_MAGIC)
    }

    pub(super) fn owner(&self) -> Account {
        Account {
            user: Uid::from_raw(self.stat.st_uid),
            group: Gid::from_raw(self.stat.st_gid),
        }
    }

    /// Whether this account can make and remove entries in this directory, by its permissions.
    pub(super) fn may_be_written_by(&self, account: Account) -> bool {
        let rights = if self.stat.st_uid == account.user.as_raw() {
            self.stat.st_mode >> 6
        } else if self.stat.st_gid == account.group.as_raw() {
            self.stat.st_mode >> 3
        } else {
            self.stat.st_mode
        };
        rights & 0o3 == 0o3
    }

    /// Makes it the account's, where it is not.
    pub(super) fn give(&mut self, account: Account) -> io::Result<()> {
        if self.owner() == account {
            return Ok(());
        }
        let (user, group) = (account.user.as_raw(), account.group.as_raw());
        rustix::fs::chownat(
            &self.handle,
            "",
            Some(rustix::fs::Uid::from_raw(user)),
            Some(rustix::fs::Gid::from_raw(group)),
            AtFlags::EMPTY_PATH,
        )?;
        (self.stat.st_uid, self.stat.st_gid) = (user, group);
        Ok(())
    }

    /// Opens the directory. One that cannot be opened otherwise is made this process's before, and stays so.
    pub(super) fn open(&mut self) -> io::Result<OwnedFd> {
        match self.open_as_it_is() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.give(Account::current())?;
                self.open_as_it_is()
            }
            opened => opened,
        }
    }

    fn open_as_it_is(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.handle, ".", flags, Mode::empty())?)
    }

    /// Gives it with all that is in it, so many levels deep. What contains something is given after it: until then it can
    /// be gone into.
    pub(super) fn give_all(&mut self, account: Account, depth: usize) -> io::Result<()> {
        if self.is_directory() && depth > 0 {
            let within = self.open()?;
            for name in names_in(&within)? {
                Self::at(&within, &name)?.give_all(account, depth - 1)?;
            }
        }
        self.give(account)
    }
}

/// What is at a path, if something is.
pub(super) fn find(path: &Path) -> io::Result<Option<Found>> {
    match Found::at(CWD, path.as_os_str()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// The names of all entries of an open directory.
pub(super) fn names_in(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}
