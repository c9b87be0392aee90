//! `HAProxy` as the relay.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::lab::{
    Lab,
    command::available,
    plan::{SHARED, SOCKS_PORT},
    wait_until,
};

/// A running `HAProxy`; killed when dropped.
pub(super) struct Haproxy {
    child: Child,
}

impl Haproxy {
    /// # Errors
    /// When it is not installed.
    pub(super) fn check() -> anyhow::Result<()> {
        ensure!(
            available("haproxy"),
            "HAProxy is not installed (`apt-get install haproxy`)"
        );
        Ok(())
    }

    /// Starts it in the lab's relay, and waits until it listens.
    pub(super) fn start(lab: &Lab, nodes: &[Ipv4Addr]) -> anyhow::Result<Self> {
        let mut config = format!(
            "global\n maxconn 8000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             frontend socks\n bind {SHARED}\n default_backend nodes\nbackend nodes\n balance source\n"
        );
        for (number, node) in nodes.iter().enumerate() {
            // Writing to a string can't fail.
            let _ = writeln!(config, " server node-{number} {node}:{SOCKS_PORT} check");
        }
        let path = lab.workspace_file("haproxy.cfg");
        fs::write(&path, config).with_context(|| format!("can't write {}", path.display()))?;
        let child = lab
            .relay()
            .command("haproxy")
            .args(["-db", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("can't start haproxy")?;
        let haproxy = Self { child };
        wait_until("HAProxy to listen", Duration::from_secs(5), || {
            let connected = lab.client_host().run(|| {
                TcpStream::connect_timeout(&SHARED.into(), Duration::from_millis(200)).map(drop)
            })?;
            connected.context("it does not")
        })?;
        Ok(haproxy)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}
