//! Files of /proc and /sys, and the agent.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{FsType, statfs};

use super::{Told, modes};
use crate::control::{Client, ClientError, Request, Response};
use crate::datapath::abilities;
use crate::doctor::facts::{Agent, Kernel, Pins};
use crate::family::Family;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: FsType = FsType(0xcafe_4a11);

pub(super) fn kernel() -> Kernel {
    let read = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let found = abilities();
    Kernel {
        release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        frags: found.as_ref().is_ok_and(|found| found.frags),
        tcx: found.as_ref().is_ok_and(|found| found.tcx),
        too_old: found.err().map(|error| error.to_string()),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        jit: read("/proc/sys/net/core/bpf_jit_enable").map(|value| value != "0"),
    }
}

pub(super) fn pins(directory: &Path) -> Pins {
    let existing = directory.ancestors().find(|path| path.exists());
    let found = existing.and_then(|path| statfs(path).ok());
    Pins {
        directory: directory.to_owned(),
        in_bpf_fs: found.is_some_and(|found| found.filesystem_type() == BPF_FS),
    }
}

pub(super) fn forwards(family: Family) -> Option<bool> {
    let path = match family {
        Family::V4 => "/proc/sys/net/ipv4/ip_forward",
        Family::V6 => "/proc/sys/net/ipv6/conf/all/forwarding",
    };
    let value = fs::read_to_string(path).ok()?;
    Some(value.trim() != "0")
}

/// The effective value of a setting of which the larger of an interface's and that of `all` counts.
pub(super) fn ipv4_setting(interface: &str, key: &str) -> u32 {
    let read = |of: &str| {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/{key}")).ok()?;
        value.trim().parse::<u32>().ok()
    };
    [interface, "all"]
        .into_iter()
        .filter_map(read)
        .max()
        .unwrap_or(0)
}

/// Asks the agent.
pub(super) async fn agent(socket: &Path) -> Told {
    let socket = socket.to_owned();
    let ask = move || Client::connect(&socket)?.call(&Request::Status);
    let mute = |why: String| (Agent::Mute(why), None);
    match tokio::task::spawn_blocking(ask).await {
        Ok(Ok(Response::Status(status))) => (Agent::Running(modes(&status)), Some(status)),
        Ok(Err(ClientError::NotRunning(_))) => (Agent::Absent, None),
        Ok(Ok(Response::Error { message })) => mute(message),
        Ok(Ok(_)) => mute("it answers something else than what was asked".to_owned()),
        Ok(Err(error)) => mute(error.to_string()),
        Err(error) => mute(error.to_string()),
    }
}
