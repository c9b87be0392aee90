//! Finds and removes what a lab has left on the machine. A lab's own `Drop`, the handler of ctrl-c and
//! `lab --clean` all come here, so there is one list of what a lab may leave.
//!
//! Everything is found by name: namespaces are called `rdl-PID-N-HOST`, directories
//! `/run/redirector-lab/PID-N`. A living lab holds a lock on its directory's file `lock`, which tells
//! it from the remains of one that was killed, whatever has become of its process id.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::run;

/// Where labs keep their files.
pub const STATE: &str = "/run/redirector-lab";

const NAMESPACES: &str = "/run/netns";

/// What labs have left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Names of network namespaces.
    pub namespaces: Vec<String>,
    /// Directories below [`STATE`].
    pub directories: Vec<PathBuf>,
}

impl Leftovers {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.directories.is_empty()
    }

    /// Removes it all, processes first.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed nevertheless.
    pub fn remove(&self) -> Result<()> {
        let namespaces = self.namespaces.iter().map(|name| delete_namespace(name));
        let results: Vec<_> = namespaces.collect();
        let directories = self.directories.iter().map(|path| delete_directory(path));
        results.into_iter().chain(directories).collect()
    }
}

/// What a lab (`PID-N`), or all labs of a process (`PID-`), have on the machine.
///
/// # Errors
/// When a directory can't be read.
pub fn of(identity: &str) -> Result<Leftovers> {
    find(|found| found == identity || identity.ends_with('-') && found.starts_with(identity))
}

/// What labs that are no longer alive have left.
///
/// # Errors
/// When a directory can't be read.
pub fn of_dead_labs() -> Result<Leftovers> {
    find(|identity| !is_alive(identity))
}

fn find(wanted: impl Fn(&str) -> bool) -> Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    for name in names(Path::new(NAMESPACES))? {
        if identity_of_namespace(&name).is_some_and(&wanted) {
            leftovers.namespaces.push(name);
        }
    }
    for name in names(Path::new(STATE))? {
        if wanted(&name) {
            leftovers.directories.push(Path::new(STATE).join(name));
        }
    }
    Ok(leftovers)
}

fn identity_of_namespace(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("rdl-")?;
    let mut dashes = rest.match_indices('-');
    let end = dashes.nth(1)?.0;
    Some(&rest[..end])
}

fn is_alive(identity: &str) -> bool {
    let lock = Path::new(STATE).join(identity).join("lock");
    match File::open(lock) {
        Ok(file) => matches!(
            Flock::lock(file, FlockArg::LockExclusiveNonblock),
            Err((_, Errno::EWOULDBLOCK))
        ),
        Err(_) => false,
    }
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("can't read {}", directory.display()))?,
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Kills every process in the namespace `name`, by id, and deletes the namespace. One that is already
/// gone is fine.
///
/// # Errors
/// When a process survives or the namespace can't be deleted.
pub fn delete_namespace(name: &str) -> Result<()> {
    let path = Path::new(NAMESPACES).join(name);
    let Ok(namespace) = fs::metadata(&path) else {
        return Ok(());
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let processes = processes_in(namespace.ino());
        if processes.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            bail!("processes {processes:?} in the namespace {name} survive SIGKILL");
        }
        for pid in processes {
            // It may end by itself between the look and the kill.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    run(&format!("ip netns delete {name}")).map(drop)
}

/// Zombies don't count: they have left their namespace.
fn processes_in(namespace: u64) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|of| of.ino() == namespace)
        })
        .collect()
}

/// Removes a lab's directory and the BPF file system in it; one that is already gone is fine.
///
/// # Errors
/// When the directory can't be removed.
pub fn delete_directory(path: &Path) -> Result<()> {
    // Not mounted is what we want.
    let _ = nix::mount::umount2(&path.join("bpf"), nix::mount::MntFlags::MNT_DETACH);
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_a_lab_is_read_from_its_namespaces() {
        assert_eq!(identity_of_namespace("rdl-12-0-relay"), Some("12-0"));
        assert_eq!(identity_of_namespace("rdl-12-0-node-3"), Some("12-0"));
    }

    #[test]
    fn a_namespace_of_someone_else_is_nobodys_leftover() {
        assert_eq!(identity_of_namespace("blue"), None);
        assert_eq!(identity_of_namespace("rdl-12"), None);
    }
}
