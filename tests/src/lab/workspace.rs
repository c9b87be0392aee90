//! The directory of one lab: configuration files, logs, sockets and a BPF file system of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};

use super::leftovers::{self, STATE};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Workspace {
    identity: String,
    path: PathBuf,
    /// Tells `lab --clean` that this lab is alive.
    _lock: Flock<File>,
}

impl Workspace {
    /// Makes the directory and mounts a BPF file system in it.
    ///
    /// # Errors
    /// When that needs privileges that are missing.
    pub(crate) fn new() -> Result<Self> {
        let identity = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(STATE).join(&identity);
        // A dead process may have had this id.
        leftovers::of(&identity)?.remove()?;
        fs::create_dir_all(path.join("bpf"))
            .with_context(|| format!("can't make {}; the lab needs root", path.display()))?;
        let lock = File::create(path.join("lock"))
            .with_context(|| format!("can't write to {}", path.display()))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("can't lock {}", path.display()))?;
        let workspace = Self {
            identity,
            path,
            _lock: lock,
        };
        let bpf = workspace.bpf();
        nix::mount::mount(
            Some("bpf"),
            &bpf,
            Some("bpf"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| {
            format!(
                "can't mount a BPF file system on {}; the lab needs root",
                bpf.display()
            )
        })?;
        Ok(workspace)
    }

    /// What the names of this lab's namespaces hold: `PID-N`.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The path of `name` in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The BPF file system.
    pub(crate) fn bpf(&self) -> PathBuf {
        self.path.join("bpf")
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = leftovers::delete_directory(&self.path) {
            eprintln!("lab: {error:#}");
        }
    }
}
