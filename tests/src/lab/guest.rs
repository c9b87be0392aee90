//! A Debian with an init of its own, in a container on the relay's network: what packages are installed in.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, command, wait_until};

/// How long a guest may take to start its services.
const LIMIT: Duration = Duration::from_secs(120);
/// What a guest may do besides what containers commonly may: all that the agent's unit asks for.
const CAPABILITIES: &str = "CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_NET_RAW";
/// What changes in any Debian, whatever is installed: package lists, logs, caches, and the directory that tests have.
const NOT_LISTED: [&str; 6] = [
    "root",
    "tmp",
    "var/cache",
    "var/lib/dpkg",
    "var/lib/systemd",
    "var/log",
];

/// The guest; ended and removed when dropped.
#[derive(Debug)]
pub struct Guest {
    root: PathBuf,
    /// systemd-nspawn, and the guest's init.
    container: Child,
    init: u32,
    log: PathBuf,
}

impl Guest {
    /// Boots a copy of the tree `debian` in the lab's relay.
    ///
    /// # Errors
    /// It can't be copied, or does not come up.
    pub fn boot(lab: &Lab, debian: &Path) -> Result<Self> {
        let name = format!("guest-{}", lab.identity());
        let root = debian.with_file_name(&name);
        let log = lab.workspace_file("guest.log");
        copy(debian, &root)?;
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn
            .args(["--quiet", "--boot", "--register=no", "--keep-unit"])
            .args(["--console=pipe", "--link-journal=no", "--resolv-conf=off"])
            .args(["--timezone=off", "--system-call-filter=bpf perf_event_open"])
            .arg(format!("--capability={CAPABILITIES}"))
            .arg(format!("--machine={name}"))
            .arg(format!(
                "--network-namespace-path=/run/netns/{}",
                lab.relay().name()
            ))
            .arg(format!(
                "--bind={}:/sys/fs/bpf",
                lab.workspace.bpf().display()
            ))
            .arg(format!("--directory={}", root.display()));
        let output =
            File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        let errors = output.try_clone().context("can't share the guest's log")?;
        let container = nspawn
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .context("can't start systemd-nspawn; is systemd-container installed?")?;
        let mut guest = Self {
            root,
            container,
            init: 0,
            log,
        };
        guest.wait()?;
        Ok(guest)
    }

    fn wait(&mut self) -> Result<()> {
        let children = format!("/proc/{0}/task/{0}/children", self.container.id());
        let up = wait_until("the guest to be up", LIMIT, || {
            let children = fs::read_to_string(&children)?;
            let init = children
                .split_whitespace()
                .next()
                .context("it has no init")?;
            self.init = init.parse()?;
            // `degraded` where a service of the distribution does not start in a container.
            let state = self.output("systemctl is-system-running || true")?;
            ensure!(
                ["running", "degraded"].contains(&state.trim()),
                "it is {state}"
            );
            Ok(())
        });
        up.with_context(|| fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Runs a line of shell in the guest; what it printed.
    ///
    /// # Errors
    /// It fails: with all that it said.
    pub fn output(&self, line: &str) -> Result<String> {
        let output = Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--root", "--wd"])
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["env", "-i", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", line])
            .stdin(Stdio::null())
            .output()
            .context("can't start nsenter")?;
        ensure!(
            output.status.success(),
            "`{line}` failed in the guest ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Installs a package, or another version of it over one.
    ///
    /// # Errors
    /// It can't be installed.
    pub fn install(&self, package: &Path) -> Result<()> {
        let name = package.file_name().context("a package has a name")?;
        fs::copy(package, self.root.join("root").join(name))
            .with_context(|| format!("can't copy {}", package.display()))?;
        let line = format!("dpkg --install /root/{}", name.to_string_lossy());
        self.output(&line).map(drop)
    }

    /// Writes a file of the guest that is there.
    ///
    /// # Errors
    /// It is not, or can't be written.
    pub fn rewrite(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root.join(path);
        let mut file = File::options()
            .write(true)
            .truncate(true)
            .open(&path)
            .with_context(|| format!("can't write {}", path.display()))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
            .with_context(|| format!("can't write {}", path.display()))
    }

    /// Where a path of the guest is here.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// All files of the guest, and its users and groups, but for what changes in any Debian.
    ///
    /// # Errors
    /// The tree can't be read.
    pub fn residue(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        self.list(&self.root, &mut found)?;
        for accounts in ["etc/passwd", "etc/group"] {
            let text = fs::read_to_string(self.root.join(accounts))
                .with_context(|| format!("can't read the guest's {accounts}"))?;
            found.extend(text.lines().map(|line| format!("{accounts}: {line}")));
        }
        Ok(found)
    }

    fn list(&self, directory: &Path, into: &mut BTreeSet<String>) -> Result<()> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("can't read {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("can't read {}", directory.display()))?;
            let path = entry.path();
            let name = path
                .strip_prefix(&self.root)?
                .to_string_lossy()
                .into_owned();
            if NOT_LISTED.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.list(&path, into)?;
            }
            into.insert(name);
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // With the container ends its init, and with that all that runs in the guest.
        let _ = self.container.kill();
        let _ = self.container.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A copy with owners, modes and links.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let line = format!("cp --archive {} {}", from.display(), to.display());
    command::run(&line).map(drop)
}
