//! Network namespaces that vanish with their guard.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::command::run;
use super::leftovers;

/// A named network namespace; deleted, with every process in it, when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes the namespace `name` with its loopback up, no reverse-path filter, and IPv6 addresses that are
    /// usable at once and come from nobody else.
    ///
    /// # Errors
    /// When `ip netns add` fails: no privilege, or the name is taken.
    pub fn new(name: String) -> Result<Self> {
        run(&format!("ip netns add {name}")).context(
            "the lab makes network namespaces; it needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)",
        )?;
        let netns = Self { name };
        netns.ip("link set lo up")?;
        netns.run(|| {
            for (key, value) in [
                ("ipv6/conf/all/disable_ipv6", "0"),
                ("ipv6/conf/default/disable_ipv6", "0"),
                ("ipv6/conf/all/accept_dad", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/all/accept_ra", "0"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/all/accept_redirects", "0"),
                ("ipv6/conf/default/accept_redirects", "0"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
                ("ipv4/conf/all/accept_redirects", "0"),
                ("ipv4/conf/default/accept_redirects", "0"),
            ] {
                write_sysctl(key, value)?;
            }
            anyhow::Ok(())
        })??;
        Ok(netns)
    }

    /// The name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` with `arguments` in the namespace.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run(&format!("ip -n {} {arguments}", self.name))
    }

    /// Runs the command line in the namespace.
    ///
    /// # Errors
    /// When the tool is missing or fails.
    pub fn exec(&self, line: &str) -> Result<String> {
        run(&format!("ip netns exec {} {line}", self.name))
    }

    /// A command that will run `program` in the namespace; its process id is that of `program`.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Writes `value` to the setting `key` below `/proc/sys/net`.
    ///
    /// # Errors
    /// When there is no such setting or the kernel refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| write_sysctl(key, value))?
            .with_context(|| format!("in {}", self.name))
    }

    /// Lets the namespace forward packets of both families.
    ///
    /// # Errors
    /// When a setting can't be written.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("ipv4/ip_forward", "1")?;
        self.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// Runs `work` in the namespace on a thread of its own and waits for it. Sockets that it makes stay
    /// in the namespace and may be used anywhere.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    ///
    /// # Panics
    /// Goes on with the panic of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = self.handle()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| enter(&handle, &self.name).map(|()| work()));
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a thread named `what` that runs `work` in the namespace.
    ///
    /// # Errors
    /// When the namespace can't be opened or no thread can be made.
    pub fn spawn<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let handle = self.handle()?;
        let name = self.name.clone();
        std::thread::Builder::new()
            .name(what.to_owned())
            .spawn(move || {
                enter(&handle, &name)?;
                drop(handle);
                work()
            })
            .with_context(|| format!("can't start the thread {what}"))
    }

    fn handle(&self) -> Result<File> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("can't open {}", path.display()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = leftovers::delete_namespace(&self.name) {
            eprintln!("lab: {}: {error:#}", self.name);
        }
    }
}

fn write_sysctl(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{key}");
    std::fs::write(&path, value).with_context(|| format!("can't write {value} to {path}"))
}

fn enter(handle: &File, name: &str) -> Result<()> {
    setns(handle, CloneFlags::CLONE_NEWNET)
        .map_err(|error| anyhow!("can't enter the namespace {name}: {error}"))
}
