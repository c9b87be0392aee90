//! Becoming another user, with the capabilities that the agent needs and no others.

use std::io;

use nix::unistd::{Gid, Group, Uid, User, getgroups, setgroups, setresgid, setresuid};
use rustix::thread::CapabilitySet;
use thiserror::Error;

use super::{START_UP, keep};
use crate::config;

/// Whom the agent runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub(super) user: Uid,
    pub(super) group: Gid,
}

/// Why the agent cannot run as the user that the configuration names.
#[derive(Debug, Error)]
pub enum AccountError {
    /// There is none.
    #[error(
        "[privileges] names the user `{0}`, which this host does not have; make it with: useradd --system {0}"
    )]
    NoUser(String),
    /// There is no such group.
    #[error("the group `{0}` does not exist on this host; make it with: groupadd --system {0}")]
    NoGroup(String),
    /// Only root, or who has these capabilities, can become somebody else.
    #[error(
        "cannot become the user `{0}`; start the agent as root, or with CAP_SETUID, CAP_SETGID and CAP_CHOWN, or take \
         `user` out of [privileges]"
    )]
    NotAllowed(String),
    /// The kernel refuses.
    #[error("cannot become the user `{user}`: {cause}")]
    Refused {
        /// The user.
        user: String,
        /// What the operating system says.
        cause: io::Error,
    },
}

impl Account {
    /// The account that this process has.
    pub fn current() -> Self {
        Self {
            user: Uid::effective(),
            group: Gid::effective(),
        }
    }

    /// Looks up what the configuration asks for; the current one where it asks for none.
    ///
    /// # Errors
    /// There is no such user or group, or this process cannot become that user. Nothing has changed then.
    pub fn find(wanted: &config::Privileges) -> Result<Self, AccountError> {
        let Some(name) = &wanted.user else {
            return Ok(Self::current());
        };
        let user = User::from_name(name).ok().flatten();
        let user = user.ok_or_else(|| AccountError::NoUser(name.clone()))?;
        let group = match &wanted.group {
            Some(group) => group_named(group)?,
            None => user.gid,
        };
        let account = Self {
            user: user.uid,
            group,
        };
        let held = rustix::thread::capabilities(None).map(|sets| sets.effective);
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::CHOWN;
        if account != Self::current() && !held.is_ok_and(|held| held.contains(needed)) {
            return Err(AccountError::NotAllowed(name.clone()));
        }
        Ok(account)
    }

    /// Whether this process has it already.
    pub fn is_current(&self) -> bool {
        *self == Self::current()
    }

    /// Takes it on, without any further groups and without the right to pass by the permissions of files. To be
    /// called before there is a second thread.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(self, name: &str) -> Result<(), AccountError> {
        let enter = || -> io::Result<()> {
            rustix::thread::set_keep_capabilities(true)?;
            setgroups(&[])?;
            setresgid(self.group, self.group, self.group)?;
            setresuid(self.user, self.user, self.user)?;
            rustix::thread::set_keep_capabilities(false)?;
            keep(START_UP)
        };
        enter().map_err(|cause| AccountError::Refused {
            user: name.to_owned(),
            cause,
        })
    }
}

/// Leaves all further groups, as [`Account::enter`] does, where this process has the account already and may leave them.
/// To be called before there is a second thread.
///
/// # Errors
/// The kernel refuses.
pub fn leave_groups() -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?.effective;
    if held.contains(CapabilitySet::SETGID) {
        setgroups(&[])?;
    } else if !getgroups()?.is_empty() {
        log::debug!("further groups stay: no CAP_SETGID");
    }
    Ok(())
}

/// The group of this name.
///
/// # Errors
/// There is none.
pub fn group_named(name: &str) -> Result<Gid, AccountError> {
    let group = Group::from_name(name).ok().flatten();
    let group = group.ok_or_else(|| AccountError::NoGroup(name.to_owned()))?;
    Ok(group.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(user: &str, group: Option<&str>) -> config::Privileges {
        config::Privileges {
            user: Some(user.to_owned()),
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn nobody_asked_for_is_who_runs_it() {
        let account = Account::find(&config::Privileges::default()).unwrap();
        assert!(account.is_current());
    }

    #[test]
    fn users_and_groups_that_are_not_there_are_named_with_the_command_that_makes_them() {
        let error = Account::find(&wanted("no-such-user", None)).unwrap_err();
        assert!(
            error.to_string().contains("useradd --system no-such-user"),
            "{error}"
        );
        let error = Account::find(&wanted("root", Some("no-such-group"))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("groupadd --system no-such-group"),
            "{error}"
        );
    }

    #[test]
    fn who_may_not_become_another_says_so_before_anything_has_changed() {
        let refused = std::thread::spawn(|| {
            keep(CapabilitySet::NET_ADMIN).unwrap();
            Account::find(&wanted("nobody", None))
        });
        let error = refused.join().unwrap().unwrap_err();
        assert!(matches!(error, AccountError::NotAllowed(_)), "{error}");
        assert!(error.to_string().contains("CAP_SETUID"), "{error}");
    }
}
